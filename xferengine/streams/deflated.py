"""Reading a bundle as deflated entries, for links slower than the processor: sent chunked, as no one knows the length.

Deflating happens in threads, a small file in one hop, a large one piece by piece, one ahead of the network.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Any

import msgspec

from xferengine.kit.checksums import crc32
from xferengine.kit.deflate import compress_raw, new_raw_compressor
from xferengine.streams import zipframe
from xferengine.streams.entries import BundleEntry
from xferengine.streams.passes import LARGE_STEP_BYTES, BundlePass, Framed, verify_entry


class _Deflating(msgspec.Struct):
    """State of a large file between two pieces; touched by one thread at a time."""

    iterator: Iterator[bytes]
    compressor: Any
    crc: int = 0
    size: int = 0
    packed_size: int = 0
    is_ended: bool = False

    def pull(self) -> bytes:
        """Return the next deflated piece; sets ``is_ended`` with the last one. Blocks."""
        out: list[bytes] = []
        while not self.is_ended and sum(map(len, out)) < LARGE_STEP_BYTES // 2:
            data = next(self.iterator, b"")
            if data:
                self.crc, self.size = crc32(data, self.crc), self.size + len(data)
                out.append(self.compressor.compress(data))
            else:
                self.is_ended = True
                out.append(self.compressor.flush())
        piece = b"".join(out)
        self.packed_size += len(piece)
        return piece


class DeflatedPass(BundlePass):
    """One reading of a deflated bundle."""

    method = zipframe.DEFLATED

    def frame_small(self, entry: BundleEntry) -> Framed:
        """Read, deflate and frame a small file. Blocks."""
        data = self._kit.reader.read_whole(entry.source)
        crc = crc32(data)
        verify_entry(entry, size=len(data), crc=crc)
        header = zipframe.deflated_header(entry.name, size=len(data))
        packed = compress_raw(data)
        tail = zipframe.descriptor(crc=crc, packed_size=len(packed), size=len(data))
        return Framed(pieces=(header, packed, tail), crc=crc, packed_size=len(packed))

    @property
    def _is_cheap(self) -> bool:
        return False

    async def _send_large(self, index: int) -> AsyncGenerator[bytes, None]:
        entry, threads = self._entries[index], self._kit.threads
        step = max(self._kit.cfg.chunk_bytes, LARGE_STEP_BYTES)
        await self._share.acquire(4 * step)  # a piece read and a piece deflated, each twice
        self._look_ahead(index + 1)
        head = zipframe.deflated_header(entry.name, size=entry.source.size)
        iterator = await threads.run(self._kit.reader.chunks, entry.source, step)
        state = _Deflating(iterator, new_raw_compressor())
        pending = threads.start(state.pull)
        try:
            prefix = head
            while True:
                piece = await pending.wait()
                if state.is_ended:  # a torn body is all the server sees of a file that changed
                    verify_entry(entry, size=state.size, crc=state.crc)
                    break
                pending = threads.start(state.pull)
                yield prefix + piece
                prefix = b""
            tail = zipframe.descriptor(crc=state.crc, packed_size=state.packed_size, size=state.size)
            yield prefix + piece + tail
        finally:
            pending.abandon(getattr(iterator, "close", None))
            self._share.release(4 * step)
        self._place(index, header_bytes=len(head) + len(tail), crc=state.crc, packed_size=state.packed_size)
