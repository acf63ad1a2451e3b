"""Lanes: order, limits that move, cancellation, what limit and breaker are told."""

from __future__ import annotations

import asyncio
import random

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from xferengine.errors import NotFound, ServerFault, SourceChanged, Throttled
from xferengine.kit.clock import VirtualClock
from xferengine.model.events import Event, LimitChanged
from xferengine.schedule.breaker import Breaker
from xferengine.schedule.lanes import Lane, Lanes
from xferengine.schedule.limit import FixedLimit, Overload
from xferengine.settings.slices import PoolConfig, RetryConfig


class SpyLimit(FixedLimit):
    """Remembers what it was told."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.seen: list[object] = []

    def on_success(self, seconds: float, bytes_moved: int, *, in_flight: int) -> None:
        self.seen.append((seconds, bytes_moved, in_flight))

    def on_overload(self, kind: Overload) -> None:
        self.seen.append(kind)


async def settle() -> None:
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


async def test_lowest_priority_value_first_and_fifo_among_equals() -> None:
    lane, seen = Lane("bulk", FixedLimit(1), clock=VirtualClock()), []

    async def worker(name: str, priority: int | tuple[int, ...]) -> None:
        async with lane.slot(priority):
            seen.append(name)

    async with anyio.create_task_group() as tg, lane.slot():
        for name, priority in [("c", 5), ("b1", (1, 2)), ("b2", (1, 2)), ("a", (1, 1)), ("first", -1)]:
            tg.start_soon(worker, name, priority)
            await settle()
        assert lane.statistics().waiting_count == 5

    assert seen == ["first", "a", "b1", "b2", "c"]


async def test_raised_limit_lets_waiters_in_and_a_lowered_one_takes_nothing_away() -> None:
    limit, events = FixedLimit(1), list[Event]()
    lane = Lane("bulk", limit, clock=VirtualClock(), emit=events.append)
    go_on = [anyio.Event() for _ in range(6)]

    async def worker(n: int) -> None:
        async with lane.slot(n):
            await go_on[n].wait()

    async with anyio.create_task_group() as tg:
        for n in range(6):
            tg.start_soon(worker, n)
        await settle()
        assert lane.statistics().in_flight == 1
        limit.current, limit.why = 4, "by hand"
        lane.refresh()
        await settle()
        assert lane.statistics().in_flight == 4
        limit.current = 2
        go_on[0].set()
        go_on[1].set()
        await settle()
        assert (lane.statistics().in_flight, lane.statistics().waiting_count) == (2, 2)
        for event in go_on:
            event.set()

    assert lane.statistics().in_flight == 0
    assert events[0] == LimitChanged(lane="bulk", limit=4, why="by hand")
    assert len(events) == 2


async def test_pause_gives_nothing_until_resume() -> None:
    lane, seen = Lane("bulk", FixedLimit(3), clock=VirtualClock()), []

    async def worker() -> None:
        async with lane.slot():
            seen.append(1)

    lane.pause()
    async with anyio.create_task_group() as tg:
        tg.start_soon(worker)
        await settle()
        assert (seen, lane.statistics().is_paused) == ([], True)
        lane.resume()

    assert seen == [1]


async def test_waiter_cancelled_in_the_moment_of_its_grant_loses_no_slot() -> None:
    lane = Lane("bulk", FixedLimit(1), clock=VirtualClock())

    async def worker() -> None:
        async with lane.slot():
            pytest.fail("was cancelled before")

    async with lane.slot():
        waiter = asyncio.ensure_future(worker())
        await settle()
    assert lane.statistics().in_flight == 1  # granted, but not yet running
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter

    assert lane.statistics().in_flight == 0


async def test_cancelled_waiters_do_not_pile_up() -> None:
    lane = Lane("bulk", FixedLimit(1), clock=VirtualClock())
    async with lane.slot():
        for _ in range(500):
            with anyio.CancelScope() as scope:
                scope.cancel()
                async with lane.slot():
                    pytest.fail("no slot is free")
        assert len(lane._queue) <= 17
        assert lane.statistics().waiting_count == 0


async def test_success_is_reported_with_time_bytes_and_neighbours() -> None:
    clock, limit = VirtualClock(), SpyLimit(4)
    lane = Lane("bulk", limit, clock=clock)
    async with lane.slot(), lane.slot(cost_bytes=100):
        await clock.advance(2)
    async with lane.slot(cost_bytes=100) as slot:
        slot.moved_bytes = 60

    assert limit.seen == [(2, 100, 2), (2, 0, 1), (0, 60, 1)]


async def test_errors_are_reported_as_overload_only_when_they_are() -> None:
    limit = SpyLimit(4)
    lane = Lane("bulk", limit, clock=VirtualClock())
    for error in (Throttled("x"), NotFound("x")):
        with pytest.raises(type(error)):
            async with lane.slot():
                raise error
    async with lane.slot() as slot:
        slot.failed(ServerFault("handled inside"))
    with pytest.raises(ZeroDivisionError):
        async with lane.slot():
            raise ZeroDivisionError

    assert limit.seen == [Overload.THROTTLED, Overload.FAULT]
    assert lane.statistics().in_flight == 0


async def test_open_breaker_holds_the_lane_and_lets_one_probe_through() -> None:
    clock = VirtualClock(autojump=True)
    breaker = Breaker(RetryConfig(breaker_failures=2, breaker_probe_s=5), clock)
    limit = SpyLimit(8)
    lane = Lane("bulk", limit, clock=clock, breaker=breaker)
    for _ in range(2):
        with pytest.raises(ServerFault):
            async with lane.slot():
                raise ServerFault("down")
    starts: list[float] = []

    async def worker() -> None:
        async with lane.slot():
            starts.append(clock.monotonic())
            await clock.sleep(1)

    async with anyio.create_task_group() as tg:
        for _ in range(5):
            tg.start_soon(worker)

    assert starts == [5, 6, 6, 6, 6]
    assert {seconds for seconds, *_ in (seen for seen in limit.seen if isinstance(seen, tuple))} == {1}


async def test_unused_slot_tells_nothing_and_hands_the_probe_on() -> None:
    clock, limit = VirtualClock(autojump=True), SpyLimit(8)
    breaker = Breaker(RetryConfig(breaker_failures=1, breaker_probe_s=5), clock)
    lane = Lane("bulk", limit, clock=clock, breaker=breaker)
    breaker.record(ServerFault("down"))

    async with lane.slot() as slot:
        slot.unused()
    assert (breaker.is_open, limit.seen) == (True, [])
    async with lane.slot():
        pass
    assert not breaker.is_open


async def test_cancelled_probe_and_local_error_hand_the_role_on() -> None:
    clock = VirtualClock(autojump=True)
    breaker = Breaker(RetryConfig(breaker_failures=1, breaker_probe_s=5), clock)
    lane = Lane("bulk", FixedLimit(8), clock=clock, breaker=breaker)
    breaker.record(ServerFault("down"))

    with pytest.raises(SourceChanged):
        async with lane.slot():
            raise SourceChanged("a file")
    assert breaker.is_open
    with anyio.CancelScope() as scope:
        async with lane.slot():
            scope.cancel()
            await anyio.sleep_forever()
    assert breaker.is_open
    async with lane.slot():
        pass

    assert not breaker.is_open
    assert lane.statistics().in_flight == 0


async def test_lanes_follow_the_configuration() -> None:
    lanes = Lanes(PoolConfig(workers=3, commit=2, listing=5), clock=VirtualClock())
    assert [(s.name, s.limit) for s in lanes.statistics()] == [("listing", 5), ("bulk", 3), ("commit", 2)]
    assert [lane.name for lane in lanes] == ["listing", "bulk", "commit"]


async def test_random_load_loses_no_slot() -> None:
    rng, clock, limit = random.Random(3), VirtualClock(autojump=True), FixedLimit(3)
    lane = Lane("bulk", limit, clock=clock)

    async def worker() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tg:
                tg.start_soon(cancel_soon, scope, rng.random() * 3)
                async with lane.slot(rng.randint(0, 3)):
                    await clock.sleep(rng.random())
                tg.cancel_scope.cancel()

    async def cancel_soon(scope: anyio.CancelScope, seconds: float) -> None:
        await clock.sleep(seconds)
        scope.cancel()

    async with anyio.create_task_group() as tg:
        for _ in range(150):
            tg.start_soon(worker)
            await clock.sleep(rng.random() / 5)
            limit.current = rng.randint(1, 5)
            lane.refresh()

    statistics = lane.statistics()
    assert (statistics.in_flight, statistics.waiting_count) == (0, 0)
    assert statistics.peak_in_flight <= 5
    assert statistics.granted_count > 50


class LaneMachine(RuleBasedStateMachine):
    """Any order of asking, leaving, cancelling, pausing and moving the limit."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.limit = FixedLimit(2)
        self.lane = Lane("bulk", self.limit, clock=VirtualClock())
        self.tasks: list[tuple[asyncio.Task[None], asyncio.Event]] = []
        self.holding = 0
        self.held_before_move = 0

    def step(self) -> None:
        self.loop.run_until_complete(settle())

    async def worker(self, priority: int, leave: asyncio.Event) -> None:
        async with self.lane.slot(priority):
            assert self.lane.statistics().in_flight <= max(self.limit.current, self.held_before_move)
            self.holding += 1
            try:
                await leave.wait()
            finally:
                self.holding -= 1

    @rule(priority=st.integers(0, 3))
    def ask(self, priority: int) -> None:
        leave = asyncio.Event()
        self.tasks.append((self.loop.create_task(self.worker(priority, leave)), leave))
        self.step()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), same_turn=st.booleans())
    def leave_or_cancel(self, data: st.DataObject, same_turn: bool) -> None:
        """Both in the same turn of the loop hits the moment between a grant and its waiter's next step."""
        task, leave = self.tasks.pop(data.draw(st.integers(0, len(self.tasks) - 1)))
        if same_turn and self.tasks:
            other, _ = self.tasks.pop(data.draw(st.integers(0, len(self.tasks) - 1)))
            leave.set()
            self.loop.run_until_complete(asyncio.sleep(0))
            other.cancel()
        else:
            data.draw(st.sampled_from([leave.set, task.cancel]))()
            if not task.done() and not leave.is_set():
                task.cancel()
            elif leave.is_set() and self.lane.statistics().is_paused:
                task.cancel()  # it may still be waiting for a slot
        self.step()

    @rule(value=st.integers(1, 4))
    def move_limit(self, value: int) -> None:
        self.held_before_move = self.lane.statistics().in_flight
        self.limit.current = value
        self.lane.refresh()
        self.step()

    @rule(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        if paused:
            self.lane.pause()
        else:
            self.lane.resume()
        self.step()

    @invariant()
    def slots_are_held_by_workers_and_none_is_idle(self) -> None:
        statistics = self.lane.statistics()
        assert statistics.in_flight == self.holding
        assert statistics.is_paused or not statistics.waiting_count or statistics.in_flight >= statistics.limit

    def teardown(self) -> None:
        for task, _ in self.tasks:
            task.cancel()
        self.step()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.step()
        assert (self.lane.statistics().in_flight, self.lane.statistics().waiting_count) == (0, 0)
        self.loop.close()


LaneMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLaneMachine = LaneMachine.TestCase
