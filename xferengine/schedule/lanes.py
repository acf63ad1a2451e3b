"""Lanes: who may have a request in flight, in which order."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import msgspec

from xferengine.errors import XferError
from xferengine.kit.clock import Clock
from xferengine.model.events import Emit, LimitChanged, ignore
from xferengine.schedule.breaker import Breaker
from xferengine.schedule.limit import AimdConfig, AimdLimit, FixedLimit, Limit, overload_of
from xferengine.settings.slices import PoolConfig

Priority = int | tuple[int, ...]


class LaneStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of one lane."""

    name: str
    limit: int
    why: str
    in_flight: int
    waiting_count: int
    is_paused: bool
    granted_count: int
    """Slots given since the start."""
    peak_in_flight: int


class Slot:
    """The right to one request. ``lane.slot`` yields it and, at the end, tells limit and breaker how it went.

    Leaving the block normally is a success that moved ``moved_bytes``; leaving it with an ``XferError`` is that
    failure. Whoever handles the error inside the block calls ``failed``; so does whoever runs a task group in it, since
    a group of errors says nothing here.
    """

    __slots__ = ("error", "is_typical", "is_unused", "moved_bytes", "started_at_s")

    def __init__(self, moved_bytes: int, started_at_s: float) -> None:
        self.moved_bytes = moved_bytes
        self.started_at_s = started_at_s
        self.error: XferError | None = None
        self.is_unused = False
        self.is_typical = True
        """False: how long it took says nothing about the lane (a first, small unit); the limit does not see it."""

    def failed(self, error: XferError) -> None:
        """Say that the request failed, although the block ends normally."""
        self.error = error

    def unused(self) -> None:
        """Say that no request was made: a normal end is then no success, neither for the limit nor for the breaker."""
        self.is_unused = True


class _Waiter:
    __slots__ = ("event", "is_gone", "is_granted")

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.is_granted = self.is_gone = False


