"""Exclusive keys: things only one task may change at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio


class ExclusiveKeys:
    """Named locks that exist only while somebody wants them: first come, first served per key.

    They bind the tasks of this process only; other clients of the server are not held by them.
    """

    def __init__(self) -> None:
        self._queues: dict[str, deque[anyio.Event]] = {}

    def __repr__(self) -> str:
        return f"ExclusiveKeys({len(self._queues)} held)"

    def is_held(self, key: str) -> bool:
        """Say whether some task holds ``key``."""
        return key in self._queues

    @asynccontextmanager
    async def hold(self, *keys: str) -> AsyncIterator[None]:
        """Hold all ``keys`` for the length of the block.

        They are taken in sorted order, so two callers that want several never wait for each other in a ring. A task
        that holds keys must not ask for more.

        Cancellation: no key stays held.
        """
        async with AsyncExitStack() as stack:
            for key in sorted(set(keys)):
                await stack.enter_async_context(self._hold_one(key))
            yield

    @asynccontextmanager
    async def _hold_one(self, key: str) -> AsyncIterator[None]:
        turn = anyio.Event()
        queue = self._queues.setdefault(key, deque())
        queue.append(turn)
        try:
            if queue[0] is not turn:
                await turn.wait()
            yield
        finally:
            queue.remove(turn)
            if queue:
                queue[0].set()
            else:
                del self._queues[key]
