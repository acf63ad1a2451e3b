"""Small files: whole, counted, and never larger than somebody said they are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from unit.streams.ranged_server import Opened, Ticking

from xferengine.errors import ReadInterrupted, SizeMismatch
from xferengine.kit.ratelimit import RateLimiter, parse_timetable
from xferengine.streams.small import read_small


def answer(*pieces: bytes | Exception, length: int | None = None) -> tuple[Opened, list[bytes]]:
    """Return an answer and the pieces that were taken of it."""
    taken: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            taken.append(piece)
            yield piece

    return Opened(200, {}, length, body()), taken


@pytest.mark.parametrize(("listed", "length"), [(6, 6), (6, None), (-1, 6), (-1, None), (9, None), (2, 6), (9, 6)])
async def test_pieces_in_order_and_counted_once(listed: int, length: int | None) -> None:
    reports: list[int] = []
    opened, _ = answer(b"abc", b"de", b"f", length=length)
    assert await read_small(opened, listed=listed, on_bytes=reports.append) == [b"abc", b"de", b"f"]
    assert reports == [6]


@pytest.mark.parametrize(("listed", "length"), [(0, 0), (-1, None), (5, 0)])
async def test_an_empty_file(listed: int, length: int | None) -> None:
    opened, _ = answer(length=length)
    assert await read_small(opened, listed=listed, on_bytes=lambda _: None) == []


@pytest.mark.parametrize(("listed", "length", "most"), [(4, 4, 99), (4, None, 99), (-1, 4, 99), (-1, None, 4)])
async def test_it_ends_with_the_first_byte_too_many(listed: int, length: int | None, most: int) -> None:
    reports: list[int] = []
    opened, taken = answer(b"abc", b"de", b"f" * 1000, length=length)
    with pytest.raises(SizeMismatch):
        await read_small(opened, listed=listed, on_bytes=reports.append, most_bytes=most)
    assert (taken, reports) == ([b"abc", b"de"], [])


@pytest.mark.parametrize("listed", [-1, 5])
async def test_a_large_file_is_refused_before_it_is_read(listed: int) -> None:
    opened, taken = answer(b"abc", length=1000)
    with pytest.raises(SizeMismatch):
        await read_small(opened, listed=listed, on_bytes=lambda _: None, most_bytes=999)
    assert taken == []


async def test_a_break_counts_nothing() -> None:
    reports: list[int] = []
    opened, _ = answer(b"abc", ReadInterrupted("the connection broke"), length=6)
    with pytest.raises(ReadInterrupted):
        await read_small(opened, listed=6, on_bytes=reports.append)
    assert reports == []


async def test_a_rate_limit_is_kept() -> None:
    clock = Ticking()
    opened, _ = answer(*[bytes(50_000)] * 10, length=500_000)
    limiter = RateLimiter(parse_timetable("100k"), clock)
    await read_small(opened, listed=500_000, on_bytes=lambda _: None, limiter=limiter)
    assert 4.0 <= clock.at_s <= 5.5
