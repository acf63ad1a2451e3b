"""Waiting for a server that is down: the breaker holds the lanes, whoever can repeat comes again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from xferengine.errors import Disposition, RemoteError
from xferengine.jobs.core import Core

T = TypeVar("T")


async def persist(core: Core, op: Callable[[], Awaitable[T]]) -> T:
    """Call ``op`` until it succeeds, as long as its failures pass by themselves and the job still waits.

    Args:
        core: the server; its breaker ends the waiting after ``give_up_after_s``.
        op: asks for its own slot in a lane, and can be repeated at will.

    Raises:
        RemoteError: what does not pass; or what came again and again from a server that otherwise answers.

    Cancellation: as ``op`` leaves it.
    """
    retry = core.settings.retry
    failures = 0
    while True:
        try:
            return await op()
        except RemoteError as error:
            if error.disposition not in {Disposition.RETRY, Disposition.LOOK}:
                raise
            failures += 1
            if failures >= retry.breaker_failures and not core.breaker.is_open:
                raise
            await core.clock.sleep(min(retry.settle_s * failures, retry.cap_s))
