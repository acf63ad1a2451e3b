"""Units of one experiment: every wanted file once, one zip where that is best, big files singly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from xferengine.schedule.grouping import ResourceNeed, Scope, UnitPlan, plan_units, plan_wave
from xferengine.schedule.routes import Route, RouteModel
from xferengine.settings.slices import PoolConfig

CFG = PoolConfig()
MB = 10**6
BIG = 200 * MB


def resource(
    key: str, files: int, each: int, *, scan: str = "", in_all: bool = True, present: int = 0, big: int = 0
) -> ResourceNeed:
    return ResourceNeed(
        key=key,
        scan=scan,
        in_all=in_all,
        wanted_files=files + big,
        wanted_bytes=files * each + big * BIG,
        total_files=files + big + present,
        total_bytes=(files + present) * each + big * BIG,
        big=tuple((f"{key}/{n}", BIG) for n in range(big)),
    )


def known_model(*, start_s: float = 0.1, per_file: float = 0.002, get_s: float = 0.02, backlog: int = 50) -> RouteModel:
    """A server of 20 MB/s for each slot."""
    model = RouteModel(CFG, workers=lambda: 8, backlog=lambda: backlog)
    for n in range(1, 31):
        files, size = 10 * n, (n % 7 + 1) * 2 * MB
        zip_s = start_s + per_file * files + 0.05 * size / MB
        model.observe(Route.ZIP, files=files, bytes=size, seconds=zip_s, first_byte_s=start_s, ok=True)
        one = n * 20_000
        model.observe(Route.GET, files=1, bytes=one, seconds=get_s + 0.05 * one / MB, first_byte_s=get_s, ok=True)
    return model


def brought(units: Sequence[UnitPlan], needs: Sequence[ResourceNeed]) -> Counter[object]:
    """Count how often each resource's small files, and each big file, come."""
    by_key = {need.key: need for need in needs}
    count: Counter[object] = Counter()
    for unit in units:
        for key in unit.keys:
            count[key] += 1
            if unit.route is Route.ZIP:
                count.update(file for file, _ in by_key[key].big)
    return count


def expected(needs: Sequence[ResourceNeed]) -> Counter[object]:
    count: Counter[object] = Counter()
    for need in needs:
        count.update(file for file, _ in need.big)
        if need.wanted_files > len(need.big):
            count[need.key] += 1
    return count


def scans(count: int, files: int, each: int) -> list[ResourceNeed]:
    needs = []
    for scan in range(count):
        needs.append(resource(f"{scan}/DICOM", files, each, scan=str(scan)))
        needs.append(resource(f"{scan}/SNAPSHOTS", 2, 20_000, scan=str(scan)))
    return needs


def test_a_small_experiment_comes_in_one_zip() -> None:
    units = plan_units(scans(4, 10, 20_000), known_model())
    assert [(unit.route, unit.scope) for unit in units] == [(Route.ZIP, Scope.EXPERIMENT)]
    assert units[0].files == 48
    assert units[0].why.startswith("one zip")


def test_a_large_experiment_comes_by_scan() -> None:
    units = plan_units(scans(8, 200, 200_000), known_model(start_s=0.3))
    assert {unit.scope for unit in units} == {Scope.SCAN}
    assert sorted(unit.scan for unit in units) == [str(n) for n in range(8)]


def test_an_idle_lane_gets_scans_apart() -> None:
    units = plan_units(scans(8, 20, 100_000), known_model(per_file=0.01, get_s=0.1, backlog=0))
    assert Scope.EXPERIMENT not in {unit.scope for unit in units}


def test_what_all_true_does_not_carry_stays_out_of_the_one_zip() -> None:
    needs = [*scans(4, 10, 20_000), resource("in", 30, 20_000, in_all=False)]
    units = plan_units(needs, known_model())
    assert [unit.keys for unit in units if unit.scope is not Scope.EXPERIMENT] == [("in",)]
    assert all("in" not in unit.keys for unit in units if unit.scope is Scope.EXPERIMENT)


def test_a_scan_s_in_resource_stays_out_of_its_zip() -> None:
    needs = [*scans(3, 400, 100_000), resource("0/in", 30, 20_000, scan="0", in_all=False)]
    units = plan_units(needs, known_model())
    assert [unit.keys for unit in units if "0/in" in unit.keys] == [("0/in",)]


def test_what_is_there_already_is_priced_where_a_zip_carries_it() -> None:
    needs = scans(4, 10, 20_000)
    assert plan_units(needs, known_model())[0].scope is Scope.EXPERIMENT
    filled = [*needs, resource("full", 0, 200_000, scan="9", present=2000)]
    assert all(unit.scope is not Scope.EXPERIMENT for unit in plan_units(filled, known_model()))


