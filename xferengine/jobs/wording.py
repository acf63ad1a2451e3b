"""How a job's outcome is put into words, for the report and for the terminal alike."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

from xferengine.kit.escape import for_terminal
from xferengine.model.events import Failure, Summary

WHAT_TO_DO: dict[str, str] = {
    "Conflict": "something of that name or study is on the server already: see --overwrite and --existing-row",
    "AccessDenied": "ask the project's owner for the right to upload",
    "UnusableLabel": "give the session another label (--session, --subject or --map)",
    "LabelClash": "use another --session or --subject template, or --map",
    "DuplicateInstance": "keep the right one of these files and run the same command again",
    "SourceChanged": "wait until nothing writes to the folder, then retry",
    "LoginRefused": "check user name and password; they were tried only once, because accounts lock",
    "NotFound": "check the project's name and your rights in it",
    "ConnectFailed": "check the address and the network; then go on with the command below",
    "DiskFull": "make room; then go on with the command below",
    "RefusedByServer": "the server drops these instances (filter or script); if that is meant: --allow-refused",
    "cut-header": "copy the file again from where it came from",
    "cut-pixels": "copy the file again from where it came from",
    "unreadable": "check the permissions of the file or folder",
    "no-study-uid": "the file is damaged or no image: repair it or leave it out with --exclude",
    "no-sop-uid": "the file is damaged or no image: repair it or leave it out with --exclude",
    "bad-uid": "the file needs a valid UID before any archive takes it",
    "damaged-container": "make the zip or tar again",
    "nested-container": "unpack the inner zip or tar first",
    "encrypted": "unpack it first: xferengine knows no passwords of archives",
    "too-young": "wait, or lower --min-age",
}
"""Class of an error → what a person can do about it."""

_SCALES = ("B", "kB", "MB", "GB", "TB", "PB")


def size_text(size_bytes: float) -> str:
    """Return a size for people: ``831 B``, ``1.2 GB`` (decimal units)."""
    value, scale = float(size_bytes), 0
    while abs(value) >= 999.5 and scale < len(_SCALES) - 1:
        value, scale = value / 1000, scale + 1
    return f"{value:.0f} {_SCALES[scale]}" if scale == 0 or value >= 99.95 else f"{value:.1f} {_SCALES[scale]}"


def duration_text(seconds: float) -> str:
    """Return a duration for people: ``0.4 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count_text(number: int, noun: str) -> str:
    """Return ``1 session``, ``1,200 sessions``; ``noun`` is singular."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def headline(summary: Summary) -> str:
    """Return the outcome of a job as one sentence."""
    totals = summary.totals
    sessions = count_text(totals.experiments, "session")
    if summary.failures and not summary.failures[0].ref:
        if not totals.files:
            return "Nothing was sent."
        return "Stopped before the end; what was done so far is kept."
    match summary.state:
        case "done" if totals.verified or not totals.files:
            return f"Done: {sessions}, {count_text(totals.verified, 'instance')} verified."
        case "done":
            return f"Done: {sessions} ready in the prearchive."
        case "done-unverified":
            return f"Done: {sessions}; the content of some instances is not proven."
        case "sent":
            return f"Sent: {sessions}; the server still works on them and nothing was verified yet."
        case "incomplete":
            return f"Not complete: {count_text(totals.failed, 'failure')}."
        case "planned":
            return f"Planned: {sessions}; nothing was sent."
        case "interrupted":
            return "Stopped before the end; what was done so far is kept."
        case _:
            return "Failed: nothing more could be done."


def summary_lines(summary: Summary) -> list[str]:
    """Return the counts of a summary for people, without control characters."""
    totals = summary.totals
    in_prearchive = summary.state == "done" and not totals.verified
    rows = [
        ("verified", totals.verified, "instance", "seen on the server afterwards"),
        ("checked", totals.files if in_prearchive else 0, "file", "in the prearchive, by name and size"),
        ("skipped", totals.skipped, "file", "duplicates, or archived before"),
        ("refused by server", totals.refused, "instance", "dropped by a filter or script"),
        ("did not work", totals.failed, "failure", "listed below" if summary.failures else ""),
    ]
    shown = [(name, count_text(count, noun), note) for name, count, noun, note in rows if count]
    sent = f"{count_text(totals.files, 'file')}, {size_text(totals.bytes)} in {duration_text(summary.seconds)}"
    if totals.bytes_resent:
        sent += f" ({size_text(totals.bytes_resent)} more in vain)"
    lines = [headline(summary), "", f"  {'transferred':<18} {sent}"]
    return lines + [f"  {name:<18} {count:<18} {note}".rstrip() for name, count, note in shown]


def failure_lines(
    failures: Iterable[Failure], *, limit: int, width: int = 10_000, labels: Mapping[str, str] | None = None
) -> list[str]:
    """Return at most ``limit`` failures: what, why, and what to do.

    Args:
        width: longest line, in cells.
        labels: StudyInstanceUID → session label, so that a person sees the name they know.
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
        lines += wrapped(f"{for_terminal(failure.error)}: {for_terminal(failure.detail)}", width, "      ")
        if failure.error in WHAT_TO_DO:
            lines += wrapped(f"→ {WHAT_TO_DO[failure.error]}", width, "      ")
    return [*lines, f"  … and {more:,} more"] if more else lines


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
