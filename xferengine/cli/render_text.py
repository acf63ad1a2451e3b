"""Words and tables for people. Every text that came from a file or a server is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xferengine.cli.exitcodes import RESUMABLE
from xferengine.cli.table import Column, table_lines
from xferengine.jobs.plan import PlanStudy, PlanTotals, PlanView
from xferengine.jobs.wording import (
    WHAT_TO_DO,
    count_text,
    failure_lines,
    size_text,
    summary_lines,
    unverified_line,
    wrapped,
)
from xferengine.kit.escape import for_terminal
from xferengine.model.events import Summary

ROWS_SHOWN = 40
PROBLEMS_SHOWN = 20
FAILURES_SHOWN = 20
SUMMED_UP = 1000
"""Failures that a summary holds at most."""

VERDICTS = {"send": "send", "refused": "not sent", "done": "done before", "present": "in archive"}


def plan_lines(plan: PlanView, width: int) -> list[str]:
    """Return the whole plan: sessions, what will not be sent and why, files that cannot be used, totals."""
    lines = [*_session_table(plan, width), *_refused(plan, width), *_problems(plan, width)]
    if plan.others_count:
        lines += ["", f"{count_text(plan.others_count, 'file')} of other kinds (no DICOM instances) will not be sent."]
    for note in plan.notes:
        lines += ["", *wrapped(f"Note: {for_terminal(note)}", width)]
    return [*lines, "", *wrapped(totals_line(plan), width)]


def totals_line(plan: PlanView) -> str:
    """Return what will be sent, and what will not, as one line."""
    totals = plan.totals
    text = f"To send: {count_text(totals.experiments, 'session')}, {count_text(totals.files, 'file')}"
    text += f", {size_text(totals.bytes)}."
    if totals.refused:
        text += f" Not sent: {count_text(totals.refused, 'session')}."
    if totals.skipped:
        text += f" Sent once only: {count_text(totals.skipped, 'duplicate')}."
    return text


def question(totals: PlanTotals) -> str:
    """Return the question before the first byte."""
    return f"Send {count_text(totals.experiments, 'session')} ({size_text(totals.bytes)})?"


def _session_table(plan: PlanView, width: int) -> list[str]:
    shown = plan.studies[:ROWS_SHOWN]
    if not shown:
        return ["No DICOM sessions were found."]
    with_project = len({study.project for study in plan.studies}) > 1
    columns = [
        *([Column(title="PROJECT", grows=True)] if with_project else []),
        Column(title="SESSION", grows=True, least=16),
        Column(title="SUBJECT", grows=True, least=8),
        Column(title="SERIES", right=True),
        Column(title="FILES", right=True),
        Column(title="SIZE", right=True),
        Column(title="PLAN"),
    ]
    rows = [_session_row(study, with_project) for study in shown]
    total = plan.totals.experiments + plan.totals.refused
    rest = max(total, len(plan.studies)) - len(shown)
    more = [f"… and {rest:,} more"] if rest > 0 else []
    return [*table_lines(columns, rows, width), *more]


def _session_row(study: PlanStudy, with_project: bool) -> list[str]:
    return [
        *([for_terminal(study.project)] if with_project else []),
        for_terminal(study.session) or "(no label)",
        for_terminal(study.subject) or "(no label)",
        f"{study.series:,}",
        f"{study.files:,}",
        size_text(study.bytes),
        VERDICTS.get(study.verdict, for_terminal(study.verdict)),
    ]


def _refused(plan: PlanView, width: int) -> list[str]:
    refused = [study for study in plan.studies if study.verdict == "refused"]
    if not refused:
        return []
    total = max(plan.totals.refused, len(refused))
    lines = ["", f"{count_text(total, 'session')} will not be sent:"]
    for study in refused[:PROBLEMS_SHOWN]:
        name = for_terminal(study.session) or for_terminal(study.study_uid)
        place = for_terminal(study.paths[0]) if study.paths else for_terminal(study.study_uid)
        lines.append(f"  {name}  ({place})")
        lines += wrapped(for_terminal(study.why), width, "      ")
    return _with_rest(lines, total - min(len(refused), PROBLEMS_SHOWN))


def _problems(plan: PlanView, width: int) -> list[str]:
    if not plan.problem_count:
        return []
    lines = ["", f"{count_text(plan.problem_count, 'file')} cannot be used:"]
    for problem in plan.problems[:PROBLEMS_SHOWN]:
        lines.append(f"  {for_terminal(problem.shown)}")
        lines += wrapped(for_terminal(problem.detail), width, "      ")
        if problem.kind in WHAT_TO_DO:
            lines += wrapped(f"→ {WHAT_TO_DO[problem.kind]}", width, "      ")
    return _with_rest(lines, plan.problem_count - min(len(plan.problems), PROBLEMS_SHOWN))


def _with_rest(lines: list[str], rest: int) -> list[str]:
    return [*lines, f"  … and {rest:,} more (all of them are in the report)"] if rest > 0 else lines


def _total(summary: Summary) -> int:
    """Return how many failures there are when the summary holds only the first thousand."""
    totals = summary.totals
    return totals.failed + totals.stale if len(summary.failures) >= SUMMED_UP else 0


def end_lines(summary: Summary, *, width: int, again: str = "", labels: Mapping[str, str] | None = None) -> list[str]:
    """Return the last words of a job: counts, failures with what to do, the report, and how to go on.

    Args:
        width: of the terminal, in cells.
        labels: StudyInstanceUID → session label, for the sessions that the report knows.
        again: options that the command that goes on needs too, with a space in front.
    """
    lines = ["", *summary_lines(summary)]
    if summary.failures:
        lines += [
            "",
            "What did not work",
            *failure_lines(
                summary.failures,
                limit=FAILURES_SHOWN,
                width=width,
                labels=labels,
                verb=summary.verb,
                total=_total(summary),
            ),
        ]
    return [*lines, *last_lines(summary, width=width, again=again)]


def last_lines(summary: Summary, *, width: int, again: str = "") -> list[str]:
    """Return what stands below everything else: what is not proven, the job, its report, and how to go on."""
    unverified = unverified_line(summary)
    lines = ["", *wrapped(unverified, width)] if unverified else []
    lines.append("")
    if summary.job:
        lines.append(f"Job      {for_terminal(summary.job)}")
    if summary.report:
        lines.append(f"Report   {for_terminal(summary.report)}")
    command = next_command(summary)
    if command:
        lines.append(f"Go on    xferengine jobs {command} {for_terminal(summary.job)}{again}")
    return lines


def next_command(summary: Summary) -> str:
    """Return the verb of ``jobs`` that continues this job, or an empty string."""
    if not summary.job:
        return ""
    if summary.exit_code in RESUMABLE or summary.state in {"interrupted", "sent"}:
        return "resume"
    return "retry" if summary.state in {"incomplete", "failed"} else ""


def job_lines(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return the table of ``jobs list``: id, verb, state, project, server, sessions, updated."""
    columns = [
        Column(title="JOB"),
        Column(title="VERB"),
        Column(title="STATE"),
        Column(title="PROJECT", grows=True, least=8),
        Column(title="SESSIONS", right=True),
        Column(title="UPDATED"),
        Column(title="SERVER", grows=True, least=12),
    ]
    if not rows:
        return ["There are no jobs here."]
    return table_lines(columns, [[for_terminal(cell) for cell in row] for row in rows], width)


MARKS = {"ok": "ok", "good": "ok", "info": "--", "warning": "!!", "error": "XX"}


def finding_lines(findings: Sequence[tuple[str, str, str, str]], width: int) -> list[str]:
    """Return what ``doctor`` found: (level, what, detail, what the engine does about it)."""
    lines: list[str] = []
    for level, what, detail, does in findings:
        lines += wrapped(f"{MARKS.get(level, level):<3} {for_terminal(what)}: {for_terminal(detail)}", width)
        if does:
            lines += wrapped(f"→ {for_terminal(does)}", width, "      ")
    return lines
