"""Deflate and gzip streams as forward byte sources, with restart points.

The standard ``zlib`` is used, not a faster one: only its decompressor can be copied, and a copy is what makes a
restart point in the middle of a stream.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from xferengine.store.bytesource import UNKNOWN_SIZE, ByteSource, DamagedData

RAW = -15
"""``wbits`` of a bare deflate stream (zip members, deflated data sets)."""
GZIP = 31
"""``wbits`` of a gzip stream; several in a row are read as one (RFC 1952, 2.2)."""

_IN_BYTES = 64 << 10
_OUT_BYTES = 64 << 10
_OUT_BYTES_LEAST = 16 << 10
_KEEP_BYTES = 4 << 10


@dataclass(slots=True)
class Restart:
    """A point from which a stream can be read on; the decompressor must be copied before use."""

    offset: int
    """In the uncompressed stream."""
    packed_offset: int
    """Of the next compressed byte to feed."""
    machine: Any = field(repr=False)
    """A ``zlib`` decompressor, about 50 kB."""
    was_full: bool = False
    """The machine may hold output that no further input is needed for."""


class InflateStream:
    """Uncompressed bytes of a compressed stream, read forward in bounded memory.

    Args:
        packed: source of the compressed bytes.
        start: first compressed byte; ignored when ``restart`` is given.
        end: end of the compressed bytes (half open).
        wbits: ``RAW`` or ``GZIP``.
        restart: where to begin, instead of the start.
        noted: called with this stream after each step of output (for taking restart points).
    """

    def __init__(
        self,
        packed: ByteSource,
        start: int,
        *,
        end: int,
        wbits: int,
        restart: Restart | None = None,
        noted: Callable[[InflateStream], None] | None = None,
    ) -> None:
        self._packed = packed
        self._end = end
        self._wbits = wbits
        self._machine = restart.machine.copy() if restart else zlib.decompressobj(wbits)
        self._packed_pos = restart.packed_offset if restart else start
        self._start = restart.offset if restart else 0
        self._full = restart.was_full if restart else False
        self._pending = b""
        self._buffer = bytearray()
        self._noted = noted
        self.last_bytes = 0
        self.size = UNKNOWN_SIZE

    @property
    def produced(self) -> int:
        """Offset after the last byte that was uncompressed."""
        return self._start + len(self._buffer)

    @property
    def packed_end(self) -> int:
        """Offset after the last compressed byte that was used; meaningful once the end was met."""
        return self._packed_pos - len(self._pending) - len(self._machine.unused_data)

    @property
    def oldest(self) -> int:
        """First offset that can still be read."""
        return self._start

    def restart_point(self) -> Restart:
        """Return a point at ``produced``; it stays usable when this stream goes on."""
        packed_offset = self._packed_pos - len(self._pending)
        return Restart(self.produced, packed_offset, self._machine.copy(), self._full)

    def read_at(self, offset: int, count: int) -> bytes:
        """See ``ByteSource``.

        Raises:
            DamagedData: the stream is broken, or ends before its end mark.
        """
        if offset < self._start:
            raise DamagedData("it would have to be read backwards")
        while self.size == UNKNOWN_SIZE and self.produced < offset + count:
            self._forget_before(offset)
            out = self._step(max(_OUT_BYTES_LEAST, min(_OUT_BYTES, offset + count - self.produced)))
            if not out:
                self.size = self.produced
                break
            self._buffer += out
            self.last_bytes = len(out)
            if self._noted is not None:
                self._noted(self)
        at = offset - self._start
        return bytes(self._buffer[at : at + count])

    def _forget_before(self, offset: int) -> None:
        surplus = min(offset, self.produced) - _KEEP_BYTES - self._start
        if surplus > _OUT_BYTES:
            del self._buffer[:surplus]
            self._start += surplus

    def _step(self, out_bytes: int) -> bytes:
        """Return up to ``out_bytes`` more uncompressed bytes, none at the end of the stream."""
        while True:
            if self._machine.eof and not self._next_member():
                return b""
            if not self._pending and not self._full:
                self._pending = self._read_packed()
                if not self._pending:
                    raise DamagedData("its compressed data end too early", cut=True)
            try:
                out = self._machine.decompress(self._pending, out_bytes)
            except zlib.error as error:
                raise DamagedData(f"its compressed data are damaged after {self.produced} bytes") from error
            # At the end of a stream zlib gives the rest of the input twice; only unused_data is kept.
            self._pending = b"" if self._machine.eof else self._machine.unconsumed_tail
            self._full = len(out) == out_bytes
            if out:
                return out

    def _read_packed(self) -> bytes:
        data = self._packed.read_at(self._packed_pos, min(_IN_BYTES, self._end - self._packed_pos))
        self._packed_pos += len(data)
        return data

    def _next_member(self) -> bool:
        """Begin the next gzip member; zero padding after the last one is no member."""
        rest = self._machine.unused_data
        if self._wbits != GZIP:
            return False
        while not (rest := rest.lstrip(b"\0")):
            rest = self._read_packed()
            if not rest:
                return False
        if rest[0] != 0x1F:
            return False
        self._machine = zlib.decompressobj(self._wbits)
        self._pending = rest
        self._full = False
        return True
