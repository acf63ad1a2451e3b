"""The breaker: what counts, when it opens, probes, closes, gives up."""

from __future__ import annotations

import anyio
import pytest

from xferengine.errors import (
    AccessDenied,
    Ambiguous,
    ConnectFailed,
    DeadlineExceeded,
    DigestMismatch,
    Disposition,
    LoginExpired,
    NotFound,
    ReadInterrupted,
    ServerFault,
    Throttled,
    XferError,
)
from xferengine.kit.clock import VirtualClock
from xferengine.model.events import Event, Paused
from xferengine.schedule.breaker import Breaker, means_down
from xferengine.settings.slices import RetryConfig

CFG = RetryConfig(breaker_failures=3, breaker_probe_s=5, cap_s=20, give_up_after_s=100)


@pytest.mark.parametrize(
    ("error", "is_down"),
    [
        (ConnectFailed("x"), True), (ReadInterrupted("x"), True), (DeadlineExceeded("x"), True),
        (ServerFault("x", status=502), True), (Ambiguous("x", status=504), True), (Throttled("x", status=503), True),
        (Throttled("x", status=429), False), (NotFound("x"), False), (AccessDenied("x"), False),
        (LoginExpired("x"), False), (DigestMismatch("x"), False),
    ],
)  # fmt: skip
def test_what_means_down(error: XferError, is_down: bool) -> None:
    assert means_down(error) is is_down


@pytest.mark.parametrize(
    ("outcomes", "is_open"),
    [
        ("ff", False), ("fff", True), ("ff.f", False), ("ffaff", False), ("fflff", True), ("fff.", False),
        ("fffa", False), ("fffl", True), ("fffff", True),
    ],
)  # fmt: skip
def test_state_after_outcomes(outcomes: str, is_open: bool) -> None:
    """f: a failure, ``.``: success, a: an answer of a living server, l: an error of this machine."""
    breaker = Breaker(CFG, VirtualClock())
    results = {"f": ServerFault("x"), ".": None, "a": NotFound("x"), "l": DigestMismatch("x")}
    for outcome in outcomes:
        breaker.record(results[outcome])
    assert breaker.is_open is is_open


def opened(clock: VirtualClock, events: list[Event] | None = None) -> Breaker:
    breaker = Breaker(CFG, clock, emit=[].append if events is None else events.append)
    for _ in range(3):
        breaker.record(ConnectFailed("connection refused"))
    return breaker


async def test_closed_breaker_takes_no_time() -> None:
    await Breaker(CFG, VirtualClock()).wait_ready()


async def test_pauses_double_up_to_the_cap_and_are_told() -> None:
    clock, events, probes = VirtualClock(autojump=True), list[Event](), list[float]()
    breaker = opened(clock, events)

    async def probe() -> None:
        async with breaker.guard():
            probes.append(clock.monotonic())
            raise ConnectFailed("still refused")

    for _ in range(5):
        with pytest.raises(ConnectFailed):
            await probe()
    assert probes == [5, 15, 35, 55, 75]
    assert [event.retry_in_s for event in events if isinstance(event, Paused)] == [5, 10, 20, 20, 20, 20]
    assert all(isinstance(event, Paused) and event.why == "ConnectFailed" for event in events)


async def test_success_of_the_probe_lets_everybody_through() -> None:
    clock, starts = VirtualClock(autojump=True), []
    breaker = opened(clock)

    async def worker() -> None:
        async with breaker.guard():
            starts.append(clock.monotonic())
            await clock.sleep(2)

    async with anyio.create_task_group() as tg:
        for _ in range(4):
            tg.start_soon(worker)

    assert starts == [5, 7, 7, 7]
    assert not breaker.is_open


async def test_cancelled_prober_is_replaced() -> None:
    clock, starts = VirtualClock(autojump=True), []
    breaker = opened(clock)

    async def prober(scope: anyio.CancelScope) -> None:
        with scope:
            await breaker.wait_ready()

    async def worker() -> None:
        async with breaker.guard():
            starts.append(clock.monotonic())

    async with anyio.create_task_group() as tg:
        scope = anyio.CancelScope()
        tg.start_soon(prober, scope)
        await clock.sleep(1)
        tg.start_soon(worker)
        await clock.sleep(1)
        scope.cancel()

    assert starts == [5]


async def test_gives_up_with_the_last_error_as_fatal() -> None:
    clock = VirtualClock(autojump=True)
    breaker, failures = opened(clock), []

    async def worker() -> None:
        while True:
            try:
                async with breaker.guard():
                    raise ServerFault("502", status=502)
            except ServerFault as error:
                if error.disposition is Disposition.FATAL:
                    failures.append((error.status, clock.monotonic()))
                    return

    async with anyio.create_task_group() as tg:
        for _ in range(3):
            tg.start_soon(worker)

    assert failures == [(502, 100)] * 3
    assert ServerFault.disposition is Disposition.RETRY


async def test_failures_of_requests_sent_before_it_opened_do_not_prolong_the_pause() -> None:
    clock, events = VirtualClock(autojump=True), list[Event]()
    breaker = opened(clock, events)
    for _ in range(10):
        breaker.record(ConnectFailed("late"))
    await breaker.wait_ready()
    assert clock.monotonic() == 5
    assert len(events) == 1
