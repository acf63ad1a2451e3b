"""The route model: sensible before it knows anything, learns, remembers, and survives bad data."""

from __future__ import annotations

import json
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.schedule.routes import Choice, Need, Route, RouteModel
from xferengine.settings.slices import PoolConfig

CFG = PoolConfig()
MB = 10**6


def need(files: int, each: int, *, present: int = 0) -> Need:
    total = files + present
    return Need(files=files, bytes=files * each, zip_files=total, zip_bytes=total * each, largest=each)


def model_of(backlog: int | None = None, *, state: dict[str, object] | None = None) -> RouteModel:
    get_backlog = None if backlog is None else lambda: backlog
    return RouteModel.from_state(CFG, state or {}, workers=lambda: 8, backlog=get_backlog)


def teach_zips(
    model: RouteModel, *, start_s: float, per_mb: float, per_file: float, count: int = 20, deflate: bool = False
) -> None:
    for n in range(1, count + 1):
        files, size = 10 * n, 3 * n * n * MB // 2
        seconds = start_s + per_mb * size / MB + per_file * files
        model.observe(
            Route.ZIP,
            files=files,
            bytes=size,
            seconds=seconds,
            first_byte_s=start_s,
            ok=True,
            deflate=deflate,
            wire_bytes=size // 2 if deflate else size,
        )


def teach_gets(model: RouteModel, *, start_s: float, per_mb: float, count: int = 60) -> None:
    for n in range(1, count + 1):
        size = n * 50_000
        seconds = start_s + per_mb * size / MB
        model.observe(Route.GET, files=1, bytes=size, seconds=seconds, first_byte_s=start_s, ok=True)


def test_an_unknown_server_is_asked_for_a_zip() -> None:
    choice = model_of().choose(need(40, 200_000))
    assert (choice.route, choice.deflate) == (Route.ZIP, False)
    assert "zip of 40 files" in choice.why
    assert "40 single files" in choice.why


def test_one_file_is_never_zipped() -> None:
    assert model_of().choose(need(1, 200_000)).route is Route.GET
    assert model_of().choose(need(1, CFG.ranges_from_bytes)).route is Route.RANGES
    assert model_of().choose(need(1, CFG.ranges_from_bytes - 1)).route is Route.GET


def test_prices_follow_what_was_measured() -> None:
    model = model_of()
    teach_zips(model, start_s=0.3, per_mb=0.05, per_file=0.002)
    teach_gets(model, start_s=0.02, per_mb=0.05)
    choice = model.best(need(100, 200_000))
    assert choice.route is Route.ZIP
    assert choice.predicted_s == pytest.approx(0.3 + 1.0 + 0.2, rel=0.1)
    assert model.best(need(4, 200_000)).route is Route.GET
    assert model.best(need(4, 200_000)).predicted_s == pytest.approx(4 * 0.03, rel=0.1)


def test_zips_that_carry_mostly_what_is_there_already_lose() -> None:
    model = model_of()
    teach_zips(model, start_s=0.1, per_mb=0.05, per_file=0.002)
    teach_gets(model, start_s=0.02, per_mb=0.05)
    assert model.best(need(40, 200_000)).route is Route.ZIP
    assert model.best(need(40, 200_000, present=400)).route is Route.GET


def test_an_idle_lane_prefers_requests_side_by_side() -> None:
    for backlog, route in ((0, Route.GET), (50, Route.ZIP)):
        model = model_of(backlog)
        teach_zips(model, start_s=0.1, per_mb=0.05, per_file=0.002)
        teach_gets(model, start_s=0.02, per_mb=0.05)
        assert model.best(need(40, 200_000)).route is route


def test_a_zip_of_mostly_big_files_is_none() -> None:
    big = (200 * MB, 200 * MB)
    wanted = Need(files=42, bytes=401 * MB, zip_files=42, zip_bytes=401 * MB, largest=200 * MB, big=big)
    assert model_of().choose(wanted).route is Route.GET
    alone = Need(files=2, bytes=400 * MB, zip_files=2, zip_bytes=400 * MB, largest=200 * MB, big=big)
    assert model_of().choose(alone).route is Route.RANGES


def test_broken_zips_make_units_smaller_and_in_a_row_end_them() -> None:
    model = model_of()
    teach_zips(model, start_s=0.3, per_mb=0.01, per_file=0.0005)
    teach_gets(model, start_s=0.02, per_mb=0.01)
    before = model.unit_bytes(Route.ZIP)
    assert model.best(need(100, 200_000)).route is Route.ZIP
    for _ in range(3):
        model.observe(Route.ZIP, files=1, bytes=20 * MB, seconds=1, first_byte_s=0, ok=False)
    assert model.unit_bytes(Route.ZIP) < before
    assert model.best(need(100, 200_000)).route is Route.GET


