"""JSON lines: one event a line, moved bytes summed up, the summary last."""

import json

from xferengine.cli.render_json import JsonLines, event_line, failure_line, record_line
from xferengine.model.events import BytesMoved, Failure, JobStarted, Summary, Totals, UnitDone

SUMMARY = Summary(
    job="a",
    verb="upload",
    state="done",
    exit_code=0,
    seconds=1.5,
    totals=Totals(files=1),
    failures=(Failure(ref="/x\n\x1b", error="E", detail="d"),),
    report="/r",
)


def test_shape_of_the_summary():
    line = event_line(SUMMARY)
    assert line.startswith('{"event":"summary",')
    assert "\n" not in line
    assert json.loads(line).items() >= {"v": 1, "job": "a", "verb": "upload", "state": "done", "exit_code": 0}.items()
    assert set(json.loads(line)["totals"]) >= {
        "experiments", "units", "files", "bytes", "verified", "skipped", "failed", "bytes_resent",
    }  # fmt: skip


def test_bytes_are_summed_and_flushed_before_their_unit_ends():
    written, now = [], [0.0]
    lines = JsonLines(written.append, lambda: now[0])
    for _ in range(100):
        lines.emit(BytesMoved(unit=1, bytes=10))
    lines.emit(BytesMoved(unit=2, bytes=5))
    assert written == []
    lines.emit(UnitDone(unit=1, study="s", files=1, bytes=1000, seconds=1))
    events = [json.loads(line) for line in written]
    assert [(e["event"], e.get("unit"), e["bytes"]) for e in events] == [
        ("bytes-moved", 1, 1000),
        ("bytes-moved", 2, 5),
        ("unit-done", 1, 1000),
    ]
    lines.emit(BytesMoved(unit=2, bytes=5))
    now[0] += 1
    lines.emit(BytesMoved(unit=2, bytes=5))
    assert json.loads(written[-1])["bytes"] == 10


def test_the_summary_is_last_even_when_it_was_emitted_before():
    written = []
    lines = JsonLines(written.append, lambda: 0.0)
    lines.emit(SUMMARY)
    lines.emit(JobStarted(job="a", verb="upload", resumed=False))
    lines.emit(BytesMoved(unit=1, bytes=1))
    lines.finish(SUMMARY)
    assert [json.loads(line)["event"] for line in written] == ["job-started", "bytes-moved", "summary"]


def test_what_could_not_begin_has_a_summary_too():
    found = json.loads(failure_line("LoginRefused", "no", 7))
    assert (found["event"], found["state"], found["exit_code"]) == ("summary", "failed", 7)
    assert found["failures"] == [{"ref": "", "error": "LoginRefused", "detail": "no"}]
    assert json.loads(failure_line("X", "", 130))["state"] == "interrupted"


def test_names_that_are_no_utf8():
    line = event_line(Summary(job="", verb="", state="", exit_code=0, seconds=0, totals=Totals(), report="/\udcff"))
    assert json.loads(line)["report"] == "/\udcff"
    assert json.loads(record_line("x", {"a": 1})) == {"event": "x", "v": 1, "a": 1}
