"""Received chunks on their way into the part file, and the digest that follows the unbroken beginning."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence

import anyio

from xferengine.errors import SizeMismatch
from xferengine.kit.threads import BlockingPool, Pending
from xferengine.streams.ranged_ledger import Ledger, Segment
from xferengine.streams.ranged_shapes import Buffer, PartSink

BATCH_BYTES = 1 << 20
"""Bytes per thread hop (a hop costs some 50 µs; the digest of so much 1.3 ms)."""
_READ_BYTES = 1 << 18


class Prefix:
    """The MD5 of a file from its start on. Used in threads; one at a time gets to feed it.

    Args:
        wanted: False: digest nothing.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False) if wanted else None
        self._turn = threading.Lock()
        self.digested = 0

    @property
    def hexdigest(self) -> str:
        """Lower-case hex; empty when none was wanted."""
        return self._md5.hexdigest() if self._md5 is not None else ""

    def lag(self, prefix: int) -> int:
        """Return how many of the first ``prefix`` bytes are not digested."""
        return prefix - self.digested if self._md5 is not None else 0

    def feed(self, offset: int, pieces: Sequence[Buffer]) -> None:
        """Digest pieces from memory if they are what comes next; else they are read back later."""
        if self._md5 is None or self.digested != offset or not self._turn.acquire(blocking=False):
            return
        try:
            if self.digested != offset:
                return
            for piece in pieces:
                self._md5.update(piece)
                self.digested += len(piece)
        finally:
            self._turn.release()

    def catch_up(self, sink: PartSink, end: int) -> None:
        """Digest up to ``end``, which must be written, by reading the part file.

        Raises:
            SizeMismatch: somebody cut the part file.
            BadInput: the disk reports an error.
        """
        if self._md5 is None:
            return
        with self._turn:
            while self.digested < end:
                data = sink.read_at(self.digested, min(_READ_BYTES, end - self.digested))
                if not data:
                    raise SizeMismatch(f"a part file ends at {self.digested}, though {end} bytes were written to it")
                self._md5.update(data)
                self.digested += len(data)


class SegmentWriter:
    """Collects the chunks of one segment and writes them a batch at a time, while the next one arrives."""

    def __init__(self, segment: Segment, ledger: Ledger, sink: PartSink, prefix: Prefix, threads: BlockingPool) -> None:
        self._ledger = ledger
        self._sink = sink
        self._prefix = prefix
        self._threads = threads
        self._offset = segment.position
        self._pieces: list[Buffer] = []
        self._running: tuple[Pending[None], int, int] | None = None
        self.held_bytes = 0

    @property
    def is_due(self) -> bool:
        """Whether a batch is full."""
        return self.held_bytes >= BATCH_BYTES

    def add(self, chunk: Buffer) -> None:
        """Take the next bytes."""
        self._pieces.append(chunk)
        self.held_bytes += len(chunk)

    async def flush(self) -> None:
        """Wait for the batch before, then start to write what was collected.

        Raises:
            DiskFull, BadInput: of the batch before.

        Cancellation: waits for the thread first.
        """
        await self._settle()
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            start, self._offset, self.held_bytes = self._offset, self._offset + self.held_bytes, 0
            self._running = self._threads.start(self._write, start, pieces), start, self._offset

    async def finish(self) -> None:
        """Write everything that was collected; also when the fetch is being given up.

        Raises:
            DiskFull, BadInput: the system refuses.
        """
        with anyio.CancelScope(shield=True):
            await self.flush()
            await self._settle()

    async def _settle(self) -> None:
        if self._running is None:
            return
        (pending, start, end), self._running = self._running, None
        with anyio.CancelScope(shield=True):
            await pending.wait()
            self._ledger.wrote(start, end)

    def _write(self, start: int, pieces: list[Buffer]) -> None:
        at = start
        for piece in pieces:
            self._sink.write_at(at, piece)
            at += len(piece)
        self._prefix.feed(start, pieces)