class Lane:
    """Requests of one kind to one server, lowest priority value first, first come first served among equals.

    Never more slots than the limit are given; when the limit falls below what is in flight, nothing is taken away and
    nothing new is given until it fits again.

    Args:
        name: for events and statistics.
        limit: how many slots.
        clock: times the requests for the limit.
        emit: gets ``LimitChanged``.
        breaker: of the server; a slot is given first, then waits for it.
    """

    def __init__(
        self, name: str, limit: Limit, *, clock: Clock, emit: Emit = ignore, breaker: Breaker | None = None
    ) -> None:
        self.name = name
        self._limit = limit
        self._clock = clock
        self._emit = emit
        self._breaker = breaker
        self._queue: list[tuple[tuple[int, ...], int, _Waiter]] = []
        self._order = itertools.count()
        self._waiting_count = self._in_flight = self._peak_in_flight = self._granted_count = 0
        self._is_paused = False
        self._seen_limit = limit.current

    def __repr__(self) -> str:
        return f"Lane({self.name}: {self._in_flight} of {self._limit.current}, {self._waiting_count} waiting)"

    def statistics(self) -> LaneStatistics:
        """Return a frozen picture of the moment."""
        return LaneStatistics(
            name=self.name,
            limit=self._limit.current,
            why=self._limit.why,
            in_flight=self._in_flight,
            waiting_count=self._waiting_count,
            is_paused=self._is_paused,
            granted_count=self._granted_count,
            peak_in_flight=self._peak_in_flight,
        )

    @asynccontextmanager
    async def slot(self, priority: Priority = 0, *, cost_bytes: int = 0) -> AsyncIterator[Slot]:
        """Wait for a slot and hold it for the length of the block.

        Args:
            priority: lower goes first; a tuple compares element by element.
            cost_bytes: payload of the request; what a success counts as moved unless the slot is told otherwise.

        Raises:
            XferError: what the breaker raises when it gives up.

        Cancellation: the slot is free again, or was never taken.
        """
        await self._acquire(priority if isinstance(priority, tuple) else (priority,))
        try:
            if self._breaker is not None:
                await self._breaker.wait_ready()
            slot = Slot(cost_bytes, self._clock.monotonic())
            try:
                yield slot
            except XferError as error:
                self._report(slot.error or error, slot)
                raise
            except BaseException:
                if self._breaker is not None:
                    self._breaker.withdraw()
                raise
            self._report(slot.error, slot)
        finally:
            self._release()

    def pause(self) -> None:
        """Give no more slots until ``resume``; those in flight go on."""
        self._is_paused = True

    def resume(self) -> None:
        """Give slots again."""
        self._is_paused = False
        self._grant()

    def refresh(self) -> None:
        """Look at the limit again: call it after changing a limit by hand."""
        self._grant()

    async def _acquire(self, priority: tuple[int, ...]) -> None:
        waiter = _Waiter()
        heapq.heappush(self._queue, (priority, next(self._order), waiter))
        self._waiting_count += 1
        self._grant()
        try:
            await waiter.event.wait()
        except BaseException:
            if waiter.is_granted:
                self._release()
            else:
                self._forget(waiter)
            raise

    def _release(self) -> None:
        self._in_flight -= 1
        self._grant()

    def _grant(self) -> None:
        """Give the free slots to the first in the queue; the only place where slots are given."""
        if self._limit.current != self._seen_limit:
            self._seen_limit = self._limit.current
            self._emit(LimitChanged(lane=self.name, limit=self._seen_limit, why=self._limit.why))
        while self._queue and not self._is_paused and self._in_flight < self._limit.current:
            waiter = heapq.heappop(self._queue)[2]
            if waiter.is_gone:
                continue
            self._waiting_count -= 1
            self._in_flight += 1
            self._granted_count += 1
            self._peak_in_flight = max(self._peak_in_flight, self._in_flight)
            waiter.is_granted = True
            waiter.event.set()

    def _forget(self, waiter: _Waiter) -> None:
        """Mark a cancelled waiter; sweep the queue when most of it is marked, so that it stays small."""
        waiter.is_gone = True
        self._waiting_count -= 1
        if len(self._queue) > 2 * self._waiting_count + 16:
            self._queue = [entry for entry in self._queue if not entry[2].is_gone]
            heapq.heapify(self._queue)

    def _report(self, error: XferError | None, slot: Slot) -> None:
        if error is None and slot.is_unused:
            if self._breaker is not None:
                self._breaker.withdraw()
            return
        if self._breaker is not None:
            self._breaker.record(error)
        if error is None and slot.is_typical:
            seconds = self._clock.monotonic() - slot.started_at_s
            self._limit.on_success(seconds, slot.moved_bytes, in_flight=self._in_flight)
        elif error is not None and (kind := overload_of(error)) is not None:
            self._limit.on_overload(kind)


class Lanes:
    """The three lanes of one server, by what a request costs it.

    Args:
        cfg: limits; with ``adaptive`` the lanes move between 1 and their maximum.
        clock: for all lanes.
        emit: for all lanes.
        breaker: of the server.
    """

    def __init__(self, cfg: PoolConfig, *, clock: Clock, emit: Emit = ignore, breaker: Breaker | None = None) -> None:
        def lane(name: str, first: int, maximum: int) -> Lane:
            limit: Limit = FixedLimit(first)
            if cfg.adaptive and maximum > first:
                limit = AimdLimit(AimdConfig(first=first, maximum=maximum), clock)
            return Lane(name, limit, clock=clock, emit=emit, breaker=breaker)

        self.listing = lane("listing", cfg.listing, cfg.listing_max)
        self.bulk = lane("bulk", cfg.workers, cfg.workers_max)
        self.commit = lane("commit", cfg.commit, cfg.commit_max)

    def __iter__(self) -> Iterator[Lane]:
        return iter((self.listing, self.bulk, self.commit))

    def statistics(self) -> tuple[LaneStatistics, ...]:
        """Return a frozen picture of every lane."""
        return tuple(lane.statistics() for lane in self)
