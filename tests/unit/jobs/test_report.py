"""The report's files: complete, private, harmless in a spreadsheet, and never half written."""

import csv
import io
import json
import os
import tracemalloc

import pytest

from xferengine.errors import BadInput, DiskFull
from xferengine.jobs import report
from xferengine.jobs.mapfile import read_map
from xferengine.jobs.report import COLUMNS, FAILED_CSV, REPORT_CSV, REPORT_JSON, REPORT_TEXT, write_form, write_reports
from xferengine.jobs.spec import StudyReport
from xferengine.model.events import Failure, Summary, Totals


def study(number=1, **changes) -> StudyReport:
    values = {
        "paths": (f"/in/{number}",),
        "study_uid": f"1.2.{number}",
        "project": "P",
        "subject": f"S{number}",
        "session": f"S{number}_x",
        "state": "verified",
        "url": f"/data/experiments/E{number}",
        "files": 5,
        "bytes": 5000,
        "sent": 5,
        "verified": 5,
        "present": 0,
        "refused": 0,
        "failed": 0,
        "verified_by": "uid",
    }
    return StudyReport(**values | changes)


def summary(**changes) -> Summary:
    values = {
        "job": "ab12",
        "verb": "upload",
        "state": "incomplete",
        "exit_code": 3,
        "seconds": 65.0,
        "totals": Totals(experiments=2, files=10, bytes=10_000, verified=5, failed=1),
        "failures": (Failure(ref="1.2.2", error="Conflict", detail="in the archive already"),),
    }
    return Summary(**values | changes)


BAD = study(2, state="failed", error="Conflict", detail="in the archive\nalready", url="", verified=0)


def test_files_hold_every_session(tmp_path):
    path = write_reports(tmp_path, summary(), lambda: iter([study(), BAD]))
    assert path == tmp_path / REPORT_TEXT
    text = path.read_text()
    assert "job ab12" in text
    assert "in the archive\\x0aalready" in text
    document = json.loads((tmp_path / REPORT_JSON).read_text())
    assert document["summary"]["exit_code"] == 3
    assert [s["study_uid"] for s in document["studies"]] == ["1.2.1", "1.2.2"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / REPORT_CSV).read_text())))
    assert tuple(rows[0]) == COLUMNS
    assert [row["StudyUID"] for row in rows] == ["1.2.1", "1.2.2"]
    assert rows[0]["verified"] == "5"
    assert rows[1]["error"] == "Conflict"


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX matter")
def test_files_are_private(tmp_path):
    os.umask(os.umask(0))
    write_reports(tmp_path, summary(), lambda: [study()])
    assert {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == dict.fromkeys(
        [REPORT_TEXT, REPORT_JSON, REPORT_CSV, FAILED_CSV], 0o600
    )


def test_csv_cells_do_not_run(tmp_path):
    evil = study(paths=("=cmd|' /C calc'!A0", "/b"), subject="@SUM(1)", detail="+1", session="-x")
    write_reports(tmp_path, summary(), lambda: [evil])
    row = list(csv.reader(io.StringIO((tmp_path / REPORT_CSV).read_text())))[1]
    assert not [cell for cell in row if cell[:1] in tuple("=+-@\t\r")]


def test_failed_csv_is_a_map_of_what_did_not_arrive(tmp_path):
    unusable = study(3, state="refused", session="a b'c", subject="")
    write_reports(tmp_path, summary(), lambda: [study(), BAD, unusable])
    lines = read_map(tmp_path / FAILED_CSV)
    assert lines.find("1.2.1", [], []) is None
    found = lines.find("1.2.2", [], [])
    assert found is not None
    assert (found.project, found.subject, found.session) == ("P", "S2", "S2_x")
    corrected = lines.find("1.2.3", [], [])
    assert corrected is not None
    assert (corrected.project, corrected.session) == ("P", "")


def test_names_that_are_no_utf8(tmp_path):
    write_reports(tmp_path, summary(), lambda: [study(paths=("/in/\udcff",))])
    assert json.loads((tmp_path / REPORT_JSON).read_text())["studies"][0]["paths"] == ["/in/\udcff"]
    assert "\\udcff" in (tmp_path / REPORT_TEXT).read_text()


def test_no_session_at_all(tmp_path):
    write_reports(tmp_path, summary(), list)
    assert json.loads((tmp_path / REPORT_JSON).read_text())["studies"] == []


def test_a_failure_leaves_the_earlier_report(tmp_path):
    write_reports(tmp_path, summary(), lambda: [study()])
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def broken():
        yield study(7)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_reports(tmp_path, summary(job="other"), broken)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_disk_errors_are_ours(tmp_path, monkeypatch):
    with pytest.raises(BadInput):
        write_reports(tmp_path / "missing", summary(), lambda: [study()])

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report.os, "fsync", full)
    with pytest.raises(DiskFull):
        write_reports(tmp_path, summary(), lambda: [study()])
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_sessions(tmp_path):
    def peak(count):
        tracemalloc.start()
        write_reports(tmp_path, summary(), lambda: (study(n) for n in range(count)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(10)
    assert peak(3000) < peak(300) + 100_000


def test_one_form_at_a_time():
    out = io.StringIO()
    write_form("csv", out, summary(), [study()])
    assert out.getvalue().splitlines()[0] == ",".join(COLUMNS)
