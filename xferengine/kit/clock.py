"""Time as the engine sees it. Whatever measures or waits takes a ``Clock``, so that a test decides how time passes."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

import anyio
import anyio.lowlevel

_QUIET_ROUNDS = 4
"""Turns of the loop with nothing else to run before time may jump; more than one, because a task that is woken by a
future becomes runnable only a turn later."""
_BLIND_ROUNDS = 50
"""The same for loops that do not show what is waiting to run."""


class Clock(Protocol):
    """Where the engine takes time from, and how it waits."""

    def monotonic(self) -> float:
        """Return seconds for measuring durations."""
        ...

    def now(self) -> datetime:
        """Return the wall clock (aware, UTC)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less only lets other tasks run."""
        ...


class SystemClock:
    """The real clock."""

    def monotonic(self) -> float:
        """Return seconds for measuring durations."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the wall clock (aware, UTC)."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait for real."""
        await anyio.sleep(max(seconds, 0.0))


class VirtualClock:
    """A clock that moves only when it is told to, or by itself when nothing else can run.

    Sleepers wake in the order of their due times, first come first among equals, and the tasks they wake run until
    they wait again before time moves on: two runs of the same program see the same sequence.

    Args:
        start: wall clock at second 0 (aware).
        autojump: move to the next due time as soon as every task waits. Meant for programs without real I/O: what
            waits for a socket or a thread counts as waiting too.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 5, 12, 0, tzinfo=UTC), *, autojump: bool = False) -> None:
        self._start = start
        self._elapsed_s = 0.0
        self._autojump = autojump
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._order = itertools.count()
        self._watching = False

    def __repr__(self) -> str:
        return f"VirtualClock(at {self._elapsed_s:g} s, {len(self._sleepers)} asleep)"

    def monotonic(self) -> float:
        """Return virtual seconds since the start."""
        return self._elapsed_s

    def now(self) -> datetime:
        """Return the virtual wall clock."""
        return self._start + timedelta(seconds=self._elapsed_s)

    async def sleep(self, seconds: float) -> None:
        """Wait until virtual time has passed.

        Cancellation: the sleeper leaves; time is not held up by it.
        """
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        entry = (self._elapsed_s + seconds, next(self._order), anyio.Event())
        heapq.heappush(self._sleepers, entry)
        if self._autojump:
            self._watch()
        try:
            await entry[2].wait()
        except BaseException:
            if entry in self._sleepers:
                self._sleepers.remove(entry)
                heapq.heapify(self._sleepers)
            raise

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, waking every sleeper that falls due on the way, in order."""
        target_s = self._elapsed_s + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= target_s:
            self._wake_next()
            await self._settle()
        self._elapsed_s = target_s

    def _wake_next(self) -> None:
        due_s, _, event = heapq.heappop(self._sleepers)
        self._elapsed_s = max(self._elapsed_s, due_s)
        event.set()

    async def _settle(self) -> None:
        """Let the other tasks run until they all wait."""
        loop, quiet = asyncio.get_running_loop(), 0
        while quiet < _rounds_needed(loop):
            await anyio.lowlevel.cancel_shielded_checkpoint()
            quiet = quiet + 1 if _is_quiet(loop) else 0

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._look, loop, 0)

    def _look(self, loop: asyncio.AbstractEventLoop, quiet: int) -> None:
        quiet = quiet + 1 if _is_quiet(loop) else 0
        if quiet < _rounds_needed(loop):
            loop.call_soon(self._look, loop, quiet)
            return
        self._watching = False
        if self._sleepers:
            self._wake_next()
        if self._sleepers:
            self._watch()


def _is_quiet(loop: asyncio.AbstractEventLoop) -> bool:
    """Say whether nothing but the caller is due to run in this turn of the loop."""
    return not getattr(loop, "_ready", ())


def _rounds_needed(loop: asyncio.AbstractEventLoop) -> int:
    return _QUIET_ROUNDS if hasattr(loop, "_ready") else _BLIND_ROUNDS