def test_broken_zips_are_forgiven_after_long() -> None:
    model = model_of()
    teach_zips(model, start_s=0.3, per_mb=0.01, per_file=0.0005)
    teach_gets(model, start_s=0.02, per_mb=0.01)
    for _ in range(8):
        model.observe(Route.ZIP, files=1, bytes=20 * MB, seconds=1, first_byte_s=0, ok=False)
    choices = [model.choose(need(100, 200_000)).route for _ in range(250)]
    assert Route.ZIP not in choices[:50]
    assert Route.ZIP in choices


def test_another_route_is_tried_seldom_and_only_if_it_can_be_afforded() -> None:
    model = model_of()
    teach_gets(model, start_s=0.001, per_mb=0.01)
    teach_zips(model, start_s=0.1, per_mb=0.2, per_file=0.01)
    spare_s = model.to_state()["spare_s"]
    choices = [model.choose(need(20, 200_000)) for _ in range(400)]
    trials = [choice for choice in choices if choice.is_trial]
    assert trials
    cost_s = sum(trial.slot_s - model.best(need(20, 200_000)).slot_s for trial in trials)
    assert cost_s == pytest.approx(spare_s - model.to_state()["spare_s"])
    assert cost_s <= spare_s
    assert all(choice.why.startswith("trial: get") for choice in trials)


def test_routes_of_nearly_the_same_price_share_the_work() -> None:
    model = model_of()
    for _ in range(20):
        model.observe(Route.ZIP, files=100, bytes=20 * MB, seconds=3.0, first_byte_s=0.1, ok=True)
    teach_gets(model, start_s=0.02, per_mb=0.05)
    routes = [model.choose(need(100, 200_000)).route for _ in range(100)]
    assert 20 <= routes.count(Route.GET) <= 80


def test_deflate_needs_a_slow_link_and_a_payload_seen_to_shrink() -> None:
    slow = model_of()
    teach_zips(slow, start_s=0.1, per_mb=2.0, per_file=0.0)
    assert not slow.best(need(100, 200_000)).deflate
    assert any(slow.choose(need(100, 200_000)).deflate for _ in range(10))  # one trial
    teach_zips(slow, start_s=0.1, per_mb=1.0, per_file=0.0, deflate=True)
    assert slow.best(need(100, 200_000)).deflate
    fast = model_of(state=slow.to_state())
    teach_zips(fast, start_s=0.1, per_mb=0.01, per_file=0.0, count=60)
    assert not fast.best(need(100, 200_000)).deflate


def test_one_zip_for_several_saves_requests_unless_slots_stay_idle_or_it_is_too_large() -> None:
    parts = [need(20, 20_000) for _ in range(6)]
    whole = need(120, 20_000)
    for backlog, is_merged in ((50, True), (0, False)):
        model = model_of(backlog)
        teach_zips(model, start_s=0.1, per_mb=0.01, per_file=0.02)
        teach_gets(model, start_s=0.1, per_mb=0.01)
        choices = [model.best(part, others=backlog + 5) for part in parts]
        assert (model.choose_group(choices, whole) is not None) is is_merged
    model = model_of(50)
    huge = need(1000, MB)
    assert model.choose_group([model.best(huge)] * 2, need(2000, MB)) is None


def test_unit_bytes_are_bounded() -> None:
    model = model_of()
    assert model.unit_bytes(Route.ZIP) == CFG.bundle_bytes
    teach_zips(model, start_s=2.0, per_mb=0.001, per_file=0.0)
    assert model.unit_bytes(Route.ZIP) == CFG.bundle_bytes_max
    slow = model_of()
    teach_zips(slow, start_s=0.1, per_mb=1.0, per_file=0.0)
    assert slow.unit_bytes(Route.ZIP) == pytest.approx(5 * MB, rel=0.1)
    assert model.unit_bytes(Route.GET) == model.unit_bytes(Route.RANGES) == sys.maxsize


def test_connections_are_one_below_the_threshold_and_while_the_lane_is_full() -> None:
    assert model_of(0).connections_for(CFG.ranges_from_bytes - 1) == 1
    assert model_of(0).connections_for(CFG.ranges_from_bytes) == 4
    assert model_of(6).connections_for(10**9) == 2
    assert model_of(30).connections_for(10**9) == 1


