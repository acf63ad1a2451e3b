"""Help for an archive that comes slowly: files from its end are fetched singly meanwhile, over more connections.

One connection carries an archive. On a line with loss, or from a server that compresses, that can be a small part of
what many requests bring, and nobody knows before it has begun. Files of an archive come in the order of the listing, so
the help begins at the end; where the two meet, the archive is closed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

from xferengine.errors import XferError
from xferengine.jobs.core import Core
from xferengine.jobs.zip_fetch import ZipFetch
from xferengine.manifest.transfers import EntryRow

SLOW_BPS = 20e6
"""An archive that brings more needs no help: few lines or servers have much more to give."""
LEFT_FACTOR = 1.5
"""Help is worth its requests when the archive would take so many times the patience longer."""

Fetch = Callable[[EntryRow], Awaitable[XferError | None]]


class Relief:
    """Helps one archive along.

    Args:
        core: the server; its bulk lane has to have slots that nobody wants.
        zip_fetch: the archive on its way.
        left: its wanted files, in the order of the listing; what is fetched singly is taken out, so that the archive
            passes over it.
        fetch: brings one file.
    """

    def __init__(self, core: Core, zip_fetch: ZipFetch, left: dict[int, EntryRow], fetch: Fetch) -> None:
        self._core = core
        self._zip = zip_fetch
        self._left = left
        self._fetch = fetch
        self._is_over = False
        self._watching = anyio.CancelScope()
        self._helpers = 0
        self._moved_bytes = -1
        self.done: dict[int, XferError | None] = {}
        """Files that were fetched singly, and why one could not be."""

    def stop(self) -> None:
        """Begin no more files: the archive has come to its end."""
        self._is_over = True
        self._watching.cancel()

    async def run(self) -> None:
        """Look now and then, and help where that is worth it, until stopped."""
        core, patience_s = self._core, self._core.settings.retry.settle_s
        began = core.clock.monotonic()
        async with anyio.create_task_group() as tg:
            with self._watching:
                await self._watch(tg, began, patience_s)

    async def _watch(self, tg: TaskGroup, began: float, patience_s: float) -> None:
        core = self._core
        while not self._is_over and core.stop.is_feeding:
            await core.clock.sleep(patience_s / 2 if self._helpers else patience_s)
            if self._has_only_the_archive_left():
                await core.clock.sleep(patience_s)
                if self._has_only_the_archive_left():
                    self._zip.abandon()  # it stands still in the middle of its last file
            for _ in range(self._wanted(core.clock.monotonic() - began, patience_s)):
                self._helpers += 1
                tg.start_soon(self._help)

    def _wanted(self, elapsed_s: float, patience_s: float) -> int:
        """Return how many more helpers would be of use."""
        if self._is_over:
            return 0
        left = [entry for entry in self._left.values() if not self._zip.has_begun(entry.id)]
        rate_bps = max(self._zip.wire_bytes / elapsed_s, 1.0)
        size = sum(max(entry.size, 0) for entry in left)
        if rate_bps > SLOW_BPS or size / rate_bps < LEFT_FACTOR * patience_s:
            return 0
        picture = self._core.lanes.bulk.statistics()
        idle = picture.limit - picture.in_flight if not picture.waiting_count else 0
        return max(min(idle, len(left) - 1), 0)

    def _has_only_the_archive_left(self) -> bool:
        if not self.done or self._helpers or self._moved_bytes != self._zip.wire_bytes:
            self._moved_bytes = self._zip.wire_bytes
            return False
        return all(self._zip.has_begun(key) for key in self._left)

    async def _help(self) -> None:
        while not self._is_over and self._core.stop.is_feeding and (entry := self._last()) is not None:
            self.done[entry.id] = await self._fetch(entry)
        self._helpers -= 1

    def _last(self) -> EntryRow | None:
        """Take the last file that the archive has not begun; when none is left, the archive is no longer needed."""
        for key in reversed(self._left):
            if not self._zip.has_begun(key):
                return self._left.pop(key)
        return None
