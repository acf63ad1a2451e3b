"""Plans of files for people: short, whole, and harmless."""

from __future__ import annotations

import pytest

from xferengine.cli.render_files import PROBLEMS_SHOWN, ROWS_SHOWN, files_plan_lines, totals_line
from xferengine.jobs.plan import FilesPlan, PlanItem, PlanTotals
from xferengine.model.events import Failure

EVIL = "\x1b[2J\u202eA\nB\x07"


def item(name: str, **values: object) -> PlanItem:
    return PlanItem(**{"item": name, "files": 1500, "bytes": 2_000_000, "present": 3, "refused": 0, **values})  # type: ignore[arg-type]


def plan(*items: PlanItem, **values: object) -> FilesPlan:
    totals = PlanTotals(experiments=len(items), files=1500, bytes=2_000_000, skipped=3)
    base = {"job": "ab12", "verb": "download", "target": "/out", "totals": totals, "items": items}
    return FilesPlan(**{**base, **values})  # type: ignore[arg-type]


def test_a_row_per_item_and_the_totals() -> None:
    lines = files_plan_lines(plan(item("P/S/E"), item("P/S/F", files=0, bytes=0)), 100)
    assert lines[0].split() == ["ITEM", "FILES", "SIZE", "EQUAL", "REFUSED"]
    assert lines[1].split() == ["P/S/E", "1,500", "2.0", "MB", "3", "0"]
    text = " ".join(" ".join(lines).split())
    assert "1,500 files, 2.0 MB" in text
    assert "/out" in text
    assert "3 files" in text


def test_nothing_is_said_as_nothing() -> None:
    assert files_plan_lines(plan(totals=PlanTotals(experiments=0, files=0, bytes=0)), 80)[0] == "Nothing was found."


def test_an_item_that_could_not_be_listed_has_no_counts_and_says_why() -> None:
    lines = files_plan_lines(plan(item("P/S/E", why="AccessDenied: may not"), item("P/S/F")), 100)
    assert lines[1].split() == ["P/S/E", "-", "-", "-", "-"]
    assert "AccessDenied: may not" in " ".join(lines)


def test_long_plans_are_cut_and_say_how_much_is_missing() -> None:
    many = [item(f"P/S/{n}", why="X: y") for n in range(ROWS_SHOWN + 10)]
    shown = plan(*many, totals=PlanTotals(experiments=1234, files=1, bytes=1))
    lines = files_plan_lines(shown, 100)
    assert f"… and {1234 - ROWS_SHOWN:,} more" in lines
    assert sum("X: y" in line for line in lines) == PROBLEMS_SHOWN


@pytest.mark.parametrize("count", [1, PROBLEMS_SHOWN, 100])
def test_files_that_will_not_come_are_counted_and_some_are_named(count: int) -> None:
    problems = tuple(Failure(ref=f"E/{n}", error="UnsafePath", detail="it holds .") for n in range(min(count, 50)))
    text = "\n".join(files_plan_lines(plan(item("P/S/E"), problems=problems, problem_count=count), 100))
    assert f"{count} file{'s' if count > 1 else ''} will not be moved" in text
    assert "E/0" in text


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_texts_of_a_server_are_harmless_and_fit(width: int) -> None:
    problems = (Failure(ref=EVIL, error=EVIL, detail=EVIL),)
    shown = plan(item(EVIL), item(EVIL, why=EVIL), target=EVIL, notes=(EVIL,), problems=problems, problem_count=1)
    for line in files_plan_lines(shown, width):
        assert line.isprintable() or line == ""


def test_totals_name_the_direction() -> None:
    assert totals_line(plan(item("x"))).startswith("To download: ")
    assert totals_line(plan(item("x"), verb="upload-files")).startswith("To send: ")
