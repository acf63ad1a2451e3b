"""Threads: results, errors, order, cancellation."""

from __future__ import annotations

import sqlite3
import threading

import anyio
import pytest

from xferengine.kit.threads import BlockingPool, SerialThread, run_blocking


async def test_run_blocking_runs_elsewhere_and_returns_or_raises() -> None:
    assert await run_blocking(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await run_blocking(divmod, 1, 0)


async def test_serial_thread_uses_one_thread_and_keeps_the_order() -> None:
    seen: list[int] = []
    async with SerialThread() as thread:
        async with anyio.create_task_group() as tg:
            for n in range(20):
                tg.start_soon(thread.run, seen.append, n)
        idents = {await thread.run(threading.get_ident) for _ in range(5)}

    assert seen == list(range(20))
    assert len(idents) == 1
    assert threading.get_ident() not in idents


async def test_serial_thread_serves_a_connection_that_refuses_other_threads() -> None:
    async with SerialThread() as thread:
        connection = await thread.run(sqlite3.connect, ":memory:")
        cursor = await thread.run(connection.execute, "select 41 + 1")
        assert await thread.run(cursor.fetchone) == (42,)
        await thread.run(connection.close)


async def test_started_work_runs_before_it_is_awaited() -> None:
    began = threading.Event()
    async with BlockingPool(2) as pool:
        pending = pool.start(began.set)
        assert await pool.run(began.wait, 10)
        await pending.wait()


async def test_cancelling_waits_for_the_thread() -> None:
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait(10)
        ended.set()

    async with BlockingPool(2) as pool:
        async with anyio.create_task_group() as tg:
            tg.start_soon(pool.run, work)
            await run_blocking(began.wait, 10)
            tg.cancel_scope.cancel()
            go_on.set()
        assert ended.is_set()


async def test_cancelling_an_unshielded_wait_returns_at_once() -> None:
    go_on = threading.Event()
    async with BlockingPool(1) as pool:
        pending = pool.start(go_on.wait, 10)
        with anyio.move_on_after(0.01) as scope:
            await pending.wait(shield=False)
        assert scope.cancelled_caught
        go_on.set()


async def test_abandoned_work_is_cleaned_up_after_it_ended_or_when_it_never_began() -> None:
    go_on, order = threading.Event(), []

    def work() -> None:
        go_on.wait(10)
        order.append("ended")

    async with BlockingPool(1) as pool:
        running, queued = pool.start(work), pool.start(order.append, "never")
        running.abandon(lambda: order.append("cleaned"))
        queued.abandon(lambda: order.append("cleaned queued"))
        go_on.set()

    assert order == ["cleaned queued", "ended", "cleaned"]
