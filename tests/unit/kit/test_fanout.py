"""Calls side by side."""

from __future__ import annotations

import anyio
import pytest

from xferengine.kit.fanout import side_by_side, windows


async def test_results_come_in_the_order_of_the_items_whatever_ends_first() -> None:
    gates = [anyio.Event() for _ in range(3)]

    async def op(n: int) -> int:
        if n < 2:
            await gates[n + 1].wait()
        gates[n].set()
        return n * n

    assert await side_by_side(op, [0, 1, 2]) == [0, 1, 4]
    assert await side_by_side(op, []) == []


async def test_one_failure_comes_out_bare_and_ends_the_others() -> None:
    cancelled: list[int] = []

    async def op(n: int) -> int:
        if n == 1:
            raise ValueError("mine")
        try:
            await anyio.sleep_forever()
        except BaseException:
            cancelled.append(n)
            raise
        return n

    with pytest.raises(ValueError, match="mine"):
        await side_by_side(op, [0, 1, 2])
    assert sorted(cancelled) == [0, 2]


async def test_cancelling_reaches_all_calls() -> None:
    ended: list[int] = []

    async def op(n: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(n)

    with anyio.move_on_after(0):
        await side_by_side(op, [0, 1])
    assert sorted(ended) == [0, 1]


def test_windows_cover_everything_once() -> None:
    assert [list(part) for part in windows(range(7), 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(windows([], 3)) == []
