"""Virtual time: order of waking, jumping, cancellation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio

from xferengine.kit.clock import SystemClock, VirtualClock


async def test_advance_wakes_sleepers_in_order_of_their_due_times() -> None:
    clock, seen = VirtualClock(), []

    async def sleeper(seconds: float, name: str) -> None:
        await clock.sleep(seconds)
        seen.append((name, clock.monotonic()))

    async with anyio.create_task_group() as tg:
        for seconds, name in [(3, "c"), (1, "a"), (2, "b"), (1, "a2")]:
            tg.start_soon(sleeper, seconds, name)
        await clock.advance(2.5)
        assert seen == [("a", 1), ("a2", 1), ("b", 2)]
        assert clock.monotonic() == 2.5
        await clock.advance(1)

    assert seen[-1] == ("c", 3)


async def test_advance_wakes_sleeps_that_begin_on_the_way() -> None:
    clock, seen = VirtualClock(), []

    async def ticker() -> None:
        for _ in range(5):
            await clock.sleep(1)
            seen.append(clock.monotonic())

    async with anyio.create_task_group() as tg:
        tg.start_soon(ticker)
        await clock.advance(5)

    assert seen == [1, 2, 3, 4, 5]


async def test_autojump_passes_a_day_at_once_and_keeps_the_order() -> None:
    clock, seen = VirtualClock(autojump=True), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        for _ in range(10):  # what is woken may run on before time moves again
            await anyio.lowlevel.checkpoint()
        seen.append((seconds, clock.monotonic()))

    async with anyio.create_task_group() as tg:
        for seconds in (86400.0, 10.0, 3600.0):
            tg.start_soon(sleeper, seconds)

    assert seen == [(10, 10), (3600, 3600), (86400, 86400)]


async def test_cancelled_sleeper_leaves_and_does_not_hold_time_up() -> None:
    clock = VirtualClock(autojump=True)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.sleep(5)

    await clock.sleep(1)

    assert clock.monotonic() == 1


async def test_timeout_in_virtual_time_ends_before_a_longer_wait() -> None:
    clock = VirtualClock(autojump=True)
    reached = []

    async def cancel_after(scope: anyio.CancelScope) -> None:
        await clock.sleep(2)
        scope.cancel()

    async with anyio.create_task_group() as tg:
        with anyio.CancelScope() as scope:
            tg.start_soon(cancel_after, scope)
            await clock.sleep(100)
            reached.append("end")

    assert (reached, clock.monotonic()) == ([], 2)


async def test_wall_clock_moves_with_the_monotonic_one() -> None:
    start = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)
    clock = VirtualClock(start)

    await clock.advance(90)

    assert clock.now() == start + timedelta(seconds=90)


async def test_system_clock_is_aware_and_sleeping_zero_lets_others_run() -> None:
    clock, seen = SystemClock(), []

    async def other() -> None:
        seen.append("other")

    async with anyio.create_task_group() as tg:
        tg.start_soon(other)
        await clock.sleep(0)
        seen.append("after")

    assert clock.now().utcoffset() == timedelta(0)
    assert seen == ["other", "after"]
