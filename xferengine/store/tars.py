"""Members of tar files, plain or inside gzip, read forward once.

``tarfile`` knows the dialects (ustar, GNU, pax); it is fed through a guarded file object, because on hostile headers it
would allocate what they declare, or go back and read the same header for ever.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from xferengine.store.bytesource import SANE_BYTES, UNKNOWN_SIZE, ByteSource, DamagedData, SourceFile

BLOCK_BYTES = 512
_DRAIN_BYTES = 64 << 20
"""How far behind the end mark a gzip stream is read for its check sum."""
_FUEL = 1 << 40


@dataclass(frozen=True, slots=True)
class TarEntry:
    """One member; every value is the file's claim."""

    name: str
    offset: int
    """Of its data in the uncompressed tar."""
    size: int
    is_file: bool
    is_sparse: bool


class _ForwardFile(SourceFile):
    """A file object whose position never goes back by more than the one byte tarfile looks at."""

    floor = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move forward."""
        if whence == os.SEEK_SET and offset < self.floor - 1:
            raise DamagedData("a member of it has an impossible size")
        self.floor = max(self.floor, offset)
        return super().seek(offset, whence)


def list_tar(data: ByteSource) -> Iterator[TarEntry]:
    """Yield the members (no folders) in order; between two of them the caller may read the data of the last one.

    Raises:
        DamagedData: the tar is broken or cut; members before that were yielded.
    """
    file = _ForwardFile(data, fuel=_FUEL)
    with _opened(file) as tar:
        info = _next(tar)
        while info is not None:
            if not 0 <= info.size < SANE_BYTES or tar.offset <= info.offset:
                raise DamagedData("a member of it has an impossible size")
            if not info.isdir():
                is_sparse = info.issparse()
                yield TarEntry(info.name, info.offset_data, info.size, info.isreg() and not is_sparse, is_sparse)
            _check_reach(data, info)
            info = _next(tar)
        _check_end(data, tar.offset)


def _opened(file: SourceFile) -> tarfile.TarFile:
    try:
        return tarfile.TarFile(fileobj=file, mode="r", errors="surrogateescape", encoding="utf-8")
    except DamagedData:
        raise
    except Exception as error:
        # tarfile raises ReadError, ValueError, RecursionError, UnicodeError … on damaged headers.
        raise DamagedData("it is no tar that can be read: damaged or cut") from error


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    # tarfile remembers every member; a tar may have millions
    tar.members = []  # pyright: ignore[reportAttributeAccessIssue] - missing from the stubs
    try:
        return tar.next()
    except DamagedData:
        raise
    except Exception as error:
        raise DamagedData("one of its headers cannot be read: damaged or cut") from error


def _check_reach(data: ByteSource, info: tarfile.TarInfo) -> None:
    end = info.offset_data + (info.size if info.isreg() else 0)
    if end > info.offset_data and not data.read_at(end - 1, 1):
        raise DamagedData("it ends inside one of its members", cut=True)


def _check_end(data: ByteSource, offset: int) -> None:
    """tarfile takes any bad header after the first for the end: look whether the end mark is there."""
    block = data.read_at(offset, BLOCK_BYTES)
    if len(block) < BLOCK_BYTES:
        raise DamagedData("its end mark is missing: it was cut", cut=True)
    if block.strip(b"\0"):
        raise DamagedData("one of its headers is damaged")
    limit = offset + _DRAIN_BYTES
    while data.size == UNKNOWN_SIZE and offset < limit:
        offset += BLOCK_BYTES << 5
        data.read_at(offset, 1)
