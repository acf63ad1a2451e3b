"""Zips as the JDK's ZipOutputStream writes them, STORED or deflated, in pieces (FIL 2.1, FIL 2.2).

STORED members carry size and CRC in their local header, deflated ones a data descriptor; names are UTF-8 with the
flag, ZIP64 comes by itself, a duplicate name ends the zip where it is.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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


def zip_pieces(members: Sequence[Member], *, deflate: bool, unique: bool = True) -> Iterator[bytes]:
    """Yield a zip.

    Args:
        members: In this order; the files are read now.
        deflate: Compress at the default level, else store.
        unique: Refuse duplicate names, as the JDK does.

    Raises:
        ArchiveFailed: At a duplicate name, or at a file that cannot be read or changes its size.
    """
    directory: list[bytes] = []
    known: set[str] = set()
    offset = 0
    for member in members:
        if unique and member.name in known and member.data is None:
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
    if member.data is not None:
        data = member.data + member.extra
        record = _record(member, flags=_UTF8, method=0, stamp=_dos(time.time()))
        record = replace(record, crc=_crc(member, crc32(data)), packed=len(data), size=len(data))
        yield from (record.local(), data, record)
        return
    file = os.open(member.path, os.O_RDONLY)
    try:
        status = os.fstat(file)
        record = _record(member, flags=_UTF8, method=0, stamp=_dos(status.st_mtime))
        if status.st_size < READ_BYTES:
            # Small files are read once: the bytes are the same, and this is what most archives consist of.
            data = os.read(file, READ_BYTES) + member.extra
            record = replace(record, crc=_crc(member, crc32(data)), packed=len(data), size=len(data))
            yield from (record.local(), data)
        else:
            yield from _stored_twice(member, file, record)
            record = _measured(member, file, record)
        yield record
    finally:
        os.close(file)


def _stored_twice(member: Member, file: int, record: _Record) -> Iterator[bytes]:
    """Send a big file: read for its CRC before, then for its bytes, which must be as many (FIL 2.1)."""
    record = _measured(member, file, record)
    yield record.local()
    left = record.size - len(member.extra)
    os.lseek(file, 0, os.SEEK_SET)
    for piece in read_pieces(file):
        left -= len(piece)
        yield piece
    if left:
        raise ArchiveFailed(f"invalid entry size: {member.name}")
    yield member.extra


class CrcMemory:
    """CRCs of big files by identity, time and size, so that a second download need not read them twice."""
