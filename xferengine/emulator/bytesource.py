"""A pull reader over chunks that arrive, with bounded memory: at most one chunk plus what was asked for."""

import zlib
from collections.abc import AsyncIterator

try:
    from isal import isal_zlib as fast_zlib
except ImportError:  # the wheel exists for common machines only
    import zlib as fast_zlib

crc32 = fast_zlib.crc32
compressobj = fast_zlib.compressobj
FAST_LEVEL: int = fast_zlib.Z_DEFAULT_COMPRESSION  # the library's own idea of a default
decompressobj = fast_zlib.decompressobj
InflateError: type[Exception] = fast_zlib.error  # type: ignore[assignment]  (isal's stub calls the class an instance)

__all__ = [
    "FAST_LEVEL",
    "ByteSource",
    "ContainerError",
    "InflateError",
    "compressobj",
    "crc32",
    "decompressobj",
    "gunzip",
]

_OUT_BYTES = 1 << 20


class ContainerError(Exception):
    """The container cannot be read further: java.io.IOException in XNAT."""


class ByteSource:
    """Reads exact or partial amounts from an async iterator of chunks; supports pushing bytes back."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")

    async def read_some(self, limit: int) -> memoryview:
        """Return 1 to `limit` bytes as they come; empty only at the end. The view stays valid."""
        while not self._chunk:
            try:
                self._chunk = memoryview(await anext(self._chunks))
            except StopAsyncIteration:
                return memoryview(b"")
        piece = self._chunk[:limit]
        self._chunk = self._chunk[limit:]
        return piece

    async def read_up_to(self, count: int) -> bytes:
        """Return `count` bytes, fewer only at the end."""
        if len(self._chunk) >= count:
            piece = bytes(self._chunk[:count])
            self._chunk = self._chunk[count:]
            return piece
        parts: list[memoryview] = []
        while count:
            piece_view = await self.read_some(count)
            if not piece_view:
                break
            parts.append(piece_view)
            count -= len(piece_view)
        return b"".join(parts)

    async def skip(self, count: int) -> int:
        """Pass over `count` bytes; return how many were there."""
        left = count
        while left:
            piece = await self.read_some(left)
            if not piece:
                break
            left -= len(piece)
        return count - left

    def unread(self, data: bytes | memoryview) -> None:
        """Push bytes back, to be read next."""
        if data:
            self._chunk = memoryview(b"".join((data, self._chunk)) if self._chunk else bytes(data))

    async def drain(self) -> None:
        """Read to the end and forget."""
        while await self.read_some(1 << 20):
            pass


async def gunzip(source: ByteSource) -> AsyncIterator[bytes]:
    """Yield the content of a gzip stream, of concatenated members too, as java.util.zip.GZIPInputStream does.

    Bytes after a member that are no gzip header are ignored, as the JDK does.

    Raises:
        ContainerError: Not gzip, cut, or a wrong trailer.
    """
    first = True
    while True:
        head = await source.read_up_to(2)
        if head != b"\x1f\x8b":
            if first:
                raise ContainerError("Not in GZIP format" if head else "unexpected end of stream")
            return
        source.unread(head)
        first = False
        inflater = zlib.decompressobj(31)
        while not inflater.eof:
            piece = inflater.unconsumed_tail or await source.read_some(_OUT_BYTES)
            if not piece:
                raise ContainerError("Unexpected end of ZLIB input stream")
            try:
                data = inflater.decompress(piece, _OUT_BYTES)
            except zlib.error as error:
                raise ContainerError(str(error)) from error
            if data:
                yield data
        source.unread(inflater.unused_data)
