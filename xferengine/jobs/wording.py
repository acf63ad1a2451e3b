"""How a job's outcome is put into words, for the report and for the terminal alike."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping

import msgspec

from xferengine.jobs.advice import ADVICE, WHAT_TO_DO
from xferengine.kit.escape import for_terminal
from xferengine.model.events import Failure, Summary

__all__ = [
    "WHAT_TO_DO",
    "count_text",
    "duration_text",
    "failure_lines",
    "headline",
    "size_text",
    "summary_lines",
    "unverified_line",
    "what_to_do",
    "wrapped",
]

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
    return _WORDS.get(summary.verb, _UPLOAD).headline(summary)


def _ended_early(summary: Summary, nothing: str) -> str:
    """Return the sentence of a run that something ended, or that was stopped; empty for any other."""
    if summary.failures and not summary.failures[0].ref and not summary.totals.files:
        return nothing
    has_ended = bool(summary.failures) and not summary.failures[0].ref
    return (
        "Stopped before the end; what was done so far is kept." if has_ended or summary.state == "interrupted" else ""
    )


def _upload_headline(summary: Summary) -> str:
    totals = summary.totals
    sessions = count_text(totals.experiments, "session")
    if early := _ended_early(summary, "Nothing was sent."):
        return early
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
        case _:
            return "Failed: nothing more could be done."


def _files_headline(summary: Summary) -> str:
    totals, is_download = summary.totals, summary.verb == "download"
    if early := _ended_early(summary, f"Nothing was {'fetched' if is_download else 'sent'}."):
        return early
    files = count_text(totals.files + totals.skipped, "file")
    where = "in the folder" if is_download else "in the resource"
    match summary.state:
        case "done":
            return f"Done: {files} {where}, all verified."
        case "done-unverified":
            return f"Done: {files} {where}; the content of some is not proven."
        case "incomplete" if totals.failed:
            return f"Not complete: {count_text(totals.failed, 'failure')}."
        case "incomplete" if totals.refused:
            return f"Not complete: {count_text(totals.refused, 'file')} that the server's catalog contradicts."
        case "incomplete":
            return "Not complete: the content of some files is not proven."
        case "planned":
            return f"Planned; nothing was {'fetched' if is_download else 'sent'}."
        case _:
            return "Failed: nothing more could be done."


def _verify_headline(summary: Summary) -> str:
    totals = summary.totals
    if early := _ended_early(summary, "Nothing was compared."):
        return early.replace("done", "compared")
    if summary.state == "failed":
        return "Failed: nothing could be compared."
    looked_at = count_text(totals.files, "file")
    left = f" {count_text(totals.refused, 'file or item')} could not be compared." if totals.refused else ""
    if totals.failed:
        return f"Not equal: {count_text(totals.failed, 'difference')}; {looked_at} on both sides.{left}"
    return f"Equal as far as it was compared: {looked_at}.{left}" if left else f"Equal: {looked_at} on both sides."


_Row = tuple[str, int, str, str]
"""Name, number, what it counts, and a note."""


def _upload_rows(summary: Summary) -> list[_Row]:
    totals = summary.totals
    in_prearchive = summary.state == "done" and not totals.verified
    return [
        ("verified", totals.verified, "instance", "seen on the server afterwards"),
        ("checked", totals.files if in_prearchive else 0, "file", "in the prearchive, by name and size"),
        ("skipped", totals.skipped, "file", "duplicates, or archived before"),
        ("refused by server", totals.refused, "instance", "dropped by a filter or script"),
    ]


def _download_rows(summary: Summary) -> list[_Row]:
    totals = summary.totals
    unproven = totals.files - totals.refused - totals.verified
    return [
        ("verified", totals.verified, "file", "by MD5, by size where the server has none"),
        ("not verified", unproven, "file", "the server has neither MD5 nor size of them"),
        ("equal already", totals.skipped, "file", "not fetched again"),
        ("catalog outdated", totals.refused, "file", "kept as they came twice; the server's MD5 is of other bytes"),
    ]


def _resource_rows(summary: Summary) -> list[_Row]:
    totals = summary.totals
    rest = totals.files - totals.verified
    is_over = summary.state.startswith("done")
    return [
        ("verified", totals.verified, "file", "by MD5, as the server lists them afterwards"),
        ("by size only", rest if is_over else 0, "file", "the server has no MD5 of them"),
        ("not verified yet", 0 if is_over else rest, "file", "sent, or without MD5 on the server"),
        ("equal already", totals.skipped, "file", "not sent again"),
    ]


def _verify_rows(summary: Summary) -> list[_Row]:
    totals = summary.totals
    return [
        ("equal by MD5", totals.verified, "file", ""),
        ("equal by size", totals.skipped, "file", "one side has no MD5 of them"),
        ("not comparable", totals.refused, "file or item", ""),
    ]


class _Words(msgspec.Struct, frozen=True, kw_only=True):
    """How one verb is spoken about."""

    headline: Callable[[Summary], str]
    rows: Callable[[Summary], list[_Row]]
    moved: str
    """What was done to the files that ``totals.files`` counts."""
    failed: tuple[str, str]
    """Name and noun of what ``totals.failed`` counts."""
    unverified: str
    """What is said of ``summary.unverified``; ``{}`` is their number in words."""
    noun: str
    """What ``summary.unverified`` counts."""


_UPLOAD = _Words(
    headline=_upload_headline,
    rows=_upload_rows,
    moved="transferred",
    failed=("did not work", "failure"),
    unverified="Not every instance was verified in {}; the report names them.",
    noun="session",
)
_WORDS: Mapping[str, _Words] = {
    "upload": _UPLOAD,
    "download": _Words(
        headline=_files_headline,
        rows=_download_rows,
        moved="transferred",
        failed=("did not work", "failure"),
        unverified="The server has nothing to verify some files by in {}; the report names them.",
        noun="item",
    ),
    "upload-files": _Words(
        headline=_files_headline,
        rows=_resource_rows,
        moved="transferred",
        failed=("did not work", "failure"),
        unverified="The server has no MD5 of some files in {}: they were verified by size only.",
        noun="resource",
    ),
    "verify": _Words(
        headline=_verify_headline,
        rows=_verify_rows,
        moved="compared",
        failed=("not equal", "difference"),
        unverified="Some files could be compared by size only, in {}; that is no proof of equal content.",
        noun="item",
    ),
}
"""Verb → its words. Other verbs are spoken about as an upload is."""


def summary_lines(summary: Summary) -> list[str]:
    """Return the counts of a summary for people, without control characters."""
    totals, words = summary.totals, _WORDS.get(summary.verb, _UPLOAD)
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
    words = _WORDS.get(summary.verb, _UPLOAD)
    return words.unverified.format(count_text(len(summary.unverified), words.noun))


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
) -> list[str]:
    """Return at most ``limit`` failures: what, why, and what to do.

    Args:
        width: longest line, in cells.
        labels: StudyInstanceUID → session label, so that a person sees the name they know.
        verb: whose words are used.
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
        if advice := what_to_do(failure.error, verb):
            lines += wrapped(f"→ {advice}", width, "      ")
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
