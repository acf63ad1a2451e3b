"""One lock per catalog: writes wait a bounded time for it and spend their service time under it (FIL 4.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from xferengine.emulator.clock import Clock
from xferengine.emulator.records import Resource

READ_WAIT_S = 120.0
"""How long a reader waits for a writer (FIL 4.3)."""


class CatalogLocks:
    """The locks of all catalogs. A lock exists only while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[int, anyio.Lock] = {}

    def is_held(self, resource: Resource) -> bool:
        """Say whether a catalog is being written."""
        lock = self._locks.get(resource.catalog_id)
        return lock is not None and lock.locked()

    @asynccontextmanager
    async def held(self, resource: Resource, clock: Clock, timeout_s: float) -> AsyncIterator[bool]:
        """Hold the lock of a catalog; yields False when it was not obtained in time.

        Cancellation: the lock is given back.
        """
        lock = self._locks.setdefault(resource.catalog_id, anyio.Lock())
        is_obtained = await _acquire(lock, clock, timeout_s)
        try:
            yield is_obtained
        finally:
            if is_obtained:
                lock.release()
            if not lock.locked() and not lock.statistics().tasks_waiting:
                self._locks.pop(resource.catalog_id, None)


async def _acquire(lock: anyio.Lock, clock: Clock, timeout_s: float) -> bool:
    try:
        lock.acquire_nowait()
    except anyio.WouldBlock:
        pass
    else:
        return True
    is_obtained = False
    async with anyio.create_task_group() as tasks:

        async def give_up() -> None:
            await clock.sleep(timeout_s)
            tasks.cancel_scope.cancel()

        tasks.start_soon(give_up, name="catalog-lock-timeout")
        await lock.acquire()
        is_obtained = True
        tasks.cancel_scope.cancel()
    return is_obtained
