"""Some calls side by side, results in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

import anyio

Item = TypeVar("Item")
Result = TypeVar("Result")


async def side_by_side(op: Callable[[Item], Awaitable[Result]], items: Sequence[Item]) -> list[Result]:
    """Call ``op`` for all items at once and return the results in the order of the items.

    Raises:
        BaseException: of a single failing call, what it raised; of several, the first that was seen. The other calls
            are cancelled.

    Cancellation: all calls are cancelled.
    """
    results: dict[int, Result] = {}
    errors: list[BaseException] = []

    async def one(place: int, item: Item) -> None:
        try:
            results[place] = await op(item)
        except Exception as error:
            errors.append(error)
            raise

    try:
        async with anyio.create_task_group() as tg:
            for place, item in enumerate(items):
                tg.start_soon(one, place, item)
    except BaseExceptionGroup:
        if errors:
            raise errors[0] from None
        raise
    return [results[place] for place in range(len(items))]


def windows(items: Sequence[Item], width: int) -> Iterator[Sequence[Item]]:
    """Yield a sequence in pieces of at most ``width``."""
    for start in range(0, len(items), width):
        yield items[start : start + width]
