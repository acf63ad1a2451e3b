"""Limits against a server model in virtual time: a knee, a halving, a recovery, locks, errors."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from xferengine.errors import (
    Ambiguous,
    ConnectFailed,
    DeadlineExceeded,
    NotFound,
    ReadInterrupted,
    ServerFault,
    Throttled,
    XferError,
)
from xferengine.kit.clock import VirtualClock
from xferengine.schedule.limit import AimdConfig, AimdLimit, FixedLimit, Overload, overload_of

UNIT_BYTES = 16_000_000


class ModelClock(VirtualClock):
    """A clock that the model below sets."""

    def set(self, moment_s: float) -> None:
        self._elapsed_s = moment_s


class Model:
    """A closed loop: as many units in flight as the limit says, each as long as the server makes it.

    Below its knee the server works in parallel (every unit takes ``base_s``); above it units only wait for each other.
    """

    def __init__(self, limit_of: Callable[[ModelClock], AimdLimit], *, base_s: float, noise: float = 0.1) -> None:
        self.clock = ModelClock()
        self.limit = limit_of(self.clock)
        self.base_s, self.noise = base_s, noise
        self.rng = random.Random(7)
        self.ends: list[float] = []
        self.done = 0
        self.supply = 10**9

    def run(self, seconds: float, *, knee: float, refuse_above: int | None = None) -> None:
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            while len(self.ends) < min(self.limit.current, self.supply):
                crowd = max(1.0, (len(self.ends) + 1) / knee)
                length = self.base_s * crowd * self.rng.uniform(1 - self.noise, 1 + self.noise)
                heapq.heappush(self.ends, self.clock.monotonic() + length)
            self.clock.set(heapq.heappop(self.ends))
            in_flight = len(self.ends) + 1
            if refuse_above is not None and in_flight > refuse_above:
                self.limit.on_overload(Overload.THROTTLED)
            else:
                self.done += 1
                self.limit.on_success(self.base_s, UNIT_BYTES, in_flight=in_flight)


def aimd(first: int = 4, maximum: int = 64) -> Callable[[ModelClock], AimdLimit]:
    return lambda clock: AimdLimit(AimdConfig(first=first, maximum=maximum), clock)


@pytest.mark.parametrize("knee", [2, 4, 8, 16, 24, 40])
@pytest.mark.parametrize("base_s", [0.2, 1.0, 3.0])
def test_converges_to_the_knee(knee: int, base_s: float) -> None:
    model = Model(aimd(), base_s=base_s)

    model.run(120 * base_s + 60, knee=knee)

    assert knee / 1.6 <= model.limit.current <= knee * 2


def test_climbs_fast_from_a_low_start() -> None:
    model = Model(aimd(first=4), base_s=0.3)
    model.run(8, knee=32)
    assert model.limit.current >= 24


def test_follows_a_halving_and_a_recovery() -> None:
    model = Model(aimd(), base_s=0.5)
    model.run(120, knee=24)
    before = model.limit.current
    model.run(200, knee=12)
    halved = model.limit.current
    model.run(200, knee=24)

    assert 15 <= before <= 48
    assert 7 <= halved <= 24
    assert 15 <= model.limit.current <= 48


def test_goodput_stays_near_the_best_possible() -> None:
    model = Model(aimd(), base_s=0.5)
    model.run(300, knee=16)
    assert model.done >= 0.85 * 300 * 16 / 0.5


def test_a_server_that_waits_for_one_lock_is_not_flooded() -> None:
    model = Model(aimd(first=4), base_s=0.5)
    model.run(120, knee=1)
    assert model.limit.current <= 4


def test_throttling_holds_the_limit_around_what_the_server_takes() -> None:
    model = Model(aimd(first=32), base_s=0.5)
    model.run(60, knee=64, refuse_above=10)
    assert 3 <= model.limit.current <= 20


def test_overload_halves_once_per_cool_down_down_to_the_minimum() -> None:
    clock = ModelClock()
    limit = AimdLimit(AimdConfig(first=16, maximum=64, minimum=2, cooldown_s=5), clock)
    for _ in range(10):
        limit.on_overload(Overload.TIMEOUT)
    assert (limit.current, limit.why) == (8, "overload: timeout")
    for n in range(1, 5):
        clock.set(n * 6.0)
        limit.on_overload(Overload.FAULT)
    assert limit.current == 2


def test_no_raise_while_cooling_down() -> None:
    model = Model(aimd(first=16), base_s=0.2)
    model.limit.on_overload(Overload.FAULT)
    model.run(4.5, knee=64)
    assert model.limit.current == 8
    model.run(30, knee=64)
    assert model.limit.current > 16


def test_too_little_work_moves_nothing() -> None:
    model = Model(aimd(first=8), base_s=0.5)
    model.supply = 3
    model.run(60, knee=64)
    assert model.limit.current == 8


def test_bounds_hold_and_the_reason_is_told() -> None:
    model = Model(aimd(first=100, maximum=12), base_s=0.5)
    for _ in range(50):
        model.run(2, knee=64)
        assert 1 <= model.limit.current <= 12
    assert "goodput" in model.limit.why or "trying" in model.limit.why


def test_requests_without_bytes_count_as_work() -> None:
    clock = ModelClock()
    limit = AimdLimit(AimdConfig(first=2, maximum=8), clock)
    for n in range(200):
        clock.set(n / limit.current)
        limit.on_success(1, 0, in_flight=limit.current)
    assert limit.current >= 7  # 7 while it tries whether fewer would do


def test_fixed_limit_never_moves() -> None:
    limit = FixedLimit(3)
    limit.on_overload(Overload.FAULT)
    limit.on_success(1, 1, in_flight=3)
    assert (limit.current, limit.why) == (3, "fixed")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Throttled("x"), Overload.THROTTLED),
        (ServerFault("x"), Overload.FAULT),
        (Ambiguous("x"), Overload.FAULT),
        (DeadlineExceeded("x"), Overload.TIMEOUT),
        (ConnectFailed("x"), Overload.CONNECT),
        (ReadInterrupted("x"), Overload.CONNECT),
        (NotFound("x"), None),
    ],
)
def test_what_an_error_says_about_load(error: XferError, kind: Overload | None) -> None:
    assert overload_of(error) is kind
