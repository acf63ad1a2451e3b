"""Reads a zip while it arrives: members go to their sinks in order, in bounded memory, and everything is checked.

A synchronous push parser for a worker thread: collect a MiB or so of the network's chunks, hand them over in one hop.

    unzip = Unzip(take)                 # take(member) returns a sink, or None to pass over it
    for block in blocks:
        unzip.feed(block)               # sink.write …, then sink.done or sink.broken, member after member
    summary = unzip.finish()            # directory and end record are whole and agree with all of it

Read are stored members whose size stands in front, and deflated ones with or without a data descriptor; ZIP64
throughout. Refused is what could be read in two ways: bytes before, between or after the records, several disks,
encryption, a directory that says anything else than the local headers.

A member with a wrong CRC or size whose end is certain is ``broken`` alone, and the reading goes on. Where the framing
is lost nothing after it can be trusted: the open member is ``broken`` and ``ArchiveBroken`` is raised, again by every
later call. Members that were ``done`` before are whole by CRC and size, though no directory has confirmed their names.

Source: PKWARE APPNOTE 6.3.10; FIL 2.1 (what XNAT sends: stored with sizes by default, deflated with descriptors).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NoReturn

import msgspec

from xferengine.errors import ArchiveBroken, XferError
from xferengine.streams import zipread
from xferengine.streams.unzip_data import DeflatedData, MemberData, MemberSink, StoredData
from xferengine.streams.unzip_directory import Directory, ZipSummary
from xferengine.streams.zipread import DEFLATED, STORED, Buffer, Declared, EndRecord, Member

__all__ = ["DEFLATED", "STORED", "Member", "MemberSink", "Take", "Unzip", "UnzipLimits", "ZipSummary"]

Take = Callable[[Member], MemberSink | None]
"""Called with each member before its data; None passes over it (a deflated one may have to be inflated for that)."""


def _no_limit(member: Member) -> int | None:
    """Let a member be of any size."""
    return None


class UnzipLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive may ask of this machine."""

    members: int = 5_000_000
    """Most members; each costs 17 bytes of memory."""
    member_bytes: Callable[[Member], int | None] = _no_limit
    """Most bytes of a member that is taken, by its listing; None for any number. Beyond it the member is ``broken``."""
    passed_over_bytes: int = 64 << 30
    """Most bytes that are inflated for nobody, all members together; more is an attack on the processor."""


class Unzip:
    """State of one archive. Not thread-safe: one call at a time.

    Args:
        take: chooses the sink of each member.
        limits: what is refused.
    """

    __slots__ = (
        "_data", "_directory", "_end", "_end64", "_end64_offset", "_failure", "_held", "_limits", "_need",
        "_offset", "_passed_over", "_record", "_seen_count", "_start", "_summary", "_take",
    )  # fmt: skip

    def __init__(self, take: Take, *, limits: UnzipLimits | None = None) -> None:
        self._take = take
        self._limits = limits or UnzipLimits()
        self._directory = Directory(self._limits.members)
        self._data: MemberData | None = None
        self._held = bytearray()
        self._need = 4
        self._record: Callable[[Unzip, Buffer], int] = Unzip._read_first
        self._offset = 0
        self._start: int | None = None
        self._seen_count = 0
        self._end64: EndRecord | None = None
        self._end64_offset = 0
        self._passed_over = 0
        self._summary: ZipSummary | None = None
        self._failure: ArchiveBroken | None = None
