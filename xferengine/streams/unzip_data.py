"""Data of one member on their way to its sink: stored or deflated, counted and checked, never held whole."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol, cast

from xferengine.errors import ArchiveBroken, DigestMismatch, SizeMismatch, XferError
from xferengine.kit.checksums import crc32
from xferengine.streams.zipread import Declared, Member

try:
    from isal import isal_zlib
except ImportError:  # no wheel for this platform: twice the time
    _new_inflater = zlib.decompressobj
    _InflateError = zlib.error
else:
    _new_inflater = isal_zlib.decompressobj
    _InflateError = cast("type[Exception]", isal_zlib.error)

_RAW = -15
_IN_BYTES = 64 << 10
_OUT_BYTES = 256 << 10


class MemberSink(Protocol):
    """Takes one member; after ``done`` or ``broken`` nothing more is called.

    What a sink raises passes through ``feed`` and ends the reading of the archive: right for a full disk. A sink that
    only gives its own member up takes the rest of it in silence.
    """

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the file; a view is only good until this returns. Not called for an empty file."""
        ...

    def done(self, *, size: int, crc: int) -> None:
        """Size and CRC are as declared; the directory has still to confirm them (``Unzip.finish``)."""
        ...

    def broken(self, error: XferError) -> None:
        """CRC or size differ, or the archive ended inside: what was written must not be used."""
        ...


class MemberData:
    """Base of the two kinds: what became of a member so far.

    Args:
        member: what is read.
        sink: None to pass over it.
        most: bytes it may have at most; None for any number.
        pass_over: told how many bytes were inflated for nobody.
    """

    __slots__ = ("_most", "_pass_over", "_sink", "crc", "error", "is_over", "member", "packed_size", "size")

    def __init__(
        self, member: Member, sink: MemberSink | None, *, most: int | None, pass_over: Callable[[int], None]
    ) -> None:
        self.member = member
        self._sink = sink
        self._most = most if member.size is None else member.size
        self._pass_over = pass_over
        self.crc = self.size = self.packed_size = 0
        self.error: XferError | None = None
        self.is_over = False
        if most is not None and member.size is not None and member.size > most:
            self.fail(SizeMismatch(f"a member of {member.size} bytes is announced where {most} were listed"))

    def push(self, data: memoryview) -> int:
        """Take data of the archive and return how many bytes belonged to this member."""
        raise NotImplementedError

    @property
    def _is_unread(self) -> bool:
        """Nobody wants the bytes, and the end of the data is known without them."""
        return self._sink is None and not self.member.has_descriptor

    @property
    def actual(self) -> Declared:
        """What was read."""
        return Declared(self.crc, self.packed_size, self.size)

    def fail(self, error: XferError) -> None:
        """Tell the sink, once; the rest of the data is passed over."""
        self.error = self.error or error
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.broken(error)

    def settle(self, declared: Declared) -> None:
        """Compare what was read with what was declared and tell the sink."""
        if self.error is not None or self._is_unread:
            return
        if self.size != declared.size or self.packed_size != declared.packed_size:
            self.fail(SizeMismatch(f"a member has {self.size} bytes, the archive declares {declared.size}"))
        elif self.crc != declared.crc:
            self.fail(DigestMismatch("a member fails its CRC-32"))
        else:
            sink, self._sink = self._sink, None
            if sink is not None:
                sink.done(size=self.size, crc=self.crc)


class StoredData(MemberData):
    """Data as they are; their length is in the local header."""

    __slots__ = ("_left",)

    def __init__(
        self, member: Member, sink: MemberSink | None, *, most: int | None, pass_over: Callable[[int], None]
    ) -> None:
        super().__init__(member, sink, most=most, pass_over=pass_over)
        self._left = member.packed_size or 0
        self.is_over = not self._left

    def push(self, data: memoryview) -> int:
        """See ``MemberData``."""
        part = data[: self._left]
        count = len(part)
        self._left -= count
        self.is_over = not self._left
        self.size += count
        self.packed_size += count
        if not self._is_unread:
            self.crc = crc32(part, self.crc)
        if self._sink is not None:
            self._sink.write(part)
        return count


class DeflatedData(MemberData):
    """A deflate stream: its length is in the local header, or it is found by inflating."""

    __slots__ = ("_is_ended", "_machine")

    def __init__(
        self, member: Member, sink: MemberSink | None, *, most: int | None, pass_over: Callable[[int], None]
    ) -> None:
        super().__init__(member, sink, most=most, pass_over=pass_over)
        self._machine = _new_inflater(_RAW)
        self._is_ended = False
        self.is_over = member.packed_size == 0

    def push(self, data: memoryview) -> int:
        """See ``MemberData``.

        Raises:
            ArchiveBroken: the stream is damaged, and only it could have told where it ends.
        """
        known = self.member.packed_size
        room = len(data) if known is None else min(len(data), known - self.packed_size)
        at = 0
        while not self._is_ended and not self._is_unread:
            at += self._inflate(data[at : min(at + _IN_BYTES, room)])
            if at == room:
                break
        if known is not None and at < room:
            if self._is_ended:
                self.fail(SizeMismatch("the compressed data of a member end before their declared size"))
            at = room
        self.packed_size += at
        self.is_over = self._is_ended if known is None else self.packed_size == known
        return at

    def settle(self, declared: Declared) -> None:
        """See ``MemberData``."""
        if not self._is_ended and not self._is_unread:
            self.fail(SizeMismatch("the compressed data of a member go on after their declared size"))
        super().settle(declared)

    def _inflate(self, part: memoryview) -> int:
        """Return how many bytes belonged to the stream; a part is worked off before the next is looked at."""
        machine = self._machine
        rest: bytes | memoryview = part
        while True:
            try:
                out = machine.decompress(rest, _OUT_BYTES)
            except _InflateError as error:
                broken = ArchiveBroken("the compressed data of a member are damaged")
                if self.member.packed_size is None:
                    raise broken from error
                self.fail(broken)
                return len(part)
            if out:
                self._give(out)
            if machine.eof:
                self._is_ended = True
                return len(part) - len(machine.unused_data)
            rest = machine.unconsumed_tail
            if not rest and len(out) < _OUT_BYTES:
                return len(part)

    def _give(self, out: bytes) -> None:
        self.size += len(out)
        self.crc = crc32(out, self.crc)
        if self._most is not None and self.size > self._most:
            self.fail(SizeMismatch(f"a member holds more than the {self._most} bytes it should have"))
        if self._sink is None:
            self._pass_over(len(out))
        else:
            self._sink.write(out)
