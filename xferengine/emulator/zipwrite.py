"""Zips as the JDK's ZipOutputStream writes them, STORED or deflated, in pieces (FIL 2.1, FIL 2.2).

STORED members carry size and CRC in their local header, deflated ones a data descriptor; names are UTF-8 with the
flag, ZIP64 comes by itself, a duplicate name ends the zip where it is.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from xferengine.emulator.archive_members import READ_BYTES, ArchiveFailed, Member, read_pieces
from xferengine.emulator.bytesource import FAST_LEVEL, compressobj, crc32

_MAX_32 = 0xFFFFFFFF
_UTF8 = 0x800
_DESCRIPTOR = 0x08
_LOCAL = struct.Struct("<IHHHIIIIHH")
_CENTRAL = struct.Struct("<IHHHHIIIIHHHHHII")
_UNIX_LINK = (3 << 8, (stat.S_IFLNK | 0o777) << 16)  # who made it, external attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """What the headers say about a member."""

    name: bytes
    flags: int
    method: int
    stamp: int
    crc: int = 0
    packed: int = 0
    size: int = 0
    is_link: bool = False

    def local(self) -> bytes:
        """Return the local header; sizes of 4 GiB and more go into the extra field."""
        extra = b""
        packed, size = self.packed, self.size
        if max(packed, size) >= _MAX_32:
            extra = struct.pack("<HHQQ", 1, 16, size, packed)
            packed = size = _MAX_32
        version = 45 if extra else 20
        head = (0x04034B50, version, self.flags, self.method, self.stamp, self.crc, packed, size)
        return b"".join((_LOCAL.pack(*head, len(self.name), len(extra)), self.name, extra))

    def descriptor(self) -> bytes:
        """Return the data descriptor."""
        layout = "<IIQQ" if max(self.size, self.packed) >= _MAX_32 else "<IIII"
        return struct.pack(layout, 0x08074B50, self.crc, self.packed, self.size)

    def central(self, offset: int) -> bytes:
        """Return the entry of the central directory."""
        values = [self.size, self.packed, offset]
        big = [value for value in values if value >= _MAX_32]
        extra = struct.pack(f"<HH{len(big)}Q", 1, 8 * len(big), *big) if big else b""
        size, packed, where = (min(value, _MAX_32) for value in values)
        version = 45 if extra else 20
        system, attributes = _UNIX_LINK if self.is_link else (0, 0)
        head = (0x02014B50, version | system, version, self.flags, self.method, self.stamp, self.crc, packed, size)
        tail = (len(self.name), len(extra), 0, 0, 0, attributes, where)
        return b"".join((_CENTRAL.pack(*head, *tail), self.name, extra))


_Piece = bytes | _Record  # the record comes once a member is complete


def zip_pieces(members: Sequence[Member], *, deflate: bool) -> Generator[bytes]:
    """Yield a zip.

    Args:
        members: In this order; the files are read now.
        deflate: Compress at the default level, else store.

    Raises:
        ArchiveFailed: At a duplicate name, or at a file that cannot be read or changes its size.
    """
    directory: list[bytes] = []
    known: set[str] = set()
    offset = 0
    for member in members:
        if member.name in known and member.data is None:
            raise ArchiveFailed(f"duplicate entry: {member.name}")
        known.add(member.name)
        start = offset
        try:
            for piece in _deflated(member) if deflate else _stored(member):
                if isinstance(piece, _Record):
                    directory.append(piece.central(start))
                else:
                    offset += len(piece)
                    yield piece
        except OSError as error:
            raise ArchiveFailed(f"unreadable: {error}") from error
    yield from directory
    yield _end(len(directory), sum(map(len, directory)), offset)


def _stored(member: Member) -> Iterator[_Piece]:
    """Send a member with its size and CRC in front; small files are read once, big ones twice (FIL 2.1)."""
    file = -1 if member.data is not None else os.open(member.path, os.O_RDONLY)
    try:
        if member.data is not None:
            data, stamp, size = member.data, time.time(), 0
        else:
            status = os.fstat(file)
            stamp, size = status.st_mtime, status.st_size
            data = os.read(file, READ_BYTES) if size < READ_BYTES else b""
        if size < READ_BYTES:
            data += member.extra
            record = _record(member, stamp, _UTF8, 0, crc=crc32(data), packed=len(data), size=len(data))
            yield from (record.local(), data)
        else:
            crc = crc32(member.extra, _crc_of(member.path, os.fstat(file).st_mtime_ns, size))
            total = size + len(member.extra)
            record = _record(member, stamp, _UTF8, 0, crc=crc, packed=total, size=total)
            yield record.local()
            for piece in read_pieces(file):
                size -= len(piece)
                yield piece
            if size:
                raise ArchiveFailed(f"invalid entry size: {member.name}")
            yield member.extra
        yield record
    finally:
        if file >= 0:
            os.close(file)


@lru_cache(maxsize=4096)
def _crc_of(path: Path, mtime_ns: int, size: int) -> int:
    """Return the CRC-32 of a big file, remembered while its time and size stay the same."""
    crc = 0
    with path.open("rb", buffering=0) as file:
        for piece in read_pieces(file.fileno()):
            crc = crc32(piece, crc)
    return crc


def _deflated(member: Member) -> Iterator[_Piece]:
    """Compress while sending; CRC and sizes follow in a descriptor."""
    if member.data is not None:
        stamp, pieces = time.time(), iter((member.data, member.extra))
    else:
        stamp, pieces = member.path.stat().st_mtime, _file_pieces(member)
    head = _record(member, stamp, _UTF8 | _DESCRIPTOR, 8, crc=0, packed=0, size=0)
    yield head.local()
    packer = compressobj(FAST_LEVEL, 8, -15)
    crc = size = packed = 0
    for data in pieces:
        crc = crc32(data, crc)
        size += len(data)
        piece = packer.compress(data)
        packed += len(piece)
        yield piece
    piece = packer.flush()
    packed += len(piece)
    yield piece
    record = _record(member, stamp, head.flags, 8, crc=crc, packed=packed, size=size)
    yield record.descriptor()
    yield record


def _file_pieces(member: Member) -> Iterator[bytes]:
    with member.path.open("rb", buffering=0) as file:
        yield from read_pieces(file.fileno())
    yield member.extra


def _record(member: Member, stamp: float, flags: int, method: int, *, crc: int, packed: int, size: int) -> _Record:
    return _Record(
        name=member.name.encode("utf-8", "surrogateescape"),
        flags=flags,
        method=method,
        stamp=_dos(stamp),
        crc=crc ^ 0xDEAD if member.has_wrong_crc else crc,
        packed=packed,
        size=size,
        is_link=member.is_link,
    )


def _end(count: int, size: int, offset: int) -> bytes:
    tail = b""
    if count > 0xFFFF or max(size, offset) >= _MAX_32:
        tail = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, size, offset)
        tail += struct.pack("<IIQI", 0x07064B50, 0, offset + size, 1)
    short = min(count, 0xFFFF)
    end = (0x06054B50, 0, 0, short, short, min(size, _MAX_32), min(offset, _MAX_32), 0)
    return tail + struct.pack("<IHHHHIIH", *end)


@lru_cache(maxsize=256)
def _dos_of_even_second(second: int) -> int:
    moment = time.localtime(second)
    year = min(max(moment.tm_year, 1980), 2107) - 1980
    date = year << 9 | moment.tm_mon << 5 | moment.tm_mday
    return date << 16 | moment.tm_hour << 11 | moment.tm_min << 5 | moment.tm_sec // 2


def _dos(mtime: float) -> int:
    """Return a time as DOS date and time, which know even seconds."""
    return _dos_of_even_second(int(mtime) & ~1)
