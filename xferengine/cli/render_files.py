"""Plans of verbs that move files of resources, for people. Every text of a file or server is escaped here."""

from __future__ import annotations

from xferengine.cli.table import Column, table_lines
from xferengine.jobs.plan import FilesPlan, PlanItem
from xferengine.jobs.wording import count_text, failure_lines, size_text, wrapped
from xferengine.kit.escape import for_terminal

ROWS_SHOWN = 40
PROBLEMS_SHOWN = 20


def files_plan_lines(plan: FilesPlan, width: int) -> list[str]:
    """Return the whole plan: items, what will not be moved and why, totals."""
    lines = _table(plan, width)
    stopped = [item for item in plan.items if item.why]
    for item in stopped[:PROBLEMS_SHOWN]:
        lines += ["", f"  {for_terminal(item.item)}", *wrapped(for_terminal(item.why), width, "      ")]
    if plan.problem_count:
        lines += ["", f"{count_text(plan.problem_count, 'file')} will not be moved:"]
        lines += failure_lines(plan.problems, limit=PROBLEMS_SHOWN, width=width, verb=plan.verb)
        if plan.problem_count > len(plan.problems) > PROBLEMS_SHOWN:
            lines.append("  (all of them are in the report)")
    for note in plan.notes:
        lines += ["", *wrapped(f"Note: {for_terminal(note)}", width)]
    return [*lines, "", *wrapped(totals_line(plan), width)]


def totals_line(plan: FilesPlan) -> str:
    """Return what will be moved, and what is there already, as one line."""
    totals = plan.totals
    text = f"To {'download' if plan.verb == 'download' else 'send'}: {count_text(totals.files, 'file')}"
    text += f", {size_text(totals.bytes)}, to {for_terminal(plan.target)}."
    if totals.skipped:
        text += f" Equal already: {count_text(totals.skipped, 'file')}."
    return text


def _table(plan: FilesPlan, width: int) -> list[str]:
    shown = plan.items[:ROWS_SHOWN]
    if not shown:
        return ["Nothing was found."]
    columns = [
        Column(title="ITEM", grows=True, least=16),
        Column(title="FILES", right=True),
        Column(title="SIZE", right=True),
        Column(title="EQUAL", right=True),
        Column(title="REFUSED", right=True),
    ]
    rest = max(plan.totals.experiments, len(plan.items)) - len(shown)
    more = [f"… and {rest:,} more"] if rest > 0 else []
    return [*table_lines(columns, [_row(item) for item in shown], width), *more]


def _row(item: PlanItem) -> list[str]:
    counts = (f"{item.files:,}", size_text(item.bytes), f"{item.present:,}", f"{item.refused:,}")
    return [for_terminal(item.item), *(("-",) * 4 if item.why else counts)]
