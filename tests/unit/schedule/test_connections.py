"""Parallel ranges: as many as bring something, found by doubling."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.schedule.connections import Connections, RangesState, Rate

GB = 10**9


def settle(rate_of: dict[int, float], *, latency_s: float, largest: int = 16, files: int = 12) -> list[int]:
    connections, picked = Connections(largest, RangesState()), []
    for _ in range(files):
        count = connections.pick(GB, latency_s=latency_s)
        picked.append(count)
        connections.observe(count, moved_bytes=GB, seconds=GB / rate_of[count])
    return picked


def test_a_near_server_that_one_connection_fills_keeps_one() -> None:
    picked = settle({1: 500e6, 2: 490e6, 4: 480e6}, latency_s=0.0005)
    assert picked[0] == 1
    assert picked[-1] == 1
    assert picked.count(2) == 1  # tried once


def test_a_lossy_path_climbs_as_long_as_more_bring_more() -> None:
    picked = settle({n: min(0.8e6 * n, 12e6) for n in (1, 2, 4, 8, 16)}, latency_s=0.08)
    assert picked[0] == 8
    assert picked[-1] == 16


def test_a_clean_far_path_comes_down_to_the_fewest_that_are_as_good() -> None:
    picked = settle({1: 23e6, 2: 22.8e6, 4: 22.5e6, 8: 21.3e6, 16: 20e6}, latency_s=0.08)
    assert picked[-1] == 1


def test_an_unknown_latency_begins_in_the_middle() -> None:
    assert Connections(16, RangesState()).pick(GB, latency_s=None) == 4


def test_a_small_file_is_not_cut_into_many_pieces() -> None:
    assert Connections(16, RangesState()).pick(70 << 20, latency_s=0.1) == 8
    assert Connections(16, RangesState()).pick(8 << 20, latency_s=0.1) == 2
    assert Connections(16, RangesState()).pick(1, latency_s=0.1) == 1


def test_no_more_than_allowed() -> None:
    assert max(settle({n: n * 1e6 for n in (1, 2, 4)}, latency_s=0.1, largest=6)) == 4


def test_what_was_known_is_looked_at_again_after_long() -> None:
    state = RangesState()
    connections = Connections(16, state)
    for count, bps in ((1, 10e6), (2, 10e6)):
        connections.observe(count, moved_bytes=GB, seconds=GB / bps)
    assert connections.pick(GB, latency_s=0.05) == 1
    for _ in range(80):
        connections.observe(1, moved_bytes=GB, seconds=GB / 10e6)
    assert connections.pick(GB, latency_s=0.05) == 2


@pytest.mark.parametrize(
    ("connections", "moved", "seconds"), [(0, 1, 1.0), (1, 0, 1.0), (1, 1, 0.0), (1, 1, -1.0), (1, 1, math.nan)]
)
def test_what_cannot_be_is_ignored(connections: int, moved: int, seconds: float) -> None:
    state = RangesState()
    Connections(16, state).observe(connections, moved_bytes=moved, seconds=seconds)
    assert state == RangesState()


def test_one_outlier_moves_a_rate_only_so_far() -> None:
    connections = Connections(16, RangesState())
    for seconds in (1.0, 1.0, 1e-9):
        connections.observe(1, moved_bytes=10**6, seconds=seconds)
    assert connections.rate_bps(1) == pytest.approx(2.2e6)


def test_the_nearest_known_number_gives_the_rate() -> None:
    connections = Connections(16, RangesState())
    assert connections.rate_bps(4) is None
    connections.observe(8, moved_bytes=8_000_000, seconds=1)
    connections.observe(1, moved_bytes=1_000_000, seconds=1)
    assert connections.rate_bps(16) == 8e6
    assert connections.rate_bps(2) == 1e6


@pytest.mark.parametrize("key", ["", "x", "0", "-1", "²", "99999999999"])
def test_a_damaged_key_is_seen(key: str) -> None:
    assert not RangesState(rates={key: Rate(bps=1.0, at=0)}).is_usable


@pytest.mark.parametrize("bps", [math.nan, math.inf, 0.0, -1.0, 1e300])
def test_a_damaged_rate_is_seen(bps: float) -> None:
    assert not RangesState(rates={"1": Rate(bps=bps, at=0)}).is_usable


@given(
    files=st.lists(st.tuples(st.integers(-1, 10**6), st.integers(0, 10**18), st.floats(allow_nan=True)), max_size=20),
    size=st.integers(0, 10**18),
    latency_s=st.none() | st.floats(0, 100),
)
def test_any_history_gives_a_usable_number(
    files: list[tuple[int, int, float]], size: int, latency_s: float | None
) -> None:
    state = RangesState()
    connections = Connections(16, state)
    for count, moved, seconds in files:
        connections.observe(count, moved_bytes=moved, seconds=seconds)
    assert 1 <= connections.pick(size, latency_s=latency_s) <= 16
    assert state.is_usable
