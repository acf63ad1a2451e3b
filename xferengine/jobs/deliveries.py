"""Files that arrived become final in batches (design 4): data durable, renamed, folders durable, rows committed."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import msgspec

from xferengine.errors import DiskFull, XferError
from xferengine.jobs.core import Core
from xferengine.manifest import incoming, transfers
from xferengine.manifest.incoming import Arrived
from xferengine.manifest.transfers import EntryRow
from xferengine.model.events import FilesDone
from xferengine.store.target import Deliver, Delivered, Target

BATCH_FILES = 256
BATCH_S = 0.2
LARGE_BYTES = 64 << 20
"""A file of this size is a batch of its own."""
WAITING_FILES = 4 * BATCH_FILES
"""So many may wait to become final; then who brings more is held."""


class Got(msgspec.Struct, frozen=True, kw_only=True):
    """A file whose bytes are complete and checked, in its part file."""

    entry: EntryRow
    """With size and digest as the catalog has them now."""
    part: str
    size: int
    md5: str
    """Of its bytes; empty when there was nothing to compare with."""
    means: str
    """``digest`` · ``size`` · ``none``."""
    state: str = "verified"
    """``stale`` when the catalog says something else about it than two reads did."""
    note: str = ""
    last_modified: str = ""
    unit: int = 0


class Deliveries:
    """Takes files and makes them final; run ``run`` in a task, and ``close`` when no more will come.

    Args:
        core: whose manifest gets the rows.
        target: the folder.

    Cancellation: ``run`` does not hear of it: it ends when it is closed, and all that was taken is final then. Whoever
    closes it waits for those who bring files first, so that what they finish while they are cancelled is final, too.
    """

    def __init__(self, core: Core, target: Target) -> None:
        self._core = core
        self._target = target
        self._waiting: list[Got] = []
        self._has_some = anyio.Event()
        self._has_many = anyio.Event()
        self._has_room = anyio.Event()
        self._is_closed = self._is_over = False
        self._has_ended = anyio.Event()
        self.taken = self.ended = 0
        """Files that were handed on so far, and those of them that are final, or cannot be."""
        self.failed: dict[int, XferError] = {}
        """Files that could not become final, by row."""

    async def put(self, got: Sequence[Got]) -> None:
        """Take files; waits while too many wait already.

        Cancellation: they are taken.
        """
        self._waiting += got
        self.taken += len(got)
        self._has_some.set()
        if len(self._waiting) >= BATCH_FILES or any(file.size >= LARGE_BYTES for file in got):
            self._has_many.set()
        while len(self._waiting) >= WAITING_FILES and not self._is_over:
            await self._has_room.wait()

    async def all_final(self, mark: int) -> None:
        """Wait until the first ``mark`` files that were handed on are final, or ``run`` is over."""
        while self.ended < mark and not self._is_over:
            await self._has_ended.wait()

    def close(self) -> None:
        """Say that no more will come."""
        self._is_closed = True
        self._has_some.set()
        self._has_many.set()

    async def run(self) -> None:
        """Make files final until closed.

        Raises:
            DiskFull: there is no room, for anything.
            ManifestError: the rows cannot be written; the files are final, and are found on the next run.
        """
        try:
            # A batch that is cut after its renames would leave finals without rows, to be fetched again.
            with anyio.CancelScope(shield=True):
                while not (self._is_closed and not self._waiting):
                    await self._has_some.wait()
                    with anyio.move_on_after(BATCH_S):
                        await self._has_many.wait()
                    await self._commit_some()
        finally:
            self._is_over = True
            self._has_room.set()
            self._has_ended.set()

    async def _commit_some(self) -> None:
        batch, self._waiting = self._waiting[:BATCH_FILES], self._waiting[BATCH_FILES:]
        if not self._is_closed and not self._waiting:
            self._has_some, self._has_many = anyio.Event(), anyio.Event()
        self._has_room.set()  # all who wait look again, at an event that nobody else can have replaced
        self._has_room = anyio.Event()
        if not batch:
            return
        items = [Deliver(part=got.part, local=got.entry.local) for got in batch]
        outcomes = await self._core.threads.run(self._target.commit, items)
        arrived: list[Arrived] = []
        broken: list[tuple[int, str, str]] = []
        full: DiskFull | None = None
        for got, outcome in zip(batch, outcomes, strict=True):
            if outcome.error is None:
                arrived.append(_arrived(got, outcome))
                continue
            if isinstance(outcome.error, DiskFull):
                full = outcome.error
                continue
            self.failed[got.entry.id] = outcome.error
            broken.append((got.entry.id, "failed", f"{outcome.error.kind}: {outcome.error.message}"))
        await self._core.manifest.write(lambda con: incoming.arrive(con, arrived))
        if broken:
            await self._core.manifest.write(lambda con: transfers.set_entries(con, broken))
        self._tell(batch, outcomes)
        self.ended += len(batch)
        self._has_ended.set()
        self._has_ended = anyio.Event()
        if full is not None:
            raise full

    def _tell(self, batch: Sequence[Got], outcomes: Sequence[Delivered]) -> None:
        counts: dict[int, tuple[int, int]] = {}
        for got, outcome in zip(batch, outcomes, strict=True):
            if outcome.error is None:
                files, size = counts.get(got.unit, (0, 0))
                counts[got.unit] = files + 1, size + got.size
        for unit, (files, size) in counts.items():
            self._core.emit(FilesDone(unit=unit, files=files, bytes=size))


def _arrived(got: Got, outcome: Delivered) -> Arrived:
    assert outcome.file is not None
    return Arrived(
        id=got.entry.id,
        state=got.state,
        note=got.note,
        means=got.means,
        size=got.entry.size,
        digest=got.entry.digest,
        real_digest=got.md5,
        local_size=outcome.file.size,
        mtime_ns=outcome.file.mtime_ns,
        inode=outcome.file.inode,
        last_modified=got.last_modified,
    )