def test_ranges_are_learned_where_the_lane_was_theirs() -> None:
    model, crowded = model_of(0), model_of(8)
    for one in (model, crowded):
        for count, bps in ((4, 20e6), (8, 40e6), (16, 40e6)):
            one.observe_ranges(connections=count, bytes=10**9, seconds=10**9 / bps)
    assert model.connections_for(10**9) == 8
    assert crowded.to_state()["ranges"]["rates"] == {}


def test_state_survives_a_round_trip() -> None:
    model = model_of()
    teach_zips(model, start_s=0.3, per_mb=0.05, per_file=0.002)
    teach_gets(model, start_s=0.02, per_mb=0.05)
    model.observe_ranges(connections=4, bytes=10**9, seconds=10)
    state = json.loads(json.dumps(model.to_state()))
    again = model_of(state=state)
    assert again.to_state() == model.to_state()
    assert again.best(need(50, 200_000)) == model.best(need(50, 200_000))


@pytest.mark.parametrize(
    "state",
    [
        {"zip": 3},
        {"zip": {"gram": [[1.0]]}},
        {"zip": {"moment": [math.nan, 0.0, 0.0]}},
        {"get": {"moment": [-1.0, 0.0, 0.0]}},
        {"get": {"count": -1}},
        {"get": {"since": -4}},
        {"get": {"since": 10**30}},
        {"zip": {"first_s": math.inf}},
        {"streak": 99},
        {"spare_s": math.nan},
        {"spare_s": 1e200},
        {"failed": -1.0},
        {"ranges": {"rates": {"x": {"bps": 1.0, "at": 0}}}},
        {"ranges": {"rates": {"4": {"bps": math.nan, "at": 0}}}},
    ],
)
def test_damaged_state_is_no_state(state: dict[str, object]) -> None:
    assert model_of(state=state).to_state() == model_of().to_state()


def test_an_unknown_field_of_a_later_version_is_no_harm() -> None:
    model = model_of()
    teach_zips(model, start_s=0.3, per_mb=0.05, per_file=0.002)
    assert model_of(state={**model.to_state(), "later": 1}).to_state() == model.to_state()


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 1e12])
def test_a_broken_clock_teaches_nothing(seconds: float) -> None:
    model = model_of()
    before = model.to_state()
    model.observe(Route.ZIP, files=10, bytes=MB, seconds=seconds, first_byte_s=0.1, ok=True)
    model.observe(Route.GET, files=1, bytes=MB, seconds=1.0, first_byte_s=seconds, ok=True)
    assert model.to_state() == before


def is_usable(choice: Choice) -> bool:
    return math.isfinite(choice.predicted_s) and choice.predicted_s >= 0 and choice.requests >= 1


@given(
    history=st.lists(
        st.tuples(
            st.sampled_from(Route),
            st.integers(-1, 10**7),
            st.integers(-1, 10**13),
            st.floats(0, 1e7) | st.sampled_from([0.0, math.nan, math.inf]),
            st.floats(0, 1e3),
            st.booleans(),
        ),
        max_size=15,
    ),
    files=st.integers(0, 10**6),
    size=st.integers(0, 10**12),
    others=st.none() | st.integers(0, 10**4),
)
def test_any_history_gives_usable_choices(
    history: list[tuple[Route, int, int, float, float, bool]], files: int, size: int, others: int | None
) -> None:
    model = model_of(3)
    for route, count, moved, seconds, first_s, ok in history:
        model.observe(route, files=count, bytes=moved, seconds=seconds, first_byte_s=first_s, ok=ok)
        model.observe_ranges(connections=count, bytes=moved, seconds=seconds)
    wanted = Need(files=files, bytes=size, zip_files=files, zip_bytes=size, largest=size)
    assert is_usable(model.choose(wanted, others=others))
    assert 1 <= model.unit_bytes(Route.ZIP) <= CFG.bundle_bytes_max
    assert 1 <= model.connections_for(size) <= CFG.connections_max
    state = json.loads(json.dumps(model.to_state()))
    assert model_of(state=state).to_state() == model.to_state()


@given(numbers=st.lists(st.floats(0, 1e50), min_size=12, max_size=12), count=st.integers(0, 10**6))
def test_any_sums_of_a_damaged_state_give_usable_choices(numbers: list[float], count: int) -> None:
    evidence = {"gram": [numbers[0:3], numbers[3:6], numbers[6:9]], "moment": numbers[9:12], "count": count}
    model = model_of(state={"zip": evidence, "get": evidence, "deflated": evidence})
    assert is_usable(model.choose(need(40, 200_000)))
    assert 1 <= model.unit_bytes(Route.ZIP) <= CFG.bundle_bytes_max
