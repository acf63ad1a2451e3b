"""Archives streamed as they are made: STORED or deflated zip, tar, tar.gz (FIL 2.1)."""

from __future__ import annotations

import struct
import tarfile
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from xferengine.emulator import tables

_CHUNK_BYTES = 1 << 18
_FLUSH_BYTES = 1 << 16
_MAX_32 = 0xFFFFFFFF
_UTF8 = 0x800
_DESCRIPTOR = 0x08


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive: its path in there, and where it lies."""

    name: str
    path: Path


async def archive_chunks(members: Sequence[Member], media: str, *, deflate: bool) -> AsyncIterator[bytes]:
    """Yield an archive in chunks of some 64 kB and more; disk work is done in a thread, chunk by chunk."""
    pieces = zip_pieces(members, deflate=deflate) if media == tables.ZIP else tar_pieces(members, media)
    step = _gathering(pieces)
    while chunk := await anyio.to_thread.run_sync(step):
        yield chunk


def _gathering(pieces: Iterator[bytes]) -> Callable[[], bytes]:
    def step() -> bytes:
        parts: list[bytes] = []
        size = 0
        for piece in pieces:
            parts.append(piece)
            size += len(piece)
            if size >= _FLUSH_BYTES:
                break
        return b"".join(parts)

    return step


def zip_pieces(members: Sequence[Member], *, deflate: bool) -> Iterator[bytes]:
    """Yield a zip. STORED members carry size and CRC in the local header, deflated ones a descriptor (FIL 2.1)."""
    directory: list[bytes] = []
    offset = 0
    for member in members:
        start = offset
        packed = _deflated(member) if deflate else _stored(member)
        for piece in packed:
            if isinstance(piece, _Record):
                directory.append(piece.central(start))
                break
            offset += len(piece)
            yield piece
    size = sum(map(len, directory))
    yield from directory
    yield _end(len(directory), size, offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """What the central directory says about a member."""

    name: bytes
    flags: int
    method: int
    stamp: int
    crc: int
    packed: int
    size: int

    def local(self) -> bytes:
        """Return the local header; sizes of 4 GiB and more go into the extra field."""
        extra = b""
        packed, size = self.packed, self.size
        if max(packed, size) >= _MAX_32:
            extra = struct.pack("<HHQQ", 1, 16, size, packed)
            packed = size = _MAX_32
        version = 45 if extra else 20
        head = (0x04034B50, version, self.flags, self.method, self.stamp, self.crc, packed, size)
        return struct.pack("<IHHHIIIIHH", *head, len(self.name), len(extra)) + self.name + extra

    def central(self, offset: int) -> bytes:
        """Return the entry of the central directory."""
        values = [self.size, self.packed, offset]
        big = [value for value in values if value >= _MAX_32]
        extra = struct.pack(f"<HH{len(big)}Q", 1, 8 * len(big), *big) if big else b""
        size, packed, where = (min(value, _MAX_32) for value in values)
        version = 45 if extra else 20
        head = (0x02014B50, version, version, self.flags, self.method, self.stamp, self.crc, packed, size)
        tail = (len(self.name), len(extra), 0, 0, 0, 0, where)
        return struct.pack("<IHHHHIIIIHHHHHII", *head, *tail) + self.name + extra


def _stored(member: Member) -> Iterator[bytes | _Record]:
    """Read the file twice: for its CRC, then for its bytes (FIL 2.1)."""
    crc = size = 0
    for chunk in _chunks(member.path):
        crc = zlib.crc32(chunk, crc)
        size += len(chunk)
    record = _Record(
        name=member.name.encode(), flags=_UTF8, method=0, stamp=_dos(member.path), crc=crc, packed=size, size=size
    )
    yield record.local()
    yield from _chunks(member.path)
    yield record


def _deflated(member: Member) -> Iterator[bytes | _Record]:
    """Compress while sending; sizes follow in a descriptor."""
    name, stamp = member.name.encode(), _dos(member.path)
    flags = _UTF8 | _DESCRIPTOR
    yield _Record(name=name, flags=flags, method=8, stamp=stamp, crc=0, packed=0, size=0).local()
    packer = zlib.compressobj(-1, zlib.DEFLATED, -15)
    crc = size = packed = 0
    for chunk in _chunks(member.path):
        crc = zlib.crc32(chunk, crc)
        size += len(chunk)
        piece = packer.compress(chunk)
        packed += len(piece)
        if piece:
            yield piece
    piece = packer.flush()
    packed += len(piece)
    yield piece
    layout = "<IIQQ" if max(size, packed) >= _MAX_32 else "<IIII"
    yield struct.pack(layout, 0x08074B50, crc, packed, size)
    yield _Record(name=name, flags=flags, method=8, stamp=stamp, crc=crc, packed=packed, size=size)


def _end(count: int, size: int, offset: int) -> bytes:
    tail = b""
    if count > 0xFFFF or max(size, offset) >= _MAX_32:
        tail = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, size, offset)
        tail += struct.pack("<IIQI", 0x07064B50, 0, offset + size, 1)
    short = min(count, 0xFFFF)
    end = (0x06054B50, 0, 0, short, short, min(size, _MAX_32), min(offset, _MAX_32), 0)
    return tail + struct.pack("<IHHHHIIH", *end)


def tar_pieces(members: Sequence[Member], media: str) -> Iterator[bytes]:
    """Yield a tar with POSIX long names, gzipped for `tar.gz`; the odd mode 060 is XNAT's (FIL 2.1)."""
    if media == tables.TAR:
        yield from _tar(members)
        return
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    for piece in _tar(members):
        packed = packer.compress(piece)
        if packed:
            yield packed
    yield packer.flush()


def _tar(members: Sequence[Member]) -> Iterator[bytes]:
    for member in members:
        info = tarfile.TarInfo(member.name)
        status = member.path.stat()
        info.size, info.mtime, info.mode = status.st_size, int(status.st_mtime), 0o060
        yield info.tobuf(tarfile.PAX_FORMAT)
        yield from _chunks(member.path)
        if info.size % tarfile.BLOCKSIZE:
            yield bytes(tarfile.BLOCKSIZE - info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _dos(path: Path) -> int:
    """Return the modification time as DOS date and time (2 s)."""
    moment = time.localtime(path.stat().st_mtime)
    year = min(max(moment.tm_year, 1980), 2107) - 1980
    date = year << 9 | moment.tm_mon << 5 | moment.tm_mday
    return date << 16 | moment.tm_hour << 11 | moment.tm_min << 5 | moment.tm_sec // 2
