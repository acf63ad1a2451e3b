"""Words for sizes, times, counts and outcomes."""

import msgspec
import pytest

from xferengine.jobs.wording import count_text, duration_text, failure_lines, headline, size_text, summary_lines
from xferengine.model.events import Failure, Summary, Totals


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_999, "1.0 MB"), (123_456_789, "123 MB"), (99_940, "99.9 kB"),
     (5e18, "5000 PB")],
)  # fmt: skip
def test_sizes(size, text):
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds, text):
    assert duration_text(seconds) == text


def test_counts():
    assert count_text(1, "session") == "1 session"
    assert count_text(1200, "entry") == "1,200 entries"


def summary(state, **totals):
    return Summary(job="a", verb="upload", state=state, exit_code=0, seconds=1, totals=Totals(**totals))


def test_each_state_has_its_own_sentence():
    states = ["done", "done-unverified", "sent", "incomplete", "failed", "interrupted", "planned"]
    assert len({headline(summary(state)) for state in states}) == len(states)
    assert "verified" not in headline(summary("sent")).replace("nothing was verified", "")


def test_what_is_not_verified_is_counted():
    text = "\n".join(summary_lines(summary("incomplete", files=10, verified=7, refused=2, failed=1, bytes_resent=5000)))
    assert "7 instances" in text
    assert "2 instances" in text
    assert "1 failure" in text
    assert "5.0 kB more in vain" in text


def test_failures_tell_what_to_do_and_are_harmless():
    failures = [Failure(ref="/a/\x1b[2Jb", error="cut-pixels", detail="ends\rearly")] * 3
    lines = failure_lines(failures, limit=2)
    assert "\x1b" not in "".join(lines)
    assert "\r" not in "".join(lines)
    assert any("copy the file again" in line for line in lines)
    assert lines[-1] == "  … and 1 more"


def test_failures_show_the_label_people_know():
    lines = failure_lines([Failure(ref="1.2", error="Conflict", detail="x")], limit=5, labels={"1.2": "S1"})
    assert lines[0] == "  S1  (1.2)"


def test_what_ended_the_job_is_not_counted_as_a_file():
    refused = Failure(ref="", error="LoginRefused", detail="no")
    ended = Summary(
        job="a", verb="upload", state="failed", exit_code=7, seconds=1, totals=Totals(), failures=(refused,)
    )
    assert headline(ended) == "Nothing was sent."
    assert headline(msgspec.structs.replace(ended, totals=Totals(files=3))).startswith("Stopped before the end")
    assert "0 failures" not in "\n".join(summary_lines(ended))


def test_the_prearchive_is_checked_by_name_and_size():
    lines = summary_lines(summary("done", experiments=2, files=7, bytes=9))
    assert lines[0] == "Done: 2 sessions ready in the prearchive."
    assert any(line.split()[:3] == ["checked", "7", "files"] for line in lines)
