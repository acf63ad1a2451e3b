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
from struct import Struct
from typing import NamedTuple

import msgspec

from xferengine.errors import ArchiveBroken, XferError
from xferengine.streams import zipread, zipread_directory
from xferengine.streams.unzip_data import DeflatedData, MemberData, MemberSink, StoredData
from xferengine.streams.unzip_directory import Directory, ZipSummary
from xferengine.streams.zipread import DEFLATED, STORED, Buffer, Declared, Member
from xferengine.streams.zipread_directory import EndRecord

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
    link_names: int = 4 << 20
    """Most characters of names of links and devices; an archive with more of them is not one of files."""


class _Stage(NamedTuple):
    """Which records may come next, and what it means when another does."""

    readers: dict[bytes, tuple[Struct, Callable[[Unzip, tuple, Buffer], int]]]
    otherwise: str


class Unzip:
    """State of one archive. Not thread-safe: one call at a time.

    Args:
        take: chooses the sink of each member.
        limits: what is refused.
    """

    __slots__ = (
        "_data", "_directory", "_end64", "_end64_offset", "_failure", "_held", "_limits", "_need", "_offset",
        "_passed_over", "_read", "_stage", "_start", "_summary", "_take",
    )  # fmt: skip

    def __init__(self, take: Take, *, limits: UnzipLimits | None = None) -> None:
        self._take = take
        self._limits = limits or UnzipLimits()
        self._directory = Directory(self._limits.link_names)
        self._data: MemberData | None = None
        self._held = bytearray()  # the beginning of a record whose end has not come yet
        self._need = 4  # bytes without which reading on makes no sense
        self._read: Callable[[Unzip, Buffer], int] = Unzip._read_signed
        self._stage = _BEGIN
        self._offset = 0
        self._start = -1  # of the directory
        self._end64: EndRecord | None = None
        self._end64_offset = 0
        self._passed_over = 0
        self._summary: ZipSummary | None = None
        self._failure: ArchiveBroken | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the archive; they may be changed once this returns.

        Raises:
            ArchiveBroken: the framing is lost; the open member was told, and every later call raises again.

        Whatever a sink or ``take`` raises passes through and ends the reading too; then the open member is told by
        ``abort``, which the caller owes.
        """
        self._check_alive()
        try:
            self._advance(memoryview(data).cast("B"))
        except ArchiveBroken as error:
            self.abort(error)
            raise
        except BaseException:
            self._failure = ArchiveBroken("its reading was given up because a member could not be written")
            raise

    def finish(self) -> ZipSummary:
        """End the archive: there are no more bytes.

        Raises:
            ArchiveBroken: the central directory or the end record are missing, cut, or contradict the members.
        """
        self._check_alive()
        if self._summary is None:
            error = ArchiveBroken(f"it was cut: {self._offset + len(self._held)} bytes came, and no end")
            self.abort(error)
            raise error
        return self._summary

    def abort(self, error: XferError) -> None:
        """Give up: the open member, if any, is told that it is broken by ``error``. May be repeated."""
        if self._failure is None:
            self._failure = ArchiveBroken(error.message)
        data, self._data = self._data, None
        if data is not None:
            data.fail(error)

    def _check_alive(self) -> None:
        if self._failure is not None:
            raise ArchiveBroken(self._failure.message)

    def _advance(self, view: memoryview) -> None:
        at, end = 0, len(view)
        while at < end:
            data = self._data
            if data is not None and not data.is_over:
                used = data.push(view[at:])
                self._offset += used
                if data.is_over:
                    self._end_data(data)
            elif self._held:
                used = self._complete(view[at:])
            else:
                used = self._read(self, view[at:]) if end - at >= self._need else 0
                self._offset += used
                if not used:
                    self._held += view[at:]
                    return
            at += used

    def _complete(self, view: memoryview) -> int:
        """Add to the held beginning of a record what it needs, and read it; return how many bytes it took."""
        held = self._held
        added = view[: self._need - len(held)]
        held += added
        while len(held) >= self._need:
            used = self._read(self, held)
            self._offset += used
            # after a data descriptor, which is read with the signature behind it, the next record's beginning is left
            del held[:used]
        return len(added)

    def _expect(self, stage: _Stage, *, need: int = 4) -> None:
        self._stage, self._need, self._read = stage, need, Unzip._read_signed

    def _wait(self, need: int) -> int:
        self._need = need
        return 0

    def _read_signed(self, buffer: Buffer) -> int:
        """Read a record that its signature names; return its length, or 0 when more of it is needed."""
        sign = bytes(buffer[:4])
        reader = self._stage.readers.get(sign)
        if reader is None:
            raise ArchiveBroken(self._stage.otherwise)
        if self._start < 0 and sign != zipread.LOCAL_SIGN:
            self._start = self._offset
        layout, read = reader
        if len(buffer) < layout.size:
            return self._wait(layout.size)
        return read(self, layout.unpack_from(buffer), buffer)

    def _read_local(self, fields: tuple, buffer: Buffer) -> int:
        length = zipread.LOCAL.size + fields[9] + fields[10]
        if len(buffer) < length:
            return self._wait(length)
        if len(self._directory) >= self._limits.members:
            raise ArchiveBroken(f"it has more than {self._limits.members} members")
        member = zipread.read_local(fields, bytes(buffer[zipread.LOCAL.size : length]), offset=self._offset)
        sink = self._take(member)
        most = None if sink is None else self._limits.member_bytes(member)
        kind = StoredData if member.method == STORED else DeflatedData
        data = self._data = kind(member, sink, most=most, pass_over=self._pass_over)
        self._expect(_MEMBERS)
        if data.is_over:
            self._end_data(data)
        return length

    def _pass_over(self, count: int) -> None:
        self._passed_over += count
        if self._passed_over > self._limits.passed_over_bytes:
            raise ArchiveBroken("it inflates to more bytes than anybody asked for")

    def _end_data(self, data: MemberData) -> None:
        member = data.member
        if member.has_descriptor:
            self._need, self._read = zipread.DESCRIPTOR_WINDOW, Unzip._read_descriptor
        else:
            self._close(data, Declared(member.crc or 0, member.packed_size or 0, member.size or 0))

    def _read_descriptor(self, buffer: Buffer) -> int:
        data = self._data
        assert data is not None  # this reader is set only while there are data
        is_exact = data.member.method == STORED and not data.member.size
        length, declared = zipread.read_descriptor(buffer, data.actual, is_exact=is_exact)
        self._close(data, declared)
        self._expect(_MEMBERS)
        return length

    def _close(self, data: MemberData, declared: Declared) -> None:
        data.settle(declared)
        self._data = None
        self._directory.add(data.member, declared, is_broken=data.error is not None)

    def _read_central(self, fields: tuple, buffer: Buffer) -> int:
        length = zipread_directory.CENTRAL.size + sum(fields[10:13])
        if len(buffer) < length:
            return self._wait(length)
        self._directory.cross_off(zipread_directory.read_central(fields, bytes(buffer[:length])))
        self._expect(_DIRECTORY)
        return length

    def _read_end64(self, fields: tuple, buffer: Buffer) -> int:
        self._end64, self._end64_offset = zipread_directory.read_end64(fields), self._offset
        self._expect(_END64)
        return zipread_directory.END64.size

    def _read_locator64(self, fields: tuple, buffer: Buffer) -> int:
        zipread_directory.check_locator64(fields, offset=self._end64_offset)
        self._expect(_LOCATOR64)
        return zipread_directory.LOCATOR64.size

    def _read_end(self, fields: tuple, buffer: Buffer) -> int:
        length = zipread_directory.END.size + fields[7]
        if len(buffer) < length:
            return self._wait(length)
        end = self._end64_offset if self._end64 else self._offset
        seen = EndRecord(self._directory.listed, end - self._start, self._start)
        said = zipread_directory.read_end(fields, bytes(buffer[zipread_directory.END.size : length]), self._end64)
        self._directory.check_end(said, seen)
        self._summary = self._directory.summary(self._offset + length)
        self._expect(_OVER, need=1)
        return length


_FIRST_LOCAL = {zipread.LOCAL_SIGN: (zipread.LOCAL, Unzip._read_local)}
_CENTRAL = {zipread.CENTRAL_SIGN: (zipread_directory.CENTRAL, Unzip._read_central)}
_ENDS = {
    zipread_directory.END64_SIGN: (zipread_directory.END64, Unzip._read_end64),
    zipread_directory.END_SIGN: (zipread_directory.END, Unzip._read_end),
}
_BEGIN = _Stage(_FIRST_LOCAL | _ENDS, "it is no zip: it begins with other bytes")
_MEMBERS = _Stage(_FIRST_LOCAL | _CENTRAL, "after the data of a member come other bytes than a record")
_DIRECTORY = _Stage(_CENTRAL | _ENDS, "its directory is damaged")
_END64 = _Stage(
    {zipread_directory.LOCATOR64_SIGN: (zipread_directory.LOCATOR64, Unzip._read_locator64)},
    "its ZIP64 locator is missing",
)
_LOCATOR64 = _Stage({zipread_directory.END_SIGN: (zipread_directory.END, Unzip._read_end)}, "its end record is missing")
_OVER = _Stage({}, "there are bytes after its end")
