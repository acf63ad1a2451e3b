"""Blocking work off the event loop: a shared limit, a small pool that can start work ahead, one thread for SQLite."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel
import anyio.to_thread

T = TypeVar("T")
Args = TypeVarTuple("Args")

DEFAULT_THREADS = min(8, 2 * (os.cpu_count() or 2))

_limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("xferengine.blocking")


async def run_blocking(fn: Callable[[*Args], T], *args: *Args) -> T:
    """Run ``fn(*args)`` in a thread and return what it returns.

    All callers on one loop share a limit of ``DEFAULT_THREADS``.

    Cancellation: waits for the thread first; what ``fn`` did stays done.
    """
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(DEFAULT_THREADS)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(fn, *args, limiter=limiter)


class Pending(Generic[T]):
    """Work that was started in a thread and is awaited later."""

    def __init__(self, future: Future[T]) -> None:
        self._future = future

    async def wait(self, *, shield: bool = True) -> T:
        """Return the result, or raise what the function raised.

        Args:
            shield: False for long work that is told to end by other means; cancelling then leaves it to end by itself.

        Cancellation: waits for the thread first (unless told otherwise), so that nothing it uses is taken away.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        with anyio.CancelScope(shield=shield):
            return await asyncio.wrap_future(self._future)
        raise AssertionError("a shielded scope swallows nothing")

    def abandon(self, cleanup: Callable[[], None] | None = None) -> None:
        """Give the result up without waiting; ``cleanup`` runs when the function has ended, or never began."""
        self._future.cancel()
        if cleanup is not None:
            self._future.add_done_callback(lambda _: cleanup())


class BlockingPool:
    """A few threads that can begin work before anybody awaits it: ``async with BlockingPool() as pool``.

    Leaving waits for what still runs.
    """

    def __init__(self, threads: int = DEFAULT_THREADS, *, name: str = "blocking") -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._executor.shutdown)

    def start(self, fn: Callable[[*Args], T], *args: *Args) -> Pending[T]:
        """Start ``fn(*args)`` in a thread; await the result with ``Pending.wait``."""
        return Pending(self._executor.submit(fn, *args))

    async def run(self, fn: Callable[[*Args], T], *args: *Args) -> T:
        """Run ``fn(*args)`` in a thread and return what it returns.

        Cancellation: waits for the thread first; what ``fn`` did stays done.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        return await self.start(fn, *args).wait()


class SerialThread(BlockingPool):
    """One thread that runs everything it is given in order: what SQLite wants of its connection."""

    def __init__(self, *, name: str = "serial") -> None:
        super().__init__(1, name=name)
