"""The byte budget: order, giants, cancellation, and that nothing is ever lost."""

from __future__ import annotations

import asyncio
import random

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xferengine.kit.budget import BudgetShare, ByteBudget
from xferengine.kit.clock import VirtualClock


async def test_first_come_first_served_even_when_a_later_one_would_fit() -> None:
    budget, seen = ByteBudget(10), []

    async def worker(name: str, size: int) -> None:
        async with budget.hold(size):
            seen.append(name)

    await budget.acquire(6)
    async with anyio.create_task_group() as tg:
        tg.start_soon(worker, "large", 8)
        await anyio.lowlevel.checkpoint()
        tg.start_soon(worker, "small", 1)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        assert seen == []
        assert budget.statistics().waiting_count == 2
        assert not budget.acquire_nowait(1)
        budget.release(6)

    assert seen == ["large", "small"]


async def test_request_above_the_limit_is_granted_alone() -> None:
    budget = ByteBudget(10)
    async with budget.hold(1000):
        assert not budget.acquire_nowait(1)
        assert budget.statistics().used_bytes == 1000
    assert budget.acquire_nowait(1)


async def test_cancelled_waiter_lets_the_next_one_pass() -> None:
    budget, seen = ByteBudget(10), []

    async def worker() -> None:
        async with budget.hold(2):
            seen.append("small")

    await budget.acquire(5)
    async with anyio.create_task_group() as tg:
        with anyio.CancelScope() as scope:
            tg.start_soon(worker)
            scope.cancel()
            await budget.acquire(9)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()

    assert seen == ["small"]
    assert budget.statistics().used_bytes == 5


async def test_waiter_cancelled_in_the_moment_of_its_grant_gives_it_back() -> None:
    budget = ByteBudget(10)
    await budget.acquire(10)
    waiter = asyncio.ensure_future(budget.acquire(10))
    await asyncio.sleep(0)
    budget.release(10)  # granted, but not yet running
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter

    assert budget.statistics().used_bytes == 0


@given(seed=st.integers(0, 2**32), limit=st.integers(1, 50))
@settings(max_examples=30, deadline=None)
def test_never_above_the_limit_and_nothing_is_lost(seed: int, limit: int) -> None:
    async def main() -> None:
        rng, clock, budget = random.Random(seed), VirtualClock(autojump=True), ByteBudget(limit)

        async def worker() -> None:
            size = rng.randint(0, limit)
            with anyio.CancelScope() as scope:
                if rng.random() < 0.3:
                    scope.cancel()
                async with budget.hold(size):
                    assert budget.statistics().used_bytes <= limit
                    await clock.sleep(rng.random())

        async with anyio.create_task_group() as tg:
            for _ in range(20):
                tg.start_soon(worker)
                await clock.sleep(rng.random() / 4)
        statistics = budget.statistics()
        assert (statistics.used_bytes, statistics.waiting_count) == (0, 0)
        assert statistics.peak_bytes <= limit

    anyio.run(main)


@pytest.mark.parametrize("size", [0, 10])
async def test_statistics_and_repr_tell_the_state(size: int) -> None:
    budget = ByteBudget(10)
    async with budget.hold(size):
        assert repr(budget) == f"ByteBudget({size} of 10 bytes, 0 waiting)"
    assert budget.statistics().peak_bytes == size


async def test_share_gives_back_all_it_holds_and_never_more() -> None:
    budget = ByteBudget(10)
    share, other = BudgetShare(budget), BudgetShare(budget)
    await share.acquire(4)
    assert share.acquire_nowait(3)
    await other.acquire(2)
    assert not share.acquire_nowait(3)
    assert share.held_bytes == 7

    share.release(3)
    share.release_all()
    share.release(4)
    share.release_all()

    assert budget.statistics().used_bytes == other.held_bytes == 2
