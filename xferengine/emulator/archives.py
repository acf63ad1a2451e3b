"""Archives streamed as they are made, nothing staged on disk: zip, tar, tar.gz (FIL 2.1)."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from xferengine.emulator import tables
from xferengine.emulator.http import AnswerCut

_READ_BYTES = 1 << 20
_FLUSH_BYTES = 1 << 20  # one thread hop and one write per that many bytes, whatever the size of the files


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive: its path in there, and where it lies.

    The other fields serve faults: `data` is sent in the place of the file's bytes, `extra` behind them.
    """

    name: str
    path: Path
    data: bytes | None = None
    extra: bytes = b""
    has_wrong_crc: bool = False
    is_link: bool = False


class ArchiveError(Exception):
    """The archive cannot go on: a duplicate name, a file that went away. What was made so far has been sent."""


async def archive_chunks(
    members: Sequence[Member], media: str, *, deflate: bool, method: str = "", breaks: bool = False
) -> AsyncIterator[bytes]:
    """Yield an archive in chunks of 1 MiB and more; disk work and packing run in a thread, many files per hop.

    An archive that cannot go on ends where it is; `breaks` says that the connection breaks as well (FIL 2.1, 2.2).
    `method` is the `compression=` of a zip; one that the JDK does not know fails at the first member.
    """
    # zipwrite needs Member: the two meet here
    from xferengine.emulator.zipwrite import zip_pieces

    is_zip = media == tables.ZIP
    if is_zip and method not in ("", "0", "8"):
        return
    pieces = zip_pieces(members, deflate=deflate) if is_zip else tar_pieces(members, media)
    gather = Gatherer(pieces)
    while chunk := await anyio.to_thread.run_sync(gather.step):
        yield chunk
    if gather.failed and breaks:
        raise AnswerCut
