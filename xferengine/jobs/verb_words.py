"""How each verb is spoken about: its outcome as a sentence, what its totals count, its headings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from xferengine.jobs.amounts import count_text
from xferengine.model.events import Summary, Totals


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
            by_size = f", {totals.by_size:,} by size only" if totals.by_size else ""
            return f"Done: {files} {where}, all verified{by_size}."
        case "done-unverified":
            return f"Done: {files} {where}; the content of some is not proven."
        case "incomplete" if totals.failed:
            return f"Not complete: {count_text(totals.failed, 'failure')}."
        case "incomplete" if totals.stale:
            return f"Not complete: {count_text(totals.stale, 'file')} that the server's catalog contradicts."
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
    if not (totals.files or totals.failed or totals.refused):
        return "Equal, with 0 files: neither side has any of what was asked for."
    looked_at = count_text(totals.files, "file")
    left = f" {count_text(totals.refused, 'file or item')} could not be compared." if totals.refused else ""
    if totals.failed:
        return f"Not equal: {count_text(totals.failed, 'difference')}; {looked_at} on both sides.{left}"
    return f"Equal as far as it was compared: {looked_at}.{left}" if left else f"Equal: {looked_at} on both sides."


Row = tuple[str, int, str, str]
"""Name, number, what it counts, and a note."""


def _upload_rows(summary: Summary) -> list[Row]:
    totals = summary.totals
    in_prearchive = summary.state == "done" and not totals.verified
    return [
        ("verified", totals.verified, "instance", "seen on the server afterwards"),
        ("checked", totals.files if in_prearchive else 0, "file", "in the prearchive, by name and size"),
        ("skipped", totals.skipped, "file", "duplicates, or archived before"),
        ("refused by server", totals.refused, "instance", "dropped by a filter or script"),
    ]


def _means(totals: Totals) -> str:
    """Say what files were verified by."""
    if not totals.by_size:
        return "by MD5"
    if totals.by_size >= totals.verified + totals.skipped:
        return "by size only: the server has no MD5 of them"
    return f"by MD5, {totals.by_size:,} of all by size only: the server has no MD5"


def _download_rows(summary: Summary) -> list[Row]:
    totals = summary.totals
    unproven = totals.files - totals.stale - totals.verified
    return [
        ("verified", totals.verified, "file", _means(totals)),
        ("not verified", unproven, "file", "the server has neither MD5 nor size of them"),
        ("equal already", totals.skipped, "file", "not fetched again"),
        ("names refused", totals.refused, "file", "this folder cannot hold them"),
        ("catalog outdated", totals.stale, "file", "kept as they came twice; the server's MD5 is of other bytes"),
    ]


def _resource_rows(summary: Summary) -> list[Row]:
    totals = summary.totals
    return [
        ("verified", totals.verified, "file", f"{_means(totals)}, as the server lists them afterwards"),
        ("not verified yet", totals.files - totals.verified, "file", "sent, and not looked up since"),
        ("equal already", totals.skipped, "file", "not sent again"),
        ("refused", totals.refused, "file", "links, names that XNAT cannot hold, or one that is taken"),
    ]


def _verify_rows(summary: Summary) -> list[Row]:
    totals = summary.totals
    return [
        ("equal by MD5", totals.verified - totals.by_size, "file", ""),
        ("equal by size", totals.by_size, "file", "one side has no MD5 of them"),
        ("not comparable", totals.refused, "file or item", ""),
    ]


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """How one verb is spoken about."""

    headline: Callable[[Summary], str]
    rows: Callable[[Summary], list[Row]]
    moved: str
    """What was done to the files that ``totals.files`` counts."""
    failed: tuple[str, str]
    """Name and noun of what ``totals.failed`` counts."""
    unverified: str
    """What is said of ``summary.unverified``; ``{}`` is their number in words."""
    noun: str
    """What ``summary.unverified`` counts."""
    trouble: str = "What did not work"
    """Heading of failures."""
    unproven: str = "Not verified"
    """Heading of ``summary.unverified``."""


UPLOAD = Words(
    headline=_upload_headline,
    rows=_upload_rows,
    moved="transferred",
    failed=("did not work", "failure"),
    unverified="Not every instance was verified in {}; the report names them.",
    noun="session",
)
WORDS: Mapping[str, Words] = {
    "upload": UPLOAD,
    "download": Words(
        headline=_files_headline,
        rows=_download_rows,
        moved="transferred",
        failed=("did not work", "failure"),
        unverified="The server has nothing to verify some files by in {}; the report names them.",
        noun="item",
    ),
    "upload-files": Words(
        headline=_files_headline,
        rows=_resource_rows,
        moved="transferred",
        failed=("did not work", "failure"),
        unverified="The server has no MD5 of some files in {}: they were verified by size only.",
        noun="resource",
    ),
    "verify": Words(
        headline=_verify_headline,
        rows=_verify_rows,
        moved="compared",
        failed=("not equal", "difference"),
        unverified="Some files could be compared by size only, in {}; that is no proof of equal content.",
        noun="item",
        trouble="What could not be compared",
        unproven="Compared by size only, in part",
    ),
}
"""Verb → its words. Other verbs are spoken about as an upload is."""


def words_of(verb: str) -> Words:
    """Return the words of a verb."""
    return WORDS.get(verb, UPLOAD)
