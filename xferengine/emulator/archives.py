"""Archives streamed as they are made, nothing staged on disk: zip, tar, tar.gz (FIL 2.1)."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator, Generator, Iterator, Sequence

import anyio.to_thread

from xferengine.emulator import tables
from xferengine.emulator.archive_members import ArchiveFailed, Member, read_pieces
from xferengine.emulator.bytesource import FAST_LEVEL, compressobj
from xferengine.emulator.http import AnswerCut
from xferengine.emulator.zipwrite import zip_pieces

__all__ = ["Member", "archive_chunks"]

_FLUSH_BYTES = 1 << 20  # one thread hop and one write per that many bytes, whatever the size of the files


async def archive_chunks(
    members: Sequence[Member], media: str, *, deflate: bool, breaks: bool = False
) -> AsyncIterator[bytes]:
    """Yield an archive in chunks of about 1 MiB; disk work and packing run in a thread, many files per hop.

    An archive that cannot go on ends where it is, and with `breaks` the connection ends with it (FIL 2.1, FIL 2.2).
    """
    pieces = zip_pieces(members, deflate=deflate) if media == tables.ZIP else tar_pieces(members, media)
    gather = _Gather(pieces)
    try:
        while chunk := await anyio.to_thread.run_sync(gather.step):
            yield chunk
    finally:
        pieces.close()
    if gather.has_failed and breaks:
        raise AnswerCut


class _Gather:
    """Joins pieces to chunks."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.has_failed = False

    def step(self) -> bytes:
        """Return the next chunk, empty at the end."""
        parts: list[bytes] = []
        size = 0
        try:
            for piece in self._pieces:
                parts.append(piece)
                size += len(piece)
                if size >= _FLUSH_BYTES:
                    break
        except ArchiveFailed:
            self.has_failed = True
        return b"".join(parts) if len(parts) != 1 else parts[0]


def tar_pieces(members: Sequence[Member], media: str) -> Generator[bytes]:
    """Yield a tar with POSIX long names, gzipped for `tar.gz`; the odd mode 060 is XNAT's (FIL 2.1).

    Raises:
        ArchiveFailed: At a file that cannot be read or changes its size.
    """
    if media == tables.TAR:
        yield from _tar(members)
        return
    packer = compressobj(FAST_LEVEL, 8, 31)
    for piece in _tar(members):
        yield packer.compress(piece)
    yield packer.flush()


def _tar(members: Sequence[Member]) -> Iterator[bytes]:
    for member in members:
        try:
            yield from _tar_member(member)
        except OSError as error:
            raise ArchiveFailed(f"unreadable: {error}") from error
    yield bytes(2 * tarfile.BLOCKSIZE)


def _tar_member(member: Member) -> Iterator[bytes]:
    info = tarfile.TarInfo(member.name)
    info.mode = 0o060
    if member.data is not None:
        if member.is_link:
            info.type, info.linkname = tarfile.SYMTYPE, member.data.decode()
            yield info.tobuf(tarfile.PAX_FORMAT)
            return
        data = member.data + member.extra
        info.size = len(data)
        yield from (info.tobuf(tarfile.PAX_FORMAT), data, _padding(info.size))
        return
    status = member.path.stat()
    info.size, info.mtime = status.st_size + len(member.extra), int(status.st_mtime)
    yield info.tobuf(tarfile.PAX_FORMAT)
    left = status.st_size
    with member.path.open("rb", buffering=0) as file:
        for piece in read_pieces(file.fileno()):
            left -= len(piece)
            yield piece
    if left:
        raise ArchiveFailed(f"size changed: {member.name}")
    yield member.extra + _padding(info.size)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
