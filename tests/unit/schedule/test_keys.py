"""Exclusive keys: order, several at once, cancellation."""

from __future__ import annotations

import random

import anyio
import pytest

from xferengine.kit.clock import VirtualClock
from xferengine.schedule.keys import ExclusiveKeys


async def test_first_come_first_served() -> None:
    keys, clock, seen = ExclusiveKeys(), VirtualClock(autojump=True), []

    async def worker(n: int) -> None:
        async with keys.hold("study:1"):
            seen.append((n, clock.monotonic()))
            await clock.sleep(1)

    async with anyio.create_task_group() as tg:
        for n in range(4):
            tg.start_soon(worker, n)

    assert seen == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert not keys.is_held("study:1")


async def test_other_keys_are_free() -> None:
    keys = ExclusiveKeys()
    async with keys.hold("a"):
        async with keys.hold("b", "b"):
            assert keys.is_held("a")
            assert keys.is_held("b")
        assert not keys.is_held("b")


async def test_opposite_orders_do_not_lock_up() -> None:
    keys, clock, done = ExclusiveKeys(), VirtualClock(autojump=True), []

    async def worker(*names: str) -> None:
        for _ in range(20):
            async with keys.hold(*names):
                await clock.sleep(0.1)
        done.append(names)

    async with anyio.create_task_group() as tg:
        tg.start_soon(worker, "a", "b")
        tg.start_soon(worker, "b", "a")
        tg.start_soon(worker, "b", "c", "a")

    assert len(done) == 3


async def test_cancelled_waiter_leaves_no_trace_and_keeps_no_key() -> None:
    keys = ExclusiveKeys()
    async with keys.hold("b"):
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with keys.hold("a", "b"):
                pytest.fail("b is held")
        assert not keys.is_held("a")
    assert repr(keys) == "ExclusiveKeys(0 held)"


async def test_never_two_holders_under_random_load() -> None:
    keys, clock, rng = ExclusiveKeys(), VirtualClock(autojump=True), random.Random(5)
    held: set[str] = set()

    async def worker() -> None:
        names = rng.sample("abcd", rng.randint(1, 3))
        scope = anyio.CancelScope()
        with scope:
            async with keys.hold(*names):
                assert not held & set(names)
                held.update(names)
                try:
                    await clock.sleep(rng.random())
                    if rng.random() < 0.2:
                        scope.cancel()
                    await clock.sleep(rng.random())
                finally:
                    held.difference_update(names)

    async with anyio.create_task_group() as tg:
        for _ in range(60):
            tg.start_soon(worker)

    assert not held
    assert repr(keys) == "ExclusiveKeys(0 held)"
