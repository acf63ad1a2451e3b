"""Rates, timetables and the bucket."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.errors import SettingsError
from xferengine.kit.clock import VirtualClock
from xferengine.kit.ratelimit import RateLimiter, parse_rate, parse_timetable

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10M", 10e6), ("512k", 512e3), ("1.5Mi", 1.5 * (1 << 20)), ("2Gi", 2 << 30), ("100", 100), ("OFF", None),
        ("1G", 1e9), (" 3K ", 3e3), ("10MB/s", 10e6), ("10Mib/s", 10 << 20),
    ],
)  # fmt: skip
def test_rate_is_read(text: str, expected: float | None) -> None:
    assert parse_rate(text) == expected


@pytest.mark.parametrize("text", ["", "fast", "-1", "10T", "0", "1e6", "10 M M", "٣M", "0.1"])
def test_bad_rate_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match=r"rate"):
        parse_rate(text)


def test_daily_timetable_holds_over_midnight() -> None:
    table = parse_timetable("08:00,512k 18:00,off")

    assert table.rate_at(MONDAY.replace(hour=7, minute=59)) is None
    assert table.rate_at(MONDAY.replace(hour=8)) == 512e3
    assert table.rate_at(MONDAY.replace(hour=17, minute=59)) == 512e3
    assert table.rate_at(MONDAY.replace(day=11, hour=12)) == 512e3
    assert table.rate_at(MONDAY.replace(hour=18)) is None


def test_weekly_timetable_holds_over_the_end_of_the_week() -> None:
    table = parse_timetable("Mon-08:00,512k Fri-19:00,off")

    assert table.rate_at(MONDAY.replace(hour=7)) is None
    assert table.rate_at(MONDAY.replace(day=7)) == 512e3
    assert table.rate_at(MONDAY.replace(day=9, hour=19)) is None
    assert table.rate_at(MONDAY.replace(day=11)) is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("08:00,512k 25:00,off", "25:00,off"), ("08:00", "08:00"), ("Xyz-08:00,1M", "Xyz-08:00,1M"),
        ("08:00,512k 18:00,quick", "18:00,quick"), ("08:00,1M Mon-08:00,2M", "Mon-08:00,2M"), ("08:60,1M", "08:60,1M"),
    ],
)  # fmt: skip
def test_bad_part_of_a_timetable_is_named(text: str, part: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_timetable(text)
    assert part in caught.value.message


@given(st.text(max_size=30))
def test_any_text_is_a_timetable_or_a_settings_error(text: str) -> None:
    try:
        table = parse_timetable(text)
    except SettingsError:
        return
    assert list(table.starts) == sorted(set(table.starts))
    table.rate_at(MONDAY)


async def seconds_to_move(limiter: RateLimiter, clock: VirtualClock, *, total: int, chunk: int) -> float:
    began = clock.monotonic()
    for _ in range(total // chunk):
        await limiter.take(chunk)
    return clock.monotonic() - began


@pytest.mark.parametrize("chunk", [10_000, 65_536, 1 << 20])
async def test_rate_is_kept_whatever_the_chunk(chunk: int) -> None:
    clock = VirtualClock(autojump=True)
    limiter = RateLimiter(parse_timetable("1M"), clock)

    seconds = await seconds_to_move(limiter, clock, total=20_000_000, chunk=chunk)

    assert seconds == pytest.approx(20, rel=0.06)


async def test_many_tasks_share_evenly() -> None:
    clock, taken = VirtualClock(autojump=True), dict.fromkeys(range(5), 0)
    limiter = RateLimiter(parse_timetable("1M"), clock)

    async def worker(n: int) -> None:
        while True:
            await limiter.take(100_000)
            taken[n] += 1

    async with anyio.create_task_group() as tg:
        for n in taken:
            tg.start_soon(worker, n)
        await clock.sleep(10)
        tg.cancel_scope.cancel()

    assert sum(taken.values()) == pytest.approx(100, abs=3)
    assert max(taken.values()) - min(taken.values()) <= 1


async def test_rate_changes_while_somebody_waits() -> None:
    clock = VirtualClock(MONDAY.replace(hour=17, minute=59, second=50), autojump=True)
    limiter = RateLimiter(parse_timetable("08:00,1k 18:00,off"), clock, zone=UTC)

    await limiter.take(10_000_000)
    await limiter.take(10_000_000)

    assert clock.monotonic() == pytest.approx(10, abs=1)


async def test_cancelled_waiter_takes_nothing_and_frees_the_turn() -> None:
    clock = VirtualClock(autojump=True)
    limiter = RateLimiter(parse_timetable("1M"), clock)
    async with anyio.create_task_group() as tg:
        tg.start_soon(limiter.take, 10_000_000)
        await clock.sleep(0.01)
        tg.cancel_scope.cancel()
    assert await seconds_to_move(limiter, clock, total=1_000_000, chunk=100_000) == pytest.approx(1, abs=0.1)


async def test_no_limit_costs_no_time() -> None:
    clock = VirtualClock()
    await RateLimiter(parse_timetable(""), clock).take(1 << 40)
    assert clock.monotonic() == 0