def test_big_files_come_singly_and_small_ones_beside_them_too() -> None:
    needs = [resource("mix", 5, 20_000, big=2)]
    units = plan_units(needs, known_model())
    assert [(unit.route, unit.scope, unit.keys) for unit in units] == [
        (Route.RANGES, Scope.FILE, ("mix/0",)),
        (Route.RANGES, Scope.FILE, ("mix/1",)),
        (Route.GET, Scope.RESOURCE, ("mix",)),
    ]
    assert [(unit.files, unit.bytes) for unit in units] == [(1, BIG), (1, BIG), (5, 100_000)]


def test_a_zip_brings_the_big_file_it_carries_anyway() -> None:
    needs = [resource("mix", 30_000, 10_000, big=1)]
    units = plan_units(needs, known_model(get_s=0.2, per_file=0.0001))
    assert [(unit.route, unit.keys) for unit in units] == [(Route.ZIP, ("mix",))]
    assert units[0].files == 30_001


def test_the_longest_come_first() -> None:
    needs = [resource(f"r{n}", n * 50, 200_000, in_all=False) for n in (2, 5, 1, 4, 3)]
    predicted = [unit.predicted_s for unit in plan_units(needs, known_model())]
    assert predicted == sorted(predicted, reverse=True)


def test_nothing_wanted_is_no_unit() -> None:
    assert plan_units([], known_model()) == []
    assert plan_units([resource("full", 0, 1, present=10)], known_model()) == []


def test_an_unknown_server_is_asked_singly_first_and_little_at_once() -> None:
    model = RouteModel(CFG, workers=lambda: 4, backlog=lambda: 0)
    wave = plan_wave(scans(10, 40, 100_000), model, most=100)
    routes = [unit.route for unit in wave.units]
    assert routes[0] is Route.GET
    assert routes.count(Route.ZIP) <= 4
    assert wave.rest


def test_without_small_resources_the_smallest_is_the_probe() -> None:
    needs = [resource(f"r{n}", 30 + n, 20_000, scan=str(n)) for n in range(6)]
    units = plan_units(needs, RouteModel(CFG, workers=lambda: 4))
    assert [unit.keys for unit in units if unit.route is Route.GET and unit.is_trial] == [("r0",)]


def test_waves_bring_everything_once() -> None:
    needs, model, units = scans(30, 100, 200_000), known_model(), []
    rest, waves = list(needs), 0
    while rest:
        wave = plan_wave(rest, model, most=8)
        units += wave.units
        rest, waves = wave.rest, waves + 1
    assert waves > 2
    assert brought(units, needs) == expected(needs)


def test_a_scan_that_was_begun_is_priced_by_all_its_zip_carries() -> None:
    needs = [resource("0/a", 400, 200_000, scan="0"), resource("0/b", 20, 20_000, scan="0")]
    needs += [resource("0/c", 20, 20_000, scan="0")]
    model = known_model()
    model.choose_group = lambda *_args, **_kwargs: None  # type: ignore[method-assign]
    wave = plan_wave(needs, model, most=1)
    assert wave.units[0].keys == ("0/a",)
    again = plan_wave(wave.rest, known_model(), most=8)
    assert {unit.scope for unit in again.units} == {Scope.RESOURCE}
    assert again.rest == []


RESOURCES = st.builds(
    resource,
    st.just(""),
    st.integers(0, 300),
    st.sampled_from([10, 4000, 200_000, 5 * MB]),
    scan=st.sampled_from(["", "1", "2", "3"]),
    in_all=st.booleans(),
    present=st.sampled_from([0, 0, 1, 1000]),
    big=st.sampled_from([0, 0, 0, 1, 3]),
)


@given(
    drawn=st.lists(RESOURCES, max_size=12), most=st.integers(1, 20), is_known=st.booleans(), backlog=st.integers(0, 30)
)
def test_every_wanted_file_comes_exactly_once(
    drawn: list[ResourceNeed], most: int, is_known: bool, backlog: int
) -> None:
    needs = []
    for number, need in enumerate(drawn):
        big = tuple((f"{number}/{n}", size) for n, (_, size) in enumerate(need.big))
        needs.append(
            ResourceNeed(
                key=number,
                scan=need.scan,
                in_all=need.in_all,
                wanted_files=need.wanted_files,
                wanted_bytes=need.wanted_bytes,
                total_files=need.total_files,
                total_bytes=need.total_bytes,
                big=big,
            )
        )
    model = known_model(backlog=backlog) if is_known else RouteModel(CFG, workers=lambda: 8, backlog=lambda: backlog)
    rest, units = needs, []
    for _ in range(len(needs) + 1):
        wave = plan_wave(rest, model, most=most)
        units += wave.units
        rest = wave.rest
        if not rest:
            break
    assert not rest
    assert brought(units, needs) == expected(needs)
    assert sum(unit.files for unit in units) == sum(need.wanted_files for need in needs)
    assert sum(unit.bytes for unit in units) == sum(need.wanted_bytes for need in needs)
    outside = {need.key for need in needs if not need.in_all}
    merged = [unit for unit in units if unit.scope in {Scope.EXPERIMENT, Scope.SCAN}]
    assert not any(outside.intersection(unit.keys) for unit in merged)
