"""What ``verify`` found, for people. Every text of a file or server is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from xferengine.cli.render_text import last_lines
from xferengine.jobs.spec import JobReport
from xferengine.jobs.wording import DIFFERENCES, count_text, failure_lines, headings, summary_lines, troubles
from xferengine.kit.escape import for_terminal
from xferengine.model.events import Failure, Summary

NAMES_SHOWN = 20
"""Files of one kind that are named."""


def compared_lines(report: JobReport, width: int, *, again: str = "") -> list[str]:
    """Return the counts, the files of each kind that are not equal, and what could not be compared.

    Args:
        report: of the job.
        width: of the terminal, in cells.
        again: options that the command that goes on needs too, with a space in front.
    """
    summary = cast("Summary", report.summary)
    lines = ["", *summary_lines(summary)]
    if report.ends:
        lines += ["", *(f"  {side} is {for_terminal(end)}" for side, end in zip("AB", report.ends, strict=True))]
    for kind, words in DIFFERENCES.items():
        named = [failure for failure in summary.failures if failure.error == kind]
        lines += _named(words, named, max(report.counts.get(words, 0), len(named)))
    if rest := troubles(summary):
        lines += ["", headings(summary.verb)[0]]
        lines += failure_lines(rest[:NAMES_SHOWN], limit=NAMES_SHOWN, width=width, verb=summary.verb)
        # the summary names some of them only
        lines += _rest(max(summary.totals.refused, len(rest)) - min(len(rest), NAMES_SHOWN))
    return [*lines, *last_lines(summary, width=width, again=again)]


def _named(words: str, named: Sequence[Failure], count: int) -> list[str]:
    """Paths stay whole, so that they can be copied."""
    if not named:
        return []
    lines = ["", f"{words[0].upper()}{words[1:]}: {count_text(count, 'file')}"]
    for failure in named[:NAMES_SHOWN]:
        why = f"  ({for_terminal(failure.detail)})" if failure.detail else ""
        lines.append(f"  {for_terminal(failure.ref)}{why}")
    return [*lines, *_rest(count - min(len(named), NAMES_SHOWN))]


def _rest(more: int) -> list[str]:
    return [f"  … and {more:,} more (all of them are in the report)"] if more > 0 else []
