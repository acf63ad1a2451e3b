"""Reports of verbs that work on files: whole, private, harmless on a terminal and in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from xferengine.errors import DiskFull
from xferengine.jobs.itemreport import FileLine, write_item_reports
from xferengine.jobs.report import FAILED_CSV, REPORT_CSV, REPORT_JSON, REPORT_TEXT
from xferengine.jobs.spec import ItemReport
from xferengine.model.events import Failure, Summary, Totals

EVIL = '=cmd()\x1b[2J\u202e\n,"x'


def item(name: str, **values: object) -> ItemReport:
    base = {
        "item": name,
        "id": "E1",
        "state": "done",
        "files": 3,
        "bytes": 1500,
        "counts": {"verified": 2, "present": 1},
    }
    return ItemReport(**{**base, **values})  # type: ignore[arg-type]


class Lines:
    def __init__(self, items: list[ItemReport], files: list[FileLine]) -> None:
        self._items, self._files = items, files

    def items(self) -> Iterator[ItemReport]:
        yield from self._items

    def files(self) -> Iterator[FileLine]:
        yield from self._files


def summary(**values: object) -> Summary:
    base = {
        "job": "ab12",
        "verb": "download",
        "state": "incomplete",
        "exit_code": 3,
        "seconds": 2.0,
        "totals": Totals(experiments=2, files=2, bytes=1500, verified=2, skipped=1, failed=1),
        "failures": (Failure(ref="E/scans/1/x", error="NotFound", detail="gone"),),
        "unverified": ("E9",),
    }
    return Summary(**{**base, **values})  # type: ignore[arg-type]


GOOD = Lines(
    [item("P/S/E"), item("P/S/F", state="failed", files=0, counts={}, error="AccessDenied", detail="may not")],
    [FileLine(item="P/S/E", path="E/scans/1/x", state="failed", error="NotFound", detail="gone")],
)


def test_the_text_names_items_and_files(tmp_path: Path) -> None:
    assert write_item_reports(tmp_path, summary(), GOOD) == tmp_path / REPORT_TEXT
    text = (tmp_path / REPORT_TEXT).read_text()
    assert text.startswith("xferengine download, job ab12\n====")
    assert "P/S/E  done  1.5 kB  2 verified, 1 present  E1" in text
    assert "    AccessDenied: may not" in text
    assert "failed       E/scans/1/x\n    NotFound: gone" in text
    assert "E9" in text


def test_json_and_csv_can_be_read_back(tmp_path: Path) -> None:
    write_item_reports(tmp_path, summary(), GOOD)
    document = json.loads((tmp_path / REPORT_JSON).read_text())
    assert (document["v"], document["summary"]["exit_code"]) == (1, 3)
    assert [one["item"] for one in document["items"]] == ["P/S/E", "P/S/F"]
    assert document["items"][0]["counts"] == {"verified": 2, "present": 1}
    assert document["files"][0]["path"] == "E/scans/1/x"
    rows = list(csv.DictReader(io.StringIO((tmp_path / REPORT_CSV).read_text())))
    assert [(r["item"], r["state"], r["files"], r["counts"], r["error"]) for r in rows] == [
        ("P/S/E", "done", "3", "verified=2 present=1", ""),
        ("P/S/F", "failed", "0", "", "AccessDenied"),
    ]
    (row,) = csv.DictReader(io.StringIO((tmp_path / FAILED_CSV).read_text()))
    assert row == {"item": "P/S/E", "path": "E/scans/1/x", "state": "failed", "error": "NotFound", "detail": "gone"}


def test_nothing_at_all_is_a_report_too(tmp_path: Path) -> None:
    write_item_reports(tmp_path, summary(failures=(), unverified=()), Lines([], []))
    assert json.loads((tmp_path / REPORT_JSON).read_text())["items"] == []
    assert "Files" not in (tmp_path / REPORT_TEXT).read_text()


def test_what_a_server_sent_harms_neither_terminal_nor_spreadsheet(tmp_path: Path) -> None:
    lines = Lines(
        [item(EVIL, id=EVIL, error=EVIL, detail=EVIL)],
        [FileLine(item=EVIL, path=EVIL, state="failed", error=EVIL, detail=EVIL)],
    )
    failures = (Failure(ref=EVIL, error=EVIL, detail=EVIL),)
    write_item_reports(tmp_path, summary(failures=failures, unverified=(EVIL,)), lines)
    text = (tmp_path / REPORT_TEXT).read_text()
    assert not any(c in text for c in "\x1b\u202e")
    assert all(line.isprintable() for line in text.splitlines())
    for name in (REPORT_CSV, FAILED_CSV):
        for row in csv.DictReader(io.StringIO((tmp_path / name).read_text())):
            for key in ("item", "error", "detail"):
                assert not row[key].startswith(("=", "+", "-", "@", "\t", "\r")), (name, key)
                assert "\x1b" not in row[key]
    assert json.loads((tmp_path / REPORT_JSON).read_text())["items"][0]["item"] == EVIL


def test_all_files_are_for_their_owner_only(tmp_path: Path) -> None:
    write_item_reports(tmp_path, summary(), GOOD)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys((REPORT_TEXT, REPORT_JSON, REPORT_CSV, FAILED_CSV), 0o600)


def test_a_report_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    write_item_reports(tmp_path, summary(), GOOD)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    class Breaking(Lines):
        def files(self) -> Iterator[FileLine]:
            yield from self._files
            raise DiskFull("full")

    with pytest.raises(DiskFull):
        write_item_reports(tmp_path, summary(exit_code=0), Breaking(GOOD._items, GOOD._files))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_lines_are_written_as_they_come(tmp_path: Path) -> None:
    class Many(Lines):
        def items(self) -> Iterator[ItemReport]:
            return (item(f"P/S/{n}" + "x" * 100) for n in range(4_000))

        def files(self) -> Iterator[FileLine]:
            return (FileLine(item="P/S/E", path=f"{n}" + "x" * 100, state="failed") for n in range(4_000))

    tracemalloc.start()
    try:
        write_item_reports(tmp_path, summary(), Many([], []))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
