"""Clocks: what moves lives, what stalls ends, and what the error says."""

from __future__ import annotations

import pytest

from xferengine.settings.slices import TimeoutConfig
from xferengine.xnat.clocks import Phase, RequestClock, Watch
from xferengine.xnat.transport import Kind

LIMITS = TimeoutConfig(connect_s=5, send_stall_s=30, think_listing_s=120, think_commit_s=900, receive_stall_s=60)


class Now:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Outlet:
    def __init__(self) -> None:
        self.waiting = 0

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.mark.parametrize(
    ("kind", "phase", "limit_s"),
    [
        (Kind.IMPORT, Phase.CONNECT, 35),
        (Kind.IMPORT, Phase.SEND, 30),
        (Kind.LISTING, Phase.THINK, 120),
        (Kind.COMMIT, Phase.THINK, 900),
        (Kind.LISTING, Phase.RECEIVE, 60),
    ],
)
async def test_each_phase_has_its_own_limit(now: Now, kind: Kind, phase: Phase, limit_s: float) -> None:
    clock = RequestClock(LIMITS, kind, now=now)
    clock.enter(phase)
    clock.check(now.now + limit_s)
    assert not clock.scope.cancel_called
    clock.check(now.now + limit_s + 0.1)
    assert clock.scope.cancel_called
    assert clock.error().message == f"waited {limit_s:g} s for {phase}"


async def test_a_body_held_back_by_ourselves_has_no_limit(now: Now) -> None:
    clock = RequestClock(LIMITS, Kind.IMPORT, now=now)
    clock.connected(Outlet(), has_body=True)
    clock.check(now.now + 1e6)
    assert not clock.scope.cancel_called


async def test_a_slow_line_that_moves_does_not_stall(now: Now) -> None:
    clock, outlet = RequestClock(LIMITS, Kind.IMPORT, now=now), Outlet()
    clock.connected(outlet, has_body=True)
    clock.enter(Phase.SEND)
    for waiting in range(100_000, 0, -1000):
        outlet.waiting = waiting
        now.now += 20
        clock.check(now.now)
    assert not clock.scope.cancel_called
    clock.check(now.now + 31)
    assert clock.scope.cancel_called


async def test_after_the_answers_head_the_body_moves_no_clock(now: Now) -> None:
    clock = RequestClock(LIMITS, Kind.IMPORT, now=now)
    clock.enter(Phase.RECEIVE)
    now.now += 50
    clock.enter(Phase.SEND)
    clock.enter(Phase.THINK)
    assert (clock.phase, clock.body_complete) == (Phase.RECEIVE, False)
    clock.check(now.now + 11)
    assert clock.scope.cancel_called


async def test_the_error_names_the_phase_that_ran_out_and_not_a_later_one(now: Now) -> None:
    clock = RequestClock(LIMITS, Kind.IMPORT, now=now)
    clock.enter(Phase.SEND)
    clock.check(now.now + 31)
    clock.enter(Phase.THINK)
    assert "take bytes" in clock.error().message


async def test_a_request_without_a_body_is_complete_once_it_is_on_its_way(now: Now) -> None:
    clock = RequestClock(LIMITS, Kind.COMMIT, now=now)
    assert not clock.body_complete
    clock.connected(Outlet(), has_body=False)
    assert clock.body_complete


async def test_the_watch_forgets_time_in_which_the_program_stood_still(now: Now) -> None:
    watch = Watch(LIMITS)
    clock = RequestClock(LIMITS, Kind.IMPORT, now=now)
    with watch.over(clock):
        clock.enter(Phase.SEND)
        watch.look(now.now)
        watch.look(now.now + 500)
        assert not clock.scope.cancel_called
        for second in range(501, 540):
            watch.look(now.now + second)
        assert clock.scope.cancel_called


async def test_the_tick_follows_the_shortest_limit() -> None:
    assert Watch(LIMITS).tick_s == 1.0
    assert Watch(TimeoutConfig(send_stall_s=0.8)).tick_s == pytest.approx(0.1)
