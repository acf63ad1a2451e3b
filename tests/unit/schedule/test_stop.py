"""Stopping: who asked, time of day, bytes."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import pytest

from xferengine.errors import SettingsError
from xferengine.kit.clock import VirtualClock
from xferengine.schedule.stop import ByteCap, StopKind, StopReason, StopSignal, watch_until

SIGINT = StopReason(kind=StopKind.SIGNAL, signum=2)


async def test_first_request_stops_feeding_the_second_step_cancels() -> None:
    stop = StopSignal()
    assert stop.is_feeding
    stop.request(SIGINT)
    await stop.wait()
    assert (stop.is_feeding, stop.is_hard, stop.reason) == (False, False, SIGINT)
    stop.hard()
    await stop.wait_hard()
    assert stop.is_hard


@pytest.mark.parametrize(
    ("kinds", "kept"),
    [
        ([StopKind.UNTIL, StopKind.MAX_BYTES], StopKind.UNTIL),
        ([StopKind.UNTIL, StopKind.SIGNAL], StopKind.SIGNAL),
        ([StopKind.SIGNAL, StopKind.CANCELLED], StopKind.SIGNAL),
        ([StopKind.CANCELLED, StopKind.UNTIL], StopKind.CANCELLED),
    ],
)
def test_reason_kept(kinds: list[StopKind], kept: StopKind) -> None:
    stop = StopSignal()
    for kind in kinds:
        stop.request(StopReason(kind=kind))
    assert stop.reason is not None
    assert stop.reason.kind is kept


def test_second_signal_does_not_replace_the_first() -> None:
    stop = StopSignal()
    stop.request(SIGINT)
    stop.request(StopReason(kind=StopKind.SIGNAL, signum=15))
    assert stop.reason == SIGINT


@pytest.mark.parametrize(("until", "seconds"), [("12:30", 1800), ("11:00", 23 * 3600), ("12:00", 24 * 3600)])
async def test_until_is_the_next_such_time_of_day(until: str, seconds: float) -> None:
    clock, stop = VirtualClock(datetime(2026, 1, 5, 12, 0, tzinfo=UTC), autojump=True), StopSignal()
    await watch_until(until, stop, clock=clock, zone=UTC)
    assert clock.monotonic() == seconds
    assert stop.reason == StopReason(kind=StopKind.UNTIL)


async def test_without_until_nothing_is_watched() -> None:
    stop = StopSignal()
    with anyio.fail_after(1):
        await watch_until("", stop, clock=VirtualClock())
    assert stop.is_feeding


@pytest.mark.parametrize("until", ["24:00", "noon", "12", "12:60", "1:2"])
async def test_bad_time_is_named(until: str) -> None:
    with pytest.raises(SettingsError, match=until):
        await watch_until(until, StopSignal(), clock=VirtualClock())


def test_byte_cap_stops_when_reached_and_rewinds_do_not_unsend() -> None:
    stop = StopSignal()
    cap = ByteCap(100, stop)
    cap.count(60)
    cap.count(-60)
    assert stop.is_feeding
    cap.count(40)
    assert stop.reason == StopReason(kind=StopKind.MAX_BYTES)


def test_zero_is_no_cap() -> None:
    stop = StopSignal()
    ByteCap(0, stop).count(1 << 60)
    assert stop.is_feeding
