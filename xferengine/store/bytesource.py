"""Byte sources: random or forward reads that never trust a declared length."""

from __future__ import annotations

import io
import os
import threading
from typing import Protocol

from xferengine.errors import BadInput

UNKNOWN_SIZE = 1 << 62
"""Size of a source whose end has not been met yet."""

SANE_BYTES = 1 << 60
"""A container that claims a larger member is damaged; also keeps sizes within 63 bits."""

_READ_LIMIT = 1 << 20
_HAS_PREAD = hasattr(os, "pread")
_seek_lock = threading.Lock()


class DamagedData(BadInput):
    """Bytes of a container or of a compressed stream that cannot be read; ``cut`` when they end too early."""

    def __init__(self, message: str, *, cut: bool = False) -> None:
        super().__init__(message)
        self.cut = cut


class ByteSource(Protocol):
    """What the element walk and the containers read from.

    ``size`` is the number of bytes, or ``UNKNOWN_SIZE`` until a stream has met its end.
    """

    size: int

    def read_at(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``; fewer only at the end.

        Forward-only sources accept an offset that is not more than a little before the last one.

        Raises:
            DamagedData: a compressed stream is broken or cut.
        """
        ...


def read_fd(fd: int, offset: int, count: int) -> bytes:
    """Return up to ``count`` bytes of an open file from ``offset``; fewer only at the end. Thread-safe."""
    if _HAS_PREAD:
        data = os.pread(fd, count, offset)
    else:
        with _seek_lock:
            os.lseek(fd, offset, os.SEEK_SET)
            data = os.read(fd, count)
    if len(data) == count or not data:
        return data
    return data + read_fd(fd, offset + len(data), count - len(data))


class FileBytes:
    """Random reads in an open file of known size."""

    __slots__ = ("_fd", "size")

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self.size = size

    def read_at(self, offset: int, count: int) -> bytes:
        """See ``ByteSource``."""
        count = min(count, self.size - offset)
        return read_fd(self._fd, offset, count) if count > 0 else b""


class MemoryBytes:
    """Reads in bytes held in memory."""

    __slots__ = ("_data", "size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read_at(self, offset: int, count: int) -> bytes:
        """See ``ByteSource``."""
        return self._data[offset : offset + count]


class PartBytes:
    """``size`` bytes of another source, starting at ``start``."""

    __slots__ = ("_inner", "_start", "size")

    def __init__(self, inner: ByteSource, start: int, size: int) -> None:
        self._inner = inner
        self._start = start
        self.size = size

    def read_at(self, offset: int, count: int) -> bytes:
        """See ``ByteSource``."""
        return self._inner.read_at(self._start + offset, min(count, max(0, self.size - offset)))


class SourceFile(io.RawIOBase):
    """A binary file object over a byte source, for libraries that parse files.

    Reads are clamped to what is there, so a declared length is never allocated; ``fuel`` limits the number of reads, so
    a hostile file cannot keep a parser busy or make it build millions of objects.

    Args:
        source: where the bytes come from.
        fuel: how many reads are allowed.
        read_limit: largest single read a parser may ask for (``None``: whatever is left of the source).
    """

    def __init__(self, source: ByteSource, *, fuel: int, read_limit: int | None = _READ_LIMIT) -> None:
        super().__init__()
        self._source = source
        self._fuel = fuel
        self._read_limit = read_limit
        self._pos = 0
        self.short_tail = b""
        """What the last read got when it got less than it asked for."""

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes, within what the source allows."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._pos

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move; a position before the start is an error, one after the end is not."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._pos, os.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise DamagedData("a position before the start is named in it")
        self._pos = base + offset
        return self._pos

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes; a negative size means the rest.

        Raises:
            DamagedData: too many reads, or one read larger than the limit.
        """
        self._fuel -= 1
        if self._fuel < 0:
            raise DamagedData("it has too many parts to be read")
        left = max(0, self._source.size - self._pos)
        count = left if size is None or size < 0 else size
        if self._read_limit is not None and min(count, left) > self._read_limit:
            raise DamagedData(f"a part of it claims {count} bytes")
        data = self._source.read_at(self._pos, min(count, left))
        self.short_tail = data if len(data) < count else b""
        self._pos += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill ``buffer``; returns the number of bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
