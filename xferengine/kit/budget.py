"""Bytes that may be in memory at once, shared by many tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec


class BudgetStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a budget holds now, and the most it ever held."""

    limit_bytes: int
    used_bytes: int
    peak_bytes: int
    waiting_count: int


class _Waiter:
    __slots__ = ("event", "is_granted", "size_bytes")

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.event = anyio.Event()
        self.is_granted = False


class ByteBudget:
    """A first come, first served allowance of bytes.

    A request above the limit is granted when nothing else is held, so that one huge file passes, alone.

    Args:
        limit_bytes: most bytes held together.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._peak_bytes = 0
        self._waiters: deque[_Waiter] = deque()

    def __repr__(self) -> str:
        return f"ByteBudget({self._used_bytes} of {self._limit_bytes} bytes, {len(self._waiters)} waiting)"

    def statistics(self) -> BudgetStatistics:
        """Return a frozen picture of the moment."""
        return BudgetStatistics(
            limit_bytes=self._limit_bytes,
            used_bytes=self._used_bytes,
            peak_bytes=self._peak_bytes,
            waiting_count=len(self._waiters),
        )

    def acquire_nowait(self, size_bytes: int) -> bool:
        """Take ``size_bytes`` if that needs no waiting, and say whether it did."""
        if self._waiters or not self._fits(size_bytes):
            return False
        self._take(size_bytes)
        return True

    async def acquire(self, size_bytes: int) -> None:
        """Take ``size_bytes``, after everybody who asked earlier; give them back with ``release``.

        Cancellation: nothing is held.
        """
        if self.acquire_nowait(size_bytes):
            return
        waiter = _Waiter(size_bytes)
        self._waiters.append(waiter)
        try:
            await waiter.event.wait()
        except BaseException:
            if waiter.is_granted:
                self.release(size_bytes)
            else:
                self._waiters.remove(waiter)
                self._grant()
            raise

    def release(self, size_bytes: int) -> None:
        """Give ``size_bytes`` back."""
        self._used_bytes -= size_bytes
        self._grant()

    @asynccontextmanager
    async def hold(self, size_bytes: int) -> AsyncIterator[None]:
        """Hold ``size_bytes`` for the length of a block."""
        await self.acquire(size_bytes)
        try:
            yield
        finally:
            self.release(size_bytes)

    def _fits(self, size_bytes: int) -> bool:
        return self._used_bytes == 0 or self._used_bytes + size_bytes <= self._limit_bytes

    def _take(self, size_bytes: int) -> None:
        self._used_bytes += size_bytes
        self._peak_bytes = max(self._peak_bytes, self._used_bytes)

    def _grant(self) -> None:
        while self._waiters and self._fits(self._waiters[0].size_bytes):
            waiter = self._waiters.popleft()
            self._take(waiter.size_bytes)
            waiter.is_granted = True
            waiter.event.set()


class BudgetShare:
    """What one owner holds of a budget, so that it can be given back at once, wherever the owner stopped."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.held_bytes = 0

    def __repr__(self) -> str:
        return f"BudgetShare({self.held_bytes} bytes of {self._budget!r})"

    def acquire_nowait(self, size_bytes: int) -> bool:
        """Take ``size_bytes`` if that needs no waiting, and say whether it did."""
        is_taken = self._budget.acquire_nowait(size_bytes)
        self.held_bytes += size_bytes * is_taken
        return is_taken

    async def acquire(self, size_bytes: int) -> None:
        """Take ``size_bytes``, after everybody who asked earlier.

        Cancellation: nothing more is held.
        """
        await self._budget.acquire(size_bytes)
        self.held_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Give ``size_bytes`` back, or what is left of them after ``release_all``."""
        size_bytes = min(size_bytes, self.held_bytes)
        self.held_bytes -= size_bytes
        self._budget.release(size_bytes)

    def release_all(self) -> None:
        """Give everything back. May be called twice."""
        self.release(self.held_bytes)
