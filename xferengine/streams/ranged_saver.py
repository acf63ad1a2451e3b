"""Keeps how far a file has come, not more often than that is worth."""

from __future__ import annotations

from xferengine.streams.ranged_ledger import Ledger
from xferengine.streams.ranged_shapes import Facts, FetchKit, PartSink, Progress

SAVE_BYTES = 64 << 20
SAVE_S = 1.0
NOTHING = Progress(size=-1, last_modified="", done=())
"""Of a file that must be fetched from its first byte."""


class Saver:
    """Saves the progress of one version of one file.

    Attributes:
        saved_bytes: what the saved progress counts as done.
    """

    def __init__(self, sink: PartSink, ledger: Ledger, facts: Facts, kit: FetchKit) -> None:
        self._sink = sink
        self._ledger = ledger
        self._facts = facts
        self._kit = kit
        self._is_saving = False
        self.saved_bytes = ledger.bytes_written
        self._saved_s = kit.clock.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether there is enough that a later run would miss."""
        new_bytes = self._ledger.bytes_written - self.saved_bytes
        if self._is_saving or not new_bytes or not self._can_resume:
            return False
        return new_bytes >= SAVE_BYTES or self._kit.clock.monotonic() - self._saved_s >= SAVE_S

    @property
    def _can_resume(self) -> bool:
        return self._facts.can_range and bool(self._facts.last_modified) and self._ledger.size >= 0

    def begin(self) -> None:
        """Nothing is due until ``save`` has ended."""
        self._is_saving = True

    async def save(self) -> None:
        """Save what is written now, made durable first where only that makes it true after a power loss.

        Raises:
            XferError: of the sink, or of the keeper.

        Cancellation: the earlier progress stands.
        """
        if not self._can_resume or self._ledger.bytes_written == self.saved_bytes:
            return
        progress = Progress(size=self._ledger.size, last_modified=self._facts.last_modified, done=self._ledger.spans)
        try:
            if self._kit.sync:
                await self._kit.threads.run(self._sink.sync)
            await self._kit.save(progress)
            self.saved_bytes = progress.bytes_done
        finally:
            self._is_saving = False
            self._saved_s = self._kit.clock.monotonic()

    async def forget(self) -> None:
        """Take the saved progress back, before what it names is written over.

        Raises:
            XferError: of the keeper; the progress stands.
        """
        if self.saved_bytes:
            await self._kit.save(NOTHING)
            self.saved_bytes = 0
