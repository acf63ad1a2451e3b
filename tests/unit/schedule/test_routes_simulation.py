"""The learned choices against the best fixed strategy, on a small virtual server.

Every request waits its latency, then its bytes and its work at the server advance together, as fast as the slowest of:
what one connection carries, its share of the link, its share of the server's cores.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from xferengine.schedule.grouping import ResourceNeed, Scope, UnitPlan, plan_wave
from xferengine.schedule.routes import Route, RouteModel
from xferengine.settings.slices import PoolConfig

CFG = PoolConfig()
WORKERS = 8
MB = 10**6


@dataclass(frozen=True)
class Server:
    link_bps: float
    connection_bps: float
    latency_s: float
    cores: int = 4
    get_cpu_s: float = 0.001
    zip_start_s: float = 0.02
    zip_file_cpu_s: float = 0.0003
    zip_cpu_bps: float = 600e6
    deflate_cpu_bps: float = 17e6
    shrink: float = 0.5
    noise: float = 0.0
    """How much latency and work of a request may be off, as a share."""
    rng: random.Random = field(default_factory=lambda: random.Random(5), compare=False)

    def about(self, seconds: float) -> float:
        return seconds * self.rng.uniform(1 - self.noise, 1 + self.noise) if self.noise else seconds


@dataclass(eq=False, slots=True)
class Request:
    """One request, and what it shares with the others of its unit."""

    unit: Fetch
    files: int
    bytes: int
    wire_bytes: float
    cpu_s: float
    latency_s: float
    left: float = 1.0
    started_at_s: float = 0.0


@dataclass(eq=False, slots=True)
class Fetch:
    """What is observed as one: a request, or the ranges of one file."""

    route: Route
    bytes: int
    open_requests: int = 1
    connections: int = 1
    deflate: bool = False
    started_at_s: float = -1.0


def requests_of(server: Server, unit: UnitPlan, carried: tuple[int, int], connections: int) -> Iterator[Request]:
    if unit.route is Route.ZIP:
        files, size = carried
        rate = server.deflate_cpu_bps if unit.deflate else server.zip_cpu_bps
        wire = size * (server.shrink if unit.deflate else 1.0)
        fetch = Fetch(Route.ZIP, size, deflate=unit.deflate)
        cpu_s = files * server.zip_file_cpu_s + size / rate
        yield Request(
            fetch, files, size, wire, server.about(cpu_s), server.about(server.latency_s + server.zip_start_s)
        )
        return
    count = connections if unit.route is Route.RANGES else unit.files
    fetch = Fetch(unit.route, unit.bytes, open_requests=count, connections=count)
    for _ in range(count):
        own = fetch if unit.route is Route.RANGES else Fetch(Route.GET, unit.bytes // unit.files)
        size = unit.bytes // count
        yield Request(own, 1, size, size, server.about(server.get_cpu_s), server.about(server.latency_s))


@dataclass
class Lane:
    """Runs requests on slots; a virtual clock."""

    server: Server
    on_done: Callable[[Request, float], None]
    queue: deque[Request] = field(default_factory=deque)
    active: list[Request] = field(default_factory=list)
    now_s: float = 0.0
    coming: int = 0
    """Units about to be queued."""

    def load(self) -> int:
        return self.coming + len(self.queue) + len(self.active)

    def step(self) -> None:
        """Fill the slots and go on to the next end of a request or of a latency."""
        while self.queue and len(self.active) < WORKERS:
            request = self.queue.popleft()
            request.started_at_s = self.now_s
            if request.unit.started_at_s < 0:
                request.unit.started_at_s = self.now_s
            self.active.append(request)
        moving = [request for request in self.active if request.latency_s <= 1e-12]
        waiting = [request for request in self.active if request.latency_s > 1e-12]
        speeds = self._speeds(moving)
        ends = [request.left / speed for request, speed in zip(moving, speeds, strict=True)]
        step_s = min(ends + [request.latency_s for request in waiting])
        self.now_s += step_s
        for request in waiting:
            request.latency_s -= step_s
        for request, speed in zip(moving, speeds, strict=True):
            request.left -= speed * step_s
            if request.left <= 1e-9:
                self.active.remove(request)
                self.on_done(request, self.now_s)

    def _speeds(self, moving: list[Request]) -> list[float]:
        if not moving:
            return []
        link_bps = min(self.server.connection_bps, self.server.link_bps / len(moving))
        core = min(1.0, self.server.cores / len(moving))
        return [min(link_bps / max(r.wire_bytes, 1.0), core / max(r.cpu_s, 1e-9)) for r in moving]


Planner = Callable[[list[ResourceNeed]], tuple[list[UnitPlan], list[ResourceNeed]]]


def run(
    server: Server,
    experiments: list[list[ResourceNeed]],
    planner: Planner,
    *,
    model: RouteModel | None = None,
    lane: Lane | None = None,
    connections: Callable[[int], int] = lambda _: 1,
) -> float:
    """Return the seconds for all experiments; each is planned when the lane is about to run dry."""

    def on_done(request: Request, now_s: float) -> None:
        fetch = request.unit
        fetch.open_requests -= 1
        if model is None or fetch.open_requests:
            return
        seconds = now_s - fetch.started_at_s
        if fetch.route is Route.RANGES:
            model.observe_ranges(connections=fetch.connections, bytes=fetch.bytes, seconds=seconds)
            return
        model.observe(
            fetch.route,
            files=request.files,
            bytes=request.bytes,
            seconds=seconds,
            first_byte_s=server.latency_s + (server.zip_start_s if fetch.route is Route.ZIP else 0.0),
            ok=True,
            deflate=fetch.deflate,
            wire_bytes=int(request.wire_bytes),
        )

    lane = lane or Lane(server, on_done)
    lane.server, lane.on_done = server, on_done
    begun_s = lane.now_s
    waiting = deque(experiments)
    while waiting or lane.load():
        while waiting and lane.load() < 2 * WORKERS:
            experiment = waiting.popleft()
            units, rest = planner(experiment)
            if rest:
                waiting.appendleft(rest)
            for number, unit in enumerate(units, start=1):
                lane.coming = len(units) - number
                lane.queue.extend(requests_of(server, unit, carried_by(unit, experiment), connections(unit.bytes)))
        lane.step()
    return lane.now_s - begun_s


def carried_by(unit: UnitPlan, experiment: list[ResourceNeed]) -> tuple[int, int]:
    inside = [
        resource
        for resource in experiment
        if (unit.scope is Scope.EXPERIMENT and resource.in_all)
        or (unit.scope is Scope.SCAN and resource.in_all and resource.scan == unit.scan)
        or (unit.scope is Scope.RESOURCE and resource.key in unit.keys)
    ]
    return sum(r.total_files for r in inside), sum(r.total_bytes for r in inside)


def learned(
    server: Server, experiments: list[list[ResourceNeed]], model: RouteModel | None = None
) -> tuple[float, RouteModel, list[UnitPlan]]:
    lane = Lane(server, lambda _request, _now_s: None)
    state = model.to_state() if model else {}
    model = RouteModel.from_state(CFG, json.loads(json.dumps(state)), workers=lambda: WORKERS, backlog=lane.load)
    plans: list[UnitPlan] = []

    def planner(experiment: list[ResourceNeed]) -> tuple[list[UnitPlan], list[ResourceNeed]]:
        wave = plan_wave(experiment, model, most=2 * WORKERS)
        plans.extend(wave.units)
        return wave.units, wave.rest

    seconds = run(server, experiments, planner, model=model, lane=lane, connections=model.connections_for)
    return seconds, model, plans


def fixed(experiment: list[ResourceNeed], scope: Scope) -> list[UnitPlan]:
    """Always the same route."""
    units: list[UnitPlan] = []
    if scope is Scope.FILE:
        for need in experiment:
            common = {"scope": Scope.RESOURCE, "predicted_s": 0.0, "why": ""}
            small, size = need.wanted_files - len(need.big), need.wanted_bytes - sum(s for _, s in need.big)
            if small:
                units.append(UnitPlan(route=Route.GET, keys=(need.key,), files=small, bytes=size, **common))
            units += [UnitPlan(route=Route.RANGES, keys=(k,), files=1, bytes=s, **common) for k, s in need.big]
        return units

    def group(need: ResourceNeed) -> object:
        return {Scope.EXPERIMENT: "", Scope.SCAN: need.scan, Scope.RESOURCE: need.key}[scope]

    for _, found in itertools.groupby(experiment, key=group):
        needs = list(found)
        units.append(
            UnitPlan(
                route=Route.ZIP,
                scope=scope,
                keys=tuple(need.key for need in needs),
                files=sum(need.wanted_files for need in needs),
                bytes=sum(need.wanted_bytes for need in needs),
                predicted_s=0.0,
                why="",
                scan=needs[0].scan if scope is Scope.SCAN else "",
            )
        )
    return units


def strategies(server: Server, experiments: list[list[ResourceNeed]]) -> dict[str, float]:
    """Return the seconds of every fixed strategy."""
    has_big = any(need.big for experiment in experiments for need in experiment)
    found = {scope.value: run(server, experiments, lambda e, s=scope: (fixed(e, s), [])) for scope in Scope}
    for count in (4, 8) if has_big else ():
        found[f"file, {count} ranges"] = run(
            server, experiments, lambda e: (fixed(e, Scope.FILE), []), connections=lambda _, n=count: n
        )
    return found


@dataclass(frozen=True)
class Load:
    experiments: int
    scans: int
    resources: int
    files: int
    file_bytes: int
    side_files: int = 1
    """Files of one more resource in each scan, as snapshots are."""

    def make(self) -> list[list[ResourceNeed]]:
        return [
            [self._resource(e, s, r) for s in range(self.scans) for r in range(self.resources + bool(self.side_files))]
            for e in range(self.experiments)
        ]

    def _resource(self, experiment: int, scan: int, number: int) -> ResourceNeed:
        files, size = (self.files, self.file_bytes) if number < self.resources else (self.side_files, 30_000)
        key = (experiment, scan, number)
        is_big = size >= CFG.ranges_from_bytes
        return ResourceNeed(
            key=key,
            scan=str(scan),
            in_all=True,
            wanted_files=files,
            wanted_bytes=files * size,
            total_files=files,
            total_bytes=files * size,
            big=tuple(((*key, n), size) for n in range(files)) if is_big else (),
        )


LOADS = {
    "tiny": Load(60, 3, 1, 60, 4_000),
    "200 kB": Load(40, 3, 2, 50, 200_000),
    "200 kB, no single files": Load(24, 3, 2, 50, 200_000, side_files=0),
    "one experiment": Load(1, 20, 2, 100, 200_000),
    "few huge": Load(8, 2, 1, 2, 200 * MB),
}
LINKS = {"LAN": (1e9, 600e6), "WAN": (25e6, 23e6), "lossy WAN": (25e6, 2e6)}
"""Bytes per second of the link and of one connection."""
SLOW_ZIPS = {"zip_cpu_bps": 15e6}
"""A site that deflates what nobody asked to be deflated."""
SLOW_FILES = {"zip_file_cpu_s": 0.02}
GOOD = 1.15


def server_of(link: str, latency_s: float, **more: float) -> Server:
    link_bps, connection_bps = LINKS[link]
    round_trip_s = 0.0003 if link == "LAN" else 0.04
    return Server(link_bps, connection_bps, round_trip_s + latency_s, **more)  # type: ignore[arg-type]


GRID = [
    *itertools.product(("LAN", "WAN"), (0.0, 0.02), LOADS),
    ("lossy WAN", 0.0, "200 kB"),
    ("lossy WAN", 0.0, "few huge"),
]


@pytest.mark.parametrize(("link", "latency_s", "load"), GRID)
def test_an_unknown_server_is_used_nearly_as_well_as_by_the_best_fixed_strategy(
    link: str, latency_s: float, load: str
) -> None:
    server, experiments = server_of(link, latency_s), LOADS[load].make()
    best_s = min(strategies(server, experiments).values())
    cold_s, model, _ = learned(server, experiments)
    assert cold_s <= GOOD * best_s + 0.1  # what the first measurements may cost a job that is over in a moment
    known_s, _, _ = learned(server, experiments, model)
    assert known_s <= GOOD * best_s


@pytest.mark.parametrize("load", ["tiny", "200 kB"])
def test_noise_does_no_harm(load: str) -> None:
    server, experiments = server_of("LAN", 0.02, noise=0.8), LOADS[load].make()
    _, model, _ = learned(server, experiments)
    known_s, _, _ = learned(server, experiments, model)
    assert known_s <= GOOD * min(strategies(server, experiments).values())


@pytest.mark.parametrize(
    ("slow", "load", "latency_s"),
    [
        (SLOW_ZIPS, "tiny", 0.0),
        (SLOW_ZIPS, "200 kB", 0.0),
        (SLOW_ZIPS, "200 kB", 0.02),
        (SLOW_ZIPS, "one experiment", 0.0),
        (SLOW_FILES, "tiny", 0.02),
        (SLOW_FILES, "200 kB", 0.0),
        (SLOW_FILES, "one experiment", 0.02),
    ],
)
def test_slow_zips_are_found_out(slow: dict[str, float], load: str, latency_s: float) -> None:
    server, experiments = server_of("LAN", latency_s, **slow), LOADS[load].make()
    fixed_s = strategies(server, experiments)
    cold_s, model, _ = learned(server, experiments)
    assert cold_s <= GOOD * fixed_s["resource"]  # the first zips have to be waited for
    known_s = []
    for _ in range(3):  # a trial is dear in one short job, and seldom
        seconds, model, _ = learned(server, experiments, model)
        known_s.append(seconds)
    assert sum(known_s) / 3 <= GOOD * min(fixed_s.values())


@pytest.mark.parametrize(("slow", "latency_s"), [(SLOW_ZIPS, 0.0), (SLOW_FILES, 0.02)])
@pytest.mark.parametrize("is_better", [False, True])
def test_a_server_that_changed_is_learned_again(is_better: bool, slow: dict[str, float], latency_s: float) -> None:
    before, after = (slow, {}) if is_better else ({}, slow)
    experiments = LOADS["200 kB"].make()
    _, model, _ = learned(server_of("LAN", latency_s, **before), experiments)
    _, model, _ = learned(server_of("LAN", latency_s, **before), experiments, model)
    server = server_of("LAN", latency_s, **after)
    seconds = []
    for _ in range(5):
        one_s, model, _ = learned(server, experiments, model)
        seconds.append(one_s)
    assert sum(seconds[3:]) / 2 <= GOOD * min(strategies(server, experiments).values())


def test_the_same_model_serves_another_link() -> None:
    experiments = LOADS["200 kB"].make()
    _, model, _ = learned(server_of("LAN", 0.0), experiments)
    server = server_of("WAN", 0.0)
    seconds, _, _ = learned(server, experiments, model)
    assert seconds <= GOOD * min(strategies(server, experiments).values())


def test_a_slow_link_gets_deflated_zips_only_where_they_shrink() -> None:
    experiments = LOADS["200 kB"].make()
    found = {}
    for shrink in (0.5, 1.0):
        server = server_of("WAN", 0.0, shrink=shrink)
        _, model, _ = learned(server, experiments)
        seconds, _, plans = learned(server, experiments, model)
        found[shrink] = sum(plan.deflate for plan in plans) / sum(plan.route is Route.ZIP for plan in plans)
        assert seconds <= (0.7 if shrink == 0.5 else GOOD) * min(strategies(server, experiments).values())
    assert found[0.5] > 0.8
    assert found[1.0] < 0.1


def test_a_fast_link_never_gets_deflated_zips() -> None:
    _, _, plans = learned(server_of("LAN", 0.0), LOADS["200 kB"].make())
    assert not any(plan.deflate for plan in plans)
