"""How a job's outcome is put into words, for the report and for the terminal alike."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

from xferengine.jobs.advice import ADVICE, WHAT_TO_DO
from xferengine.jobs.amounts import count_text, duration_text, size_text
from xferengine.jobs.verb_words import words_of
from xferengine.kit.escape import for_terminal
from xferengine.model.events import Failure, Summary

__all__ = [
    "DIFFERENCES",
    "WHAT_TO_DO",
    "count_text",
    "duration_text",
    "failure_lines",
    "headings",
    "headline",
    "size_text",
    "summary_lines",
    "troubles",
    "unverified_line",
    "what_to_do",
    "wrapped",
]

DIFFERENCES = {"Differs": "differs", "OnlyInA": "only in A", "OnlyInB": "only in B"}
"""What the summary of ``verify`` calls a difference → how its counts name it."""


def headline(summary: Summary) -> str:
    """Return the outcome of a job as one sentence."""
    return words_of(summary.verb).headline(summary)


def summary_lines(summary: Summary) -> list[str]:
    """Return the counts of a summary for people, without control characters."""
    totals, words = summary.totals, words_of(summary.verb)
    named = summary.failures and (summary.verb != "verify" or totals.failed)
    rows = [*words.rows(summary), (words.failed[0], totals.failed, words.failed[1], "listed below" if named else "")]
    shown = [(name, count_text(count, noun), note) for name, count, noun, note in rows if count > 0]
    done = f"{count_text(totals.files, 'file')}, {size_text(totals.bytes)} in {duration_text(summary.seconds)}"
    if totals.bytes_resent:
        done += f" ({size_text(totals.bytes_resent)} more in vain)"
    lines = [headline(summary), "", f"  {words.moved:<18} {done}"]
    return lines + [f"  {name:<18} {count:<18} {note}".rstrip() for name, count, note in shown]


def unverified_line(summary: Summary) -> str:
    """Return what is to be said of items with content that is not proven; empty when there are none."""
    if not summary.unverified:
        return ""
    words = words_of(summary.verb)
    return words.unverified.format(count_text(len(summary.unverified), words.noun))


def headings(verb: str) -> tuple[str, str]:
    """Return the headings of a report's failures and of what is not proven."""
    words = words_of(verb)
    return words.trouble, words.unproven


def troubles(summary: Summary) -> tuple[Failure, ...]:
    """Return the failures that need an explanation: that two places differ is what ``verify`` is there to say."""
    return tuple(failure for failure in summary.failures if failure.error not in DIFFERENCES)


def what_to_do(kind: str, verb: str = "upload") -> str:
    """Return what a person can do about a class of error; empty when there is nothing to say."""
    return ADVICE.get(verb, {}).get(kind) or WHAT_TO_DO.get(kind, "")


def failure_lines(
    failures: Iterable[Failure],
    *,
    limit: int,
    width: int = 10_000,
    labels: Mapping[str, str] | None = None,
    verb: str = "upload",
    total: int = 0,
) -> list[str]:
    """Return at most ``limit`` failures: what, why, and what to do.

    Args:
        width: longest line, in cells.
        labels: StudyInstanceUID → session label, so that a person sees the name they know.
        verb: whose words are used.
        total: how many there are, where a summary holds only the first ones.
    """
    lines: list[str] = []
    more = 0
    for number, failure in enumerate(failures):
        if number >= limit:
            more += 1
            continue
        label = (labels or {}).get(failure.ref, "")
        if failure.ref:
            lines.append(
                f"  {for_terminal(label)}  ({for_terminal(failure.ref)})" if label else f"  {for_terminal(failure.ref)}"
            )
        why = f"{for_terminal(failure.error)}: {for_terminal(failure.detail)}" if failure.detail else failure.error
        lines += wrapped(why, width, "      ")
        if advice := what_to_do(failure.error, verb):
            lines += wrapped(f"→ {advice}", width, "      ")
    more = max(more, total - limit)
    return [*lines, f"  … and {more:,} more"] if more > 0 else lines


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Break a sentence into lines of at most ``width`` cells; long paths stay whole, so that they can be copied."""
    return textwrap.wrap(
        text,
        max(width, 40),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
