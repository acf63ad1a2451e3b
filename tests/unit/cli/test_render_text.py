"""Plan and outcome for people: complete, aligned, harmless."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.cli.render_text import end_lines, finding_lines, job_lines, next_command, plan_lines, question
from xferengine.cli.table import Column, shorten, table_lines, text_width
from xferengine.jobs.plan import PlanStudy, PlanTotals, PlanView
from xferengine.model.dicom import ProblemKind, ScanProblem
from xferengine.model.events import Failure, Summary, Totals


def study(number=1, **changes):
    values = {
        "study_uid": f"1.2.{number}",
        "project": "P",
        "subject": f"SUBJ{number}",
        "session": f"SESSION{number}",
        "files": 1200,
        "bytes": 5_000_000,
        "series": 3,
        "paths": (f"/in/{number}",),
        "verdict": "send",
    }
    return PlanStudy(**values | changes)


def plan(*studies, **changes):
    sent = [s for s in studies if s.verdict == "send"]
    totals = PlanTotals(experiments=len(sent), files=7, bytes=10**9, refused=len(studies) - len(sent), skipped=2)
    return PlanView(**{"job": "a", "totals": totals, "studies": studies, **changes})


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_line_fits(width):
    lines = plan_lines(plan(study(), study(2, session="x" * 64, subject="y" * 64)), width)
    assert max(map(text_width, lines)) <= width
    assert "1,200" in lines[1]
    assert "5.0 MB" in lines[1]


def test_a_long_plan_shows_forty_and_the_rest_as_a_number():
    lines = plan_lines(plan(*(study(n) for n in range(1, 101))), 100)
    assert sum("SESSION" in line for line in lines[1:]) == 40
    assert "… and 60 more" in lines
    assert lines[-1].startswith("To send: 100 sessions, 7 files, 1.0 GB.")


def test_projects_are_shown_when_there_are_several():
    assert "PROJECT" not in plan_lines(plan(study()), 100)[0]
    assert "PROJECT" in plan_lines(plan(study(), study(2, project="Q")), 100)[0]


def test_what_is_not_sent_says_why_and_where():
    refused = study(2, verdict="refused", why="it is in the archive already", session="")
    text = "\n".join(plan_lines(plan(study(), refused), 100))
    assert "1 session will not be sent:\n  1.2.2  (/in/2)\n      it is in the archive already" in text
    assert "Not sent: 1 session." in text


def test_problems_name_the_file_and_what_to_do():
    problem = ScanProblem(shown="/in/\x1b]0;x", kind=ProblemKind.CUT_PIXELS, detail="ends too early")
    text = "\n".join(plan_lines(plan(study(), problems=(problem,), problem_count=3, others_count=4), 100))
    assert "3 files cannot be used:\n  /in/\\x1b]0;x\n      ends too early\n      → copy the file again" in text
    assert "… and 2 more" in text
    assert "4 files of other kinds" in text


def test_notes_and_empty_plans():
    lines = plan_lines(plan(notes=("the project replaces files",)), 100)
    assert lines[0] == "No DICOM sessions were found."
    assert "Note: the project replaces files" in lines


def test_question():
    assert question(plan(study()).totals) == "Send 1 session (1.0 GB)?"


def summary(**changes):
    values = {"job": "ab12", "verb": "upload", "state": "done", "exit_code": 0, "seconds": 3, "totals": Totals()}
    return Summary(**values | changes)


@pytest.mark.parametrize(
    ("state", "code", "command"),
    [("done", 0, ""), ("incomplete", 3, "retry"), ("interrupted", 130, "resume"), ("interrupted", 10, "resume"),
     ("failed", 7, "resume"), ("sent", 0, "resume"), ("failed", 3, "retry"), ("done-unverified", 0, "")],
)  # fmt: skip
def test_how_to_go_on(state, code, command):
    assert next_command(summary(state=state, exit_code=code)) == command


def test_last_words():
    failures = (Failure(ref="1.2.3", error="Conflict", detail="taken"),)
    done = summary(state="incomplete", exit_code=3, failures=failures, unverified=("1.2.4",), report="/r/report.txt")
    text = "\n".join(end_lines(done, width=80, again=" --state-dir /s", labels={"1.2.3": "S1"}))
    assert "  S1  (1.2.3)\n      Conflict: taken" in text
    assert "not every instance" not in text
    assert "Report   /r/report.txt" in text
    assert text.endswith("Go on    xferengine jobs retry ab12 --state-dir /s")


def test_tables_of_jobs_and_findings():
    assert job_lines([], 80) == ["There are no jobs here."]
    row = (
        "ab12cd34",
        "upload",
        "interrupted",
        "P" * 40,
        "10/20",
        "Nov 24 15:26",
        "xnat.example.org/very/long/path" * 2,
    )
    assert max(map(text_width, job_lines([row], 80))) <= 80
    lines = finding_lines([("warning", "digests", "off \x07", "UIDs are compared")], 80)
    assert lines == ["!!  digests: off \\x07", "      → UIDs are compared"]


printable = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\n"), max_size=60)


@given(printable, st.integers(0, 80))
def test_shortened_text_fits(text, width):
    assert text_width(shorten(text, width)) <= max(width, 0)


@given(st.lists(st.tuples(printable, printable), max_size=5), st.integers(20, 60))
def test_tables_fit(rows, width):
    columns = [Column(title="A", grows=True, least=4), Column(title="B", grows=True, least=4, right=True)]
    assert all(text_width(line) <= width for line in table_lines(columns, rows, width))


def test_wide_characters_are_counted():
    assert text_width("日本") == 4
    assert text_width("e\u0301") == 1


def test_of_many_failures_the_true_number_is_said():
    failures = tuple(Failure(ref=f"f{n}", error="NotFound", detail="gone") for n in range(1000))
    summary = Summary(
        job="j", verb="download", state="incomplete", exit_code=3, seconds=1.0,
        totals=Totals(failed=1500), failures=failures,
    )  # fmt: skip
    assert any("and 1,480 more" in line for line in end_lines(summary, width=80))
