"""A loop that runs beside a block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio


@asynccontextmanager
async def beside(run: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run an endless coroutine while the block runs. An error of the block comes out as itself, not in a group.

    Cancellation: ends both.
    """
    failed: Exception | None = None
    async with anyio.create_task_group() as tg:
        tg.start_soon(run)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again below, outside the group that would wrap it
            failed = error
        tg.cancel_scope.cancel()
    if failed is not None:
        raise failed
