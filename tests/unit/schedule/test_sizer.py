"""The sizer: learns a server's costs, picks sizes by them, remembers."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.schedule.sizer import Sizer
from xferengine.settings.slices import PoolConfig

CFG = PoolConfig()
GB = 10**9


class Server:
    """Seconds of a unit, with noise."""

    def __init__(self, a: float, b_per_mb: float, c_per_file: float, *, noise: float = 0.1) -> None:
        self.a, self.b, self.c, self.noise = a, b_per_mb, c_per_file, noise
        self.rng = random.Random(11)

    def true(self, size: int, files: int) -> float:
        return self.a + self.b * size / 1e6 + self.c * files

    def teach(self, sizer: Sizer, count: int, *, file_bytes: int = 500_000) -> None:
        for _ in range(count):
            size = self.rng.randint(1, 64) * 1_000_000
            files = max(1, int(size / file_bytes * self.rng.uniform(0.3, 3)))
            seconds = self.true(size, files) * self.rng.uniform(1 - self.noise, 1 + self.noise)
            sizer.observe(size, files, seconds=seconds, ok=True)


SERVERS = [(0.5, 0.01, 0.002), (0.02, 0.05, 0.0), (0.1, 0.002, 0.02), (2.0, 0.1, 0.001), (0.0, 0.004, 0.0005)]


@pytest.mark.parametrize("costs", SERVERS)
def test_predictions_come_near_the_truth(costs: tuple[float, float, float]) -> None:
    server, sizer = Server(*costs), Sizer(CFG)
    server.teach(sizer, 60)
    for size, files in [(1_000_000, 2), (16_000_000, 80), (64_000_000, 60), (4_000_000, 20)]:
        assert sizer.predict(size, files) == pytest.approx(server.true(size, files), rel=0.25, abs=0.05)


def test_follows_a_server_that_became_slower() -> None:
    sizer = Sizer(CFG)
    Server(0.1, 0.01, 0.001).teach(sizer, 60)
    slow = Server(0.4, 0.04, 0.004)
    slow.teach(sizer, 120)
    assert sizer.predict(16_000_000, 40) == pytest.approx(slow.true(16_000_000, 40), rel=0.25)


def test_one_outlier_does_not_turn_the_model_over() -> None:
    server, sizer = Server(0.2, 0.02, 0.001), Sizer(CFG)
    server.teach(sizer, 60)
    before = sizer.predict(16_000_000, 40)
    sizer.observe(16_000_000, 40, seconds=900, ok=True)
    assert sizer.predict(16_000_000, 40) < 1.5 * before


def test_first_size_is_the_configured_one_unless_the_job_is_small() -> None:
    sizer = Sizer(CFG)
    assert sizer.bundle_limits(100 * GB, 200_000, parallel=4).bytes == CFG.bundle_bytes
    assert sizer.bundle_limits(48_000_000, 240, parallel=4).bytes == 6_000_000


@pytest.mark.parametrize("costs", SERVERS)
@pytest.mark.parametrize("file_bytes", [200_000, 500_000])
def test_units_take_at_most_some_seconds(costs: tuple[float, float, float], file_bytes: int) -> None:
    server, sizer = Server(*costs), Sizer(CFG)
    server.teach(sizer, 60, file_bytes=file_bytes)
    limits = sizer.bundle_limits(100 * GB, 100 * GB // file_bytes, parallel=8)
    seconds = server.true(limits.bytes, min(limits.files, limits.bytes // file_bytes + 1))
    assert seconds <= 5.5
    assert limits.predicted_s == pytest.approx(seconds, rel=0.3, abs=0.05)


def test_expensive_requests_want_larger_units_than_cheap_ones() -> None:
    sizes = []
    for a in (0.02, 0.8):
        sizer = Sizer(CFG)
        Server(a, 0.02, 0.0005).teach(sizer, 60)
        sizes.append(sizer.bundle_limits(2 * GB, 4000, parallel=4).bytes)
    assert sizes[1] > sizes[0]


def test_a_tail_of_several_units_per_slot_is_left() -> None:
    sizer = Sizer(CFG)
    Server(0.05, 0.01, 0.0005).teach(sizer, 60)
    limits = sizer.bundle_limits(120_000_000, 600, parallel=8)
    assert 120_000_000 / limits.bytes >= 2 * 8


def test_a_short_tail_is_not_bought_with_requests_that_are_mostly_overhead() -> None:
    sizer = Sizer(CFG)
    Server(0.4, 0.02, 0.0005).teach(sizer, 60)
    limits = sizer.bundle_limits(10_000_000, 50, parallel=24)
    assert sizer.predict(limits.bytes, limits.bytes // 200_000) >= 0.7


def test_failures_make_units_smaller() -> None:
    steady, shaky = Sizer(CFG), Sizer(CFG)
    for sizer in (steady, shaky):
        Server(0.3, 0.02, 0.0005).teach(sizer, 60)
    for _ in range(12):
        shaky.observe(32_000_000, 60, seconds=1, ok=False)
        shaky.observe(32_000_000, 60, seconds=1, ok=True)
    assert (
        shaky.bundle_limits(50 * GB, 100_000, parallel=4).bytes
        < steady.bundle_limits(50 * GB, 100_000, parallel=4).bytes
    )


def test_413_halves_the_bound_once_per_size_and_is_remembered() -> None:
    sizer = Sizer(CFG)
    for _ in range(4):  # four bundles of that size were in flight
        sizer.on_body_too_large(16_000_000)
    assert sizer.bound_bytes == 8_000_000
    sizer.on_body_too_large(8_000_000)
    again = Sizer.from_state(CFG, json.loads(json.dumps(sizer.to_state())))
    assert again.bundle_limits(100 * GB, 200_000, parallel=4).bytes == 4_000_000


def test_state_survives_a_round_trip() -> None:
    sizer = Sizer(CFG)
    Server(0.3, 0.02, 0.0005).teach(sizer, 30)
    again = Sizer.from_state(CFG, json.loads(json.dumps(sizer.to_state())))
    assert again.predict(16_000_000, 40) == sizer.predict(16_000_000, 40)
    assert again.bundle_limits(GB, 2000, parallel=4) == sizer.bundle_limits(GB, 2000, parallel=4)


@pytest.mark.parametrize(
    "state",
    [
        {"gram": "x"},
        {"gram": [[1]]},
        {"moment": [1.0]},
        {"count": "many"},
        {"sent_mb": float("nan")},
        {"bound_bytes": -1},
    ],
)
def test_damaged_state_is_no_state(state: dict[str, object]) -> None:
    assert Sizer.from_state(CFG, state).predict(10**6, 1) == Sizer(CFG).predict(10**6, 1)


@given(
    units=st.lists(
        st.tuples(st.integers(0, 10**10), st.integers(1, 10**5), st.floats(0, 10**5), st.booleans()), max_size=20
    ),
    total=st.integers(0, 10**14),
    files=st.integers(0, 10**8),
    parallel=st.integers(1, 64),
)
def test_any_history_gives_usable_limits(
    units: list[tuple[int, int, float, bool]], total: int, files: int, parallel: int
) -> None:
    sizer = Sizer(CFG)
    for size, count, seconds, ok in units:
        sizer.observe(size, count, seconds=seconds, ok=ok)
    limits = sizer.bundle_limits(total, files, parallel=parallel)
    assert 1 <= limits.bytes <= CFG.bundle_bytes_max
    assert 1 <= limits.files <= CFG.bundle_files_max
    assert limits.predicted_s >= 0
    assert min(sizer._model.costs) >= 0
