"""From the wanted files of one experiment to units: all in one zip, a zip by scan or by resource, or singly.

    each resource      → zip or single files, whichever is expected to be faster
    each scan          → one zip if that beats its resources apart
    the experiment     → one zip if that beats the scans and resources apart
    what stays         → now and then by another route than expected to be best, to learn

A zip can't exclude files: it is priced by all it carries, and it brings the big files it carries too. What several
resources share is no zip when most of it was fetched before, or is being fetched: bytes are not the server's only cost,
and moving them twice is what a resumed job promises not to do.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Sequence

import msgspec

from xferengine.schedule.choice import Choice, Need, Route
from xferengine.schedule.routes import RouteModel
from xferengine.schedule.unitplan import ResourceNeed, Scope, UnitPlan, Wave

__all__ = ["ResourceNeed", "Scope", "UnitPlan", "Wave", "plan_units", "plan_wave"]

_PROBE_FILES = 64
_PROBE_SHARE = 0.25
"""A resource that comes singly only to learn has at most so many files, and this share of the experiment's."""
_IN_VAIN_BYTES = 1 << 20
"""A zip of several resources carries at most so much that nobody wants of it, or as much as is wanted."""


class _Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """Resources that go together, and how."""

    scope: Scope
    resources: tuple[ResourceNeed, ...]
    need: Need
    choice: Choice


def plan_units(experiment: Sequence[ResourceNeed], model: RouteModel) -> list[UnitPlan]:
    """Turn all that is wanted of one experiment into units.

    Args:
        experiment: all of its resources, each once.
        model: the server's costs; the choices are counted there.

    Returns:
        Units that bring every wanted file exactly once, the longest first.
    """
    return plan_wave(experiment, model, most=sys.maxsize).units


def plan_wave(experiment: Sequence[ResourceNeed], model: RouteModel, *, most: int) -> Wave:
    """Turn a part of what is wanted of one experiment into units; the rest is planned by what they will have taught.

    Args:
        experiment: all of its resources, each once, or the rest of the last wave.
        model: the server's costs; the choices are counted there.
        most: zips, or resources that come singly, to plan now: about two for each slot.

    Returns:
        Units that bring every file of some resources exactly once, and the rest.
    """
    wanted = [resource for resource in experiment if resource.wanted_files > 0]
    others = model.others(len(wanted) - 1)
    apart = _with_probe([_alone(resource, model, others) for resource in wanted], model, others)
    probed = _probed_scans(apart, model)
    merged = _merge_scans(experiment, apart, model, probed)
    if not probed:
        merged = _merge_all(experiment, merged, model)
    others = model.others(len(merged) - 1)
    most = max(most, 1)
    is_known = model.is_known or most == sys.maxsize
    if is_known:
        merged.sort(key=lambda part: -part.choice.predicted_s)
    else:
        # what teaches soonest goes first, and no more than the slots can take: the rest is planned by it
        merged.sort(key=lambda part: (part.choice.route is Route.ZIP, part.choice.predicted_s))
        most = min(most, max(model.free_slots(), 1) + sum(part.choice.route is not Route.ZIP for part in merged))
    units: list[UnitPlan] = []
    for candidate in merged[:most]:
        units.extend(_units_of(candidate, model, others))
    if is_known:
        units.sort(key=lambda unit: (-unit.predicted_s, -unit.bytes))
    planned = {resource.key for candidate in merged[:most] for resource in candidate.resources}
    rest = [_without(resource) if resource.key in planned else resource for resource in experiment]
    return Wave(units=units, rest=rest if len(merged) > most else [])


def _without(resource: ResourceNeed) -> ResourceNeed:
    """Return the resource with nothing wanted of it; a zip of its scan would still carry it."""
    return msgspec.structs.replace(resource, wanted_files=0, wanted_bytes=0, big=())


def _alone(resource: ResourceNeed, model: RouteModel, others: int) -> _Candidate:
    need = _need_of((resource,))
    choice = model.best(need, others=others)
    return _Candidate(scope=Scope.RESOURCE, resources=(resource,), need=need, choice=choice)


def _merge_scans(
    experiment: Sequence[ResourceNeed], apart: Sequence[_Candidate], model: RouteModel, probed: frozenset[str]
) -> list[_Candidate]:
    """Put the resources of a scan together where one zip beats them apart."""
    carried: dict[str, list[ResourceNeed]] = {}
    wanted: dict[str, list[_Candidate]] = {}
    for resource in experiment:
        carried.setdefault(_scan_of(resource), []).append(resource)
    for candidate in apart:
        wanted.setdefault(_scan_of(candidate.resources[0]), []).append(candidate)
    result: list[_Candidate] = []
    for scan, parts in wanted.items():
        may_merge = scan and scan not in probed
        whole = _together(Scope.SCAN, carried[scan], parts, model, len(apart) - len(parts)) if may_merge else None
        result.extend([whole] if whole else parts)
    return result


def _with_probe(apart: list[_Candidate], model: RouteModel, others: int) -> list[_Candidate]:
    """Let the smallest resource come singly where nothing else would show what single requests cost."""
    if not model.singles_to_probe() or any(part.choice.route is not Route.ZIP for part in apart):
        return apart
    files = sum(part.need.files for part in apart)
    smallest = min(range(len(apart)), key=lambda index: apart[index].need.files, default=0)
    if not apart or apart[smallest].need.files > min(_PROBE_FILES, files * _PROBE_SHARE):
        return apart
    part = apart[smallest]
    choice = msgspec.structs.replace(model.singly(part.need, others=others), is_trial=True)
    return [*apart[:smallest], msgspec.structs.replace(part, choice=choice), *apart[smallest + 1 :]]


def _probed_scans(apart: Sequence[_Candidate], model: RouteModel) -> frozenset[str]:
    """Return scans to leave apart since their few single files are the cheapest way to learn what single requests
    cost: without that, nothing would ever show that a slow zip is slow."""
    scans: set[str] = set()
    missing = model.singles_to_probe()
    for part in apart:
        if missing > 0 and part.choice.route is Route.GET:
            scans.add(_scan_of(part.resources[0]))
            missing -= part.need.files
            model.on_probes(part.need.files)
    return frozenset(scans)


def _merge_all(
    experiment: Sequence[ResourceNeed], by_scan: Sequence[_Candidate], model: RouteModel
) -> list[_Candidate]:
    """Put everything that ``all=true`` carries together where that beats the best so far."""
    inside = [part for part in by_scan if all(resource.in_all for resource in part.resources)]
    outside = [part for part in by_scan if not all(resource.in_all for resource in part.resources)]
    carried = [resource for resource in experiment if resource.in_all]
    whole = _together(Scope.EXPERIMENT, carried, inside, model, len(outside))
    return [whole, *outside] if whole else list(by_scan)


def _together(
    scope: Scope, carried: Sequence[ResourceNeed], parts: Sequence[_Candidate], model: RouteModel, siblings: int
) -> _Candidate | None:
    if len(parts) < 2:
        return None
    need = _need_of(carried)
    if need.zip_bytes - need.bytes > max(need.bytes, _IN_VAIN_BYTES):
        return None
    choice = model.choose_group([part.choice for part in parts], need, others=model.others(siblings))
    if choice is None:
        return None
    resources = tuple(resource for part in parts for resource in part.resources)
    return _Candidate(scope=scope, resources=resources, need=need, choice=choice)


def _scan_of(resource: ResourceNeed) -> str:
    """Return the scan whose zip carries the resource."""
    return resource.scan if resource.in_all else ""


def _need_of(carried: Iterable[ResourceNeed]) -> Need:
    resources = tuple(carried)
    big = tuple(size for resource in resources for _, size in resource.big)
    return Need(
        files=sum(resource.wanted_files for resource in resources),
        bytes=sum(resource.wanted_bytes for resource in resources),
        zip_files=sum(resource.total_files for resource in resources),
        zip_bytes=sum(resource.total_bytes for resource in resources),
        largest=max(big, default=0),
        big=big,
    )


def _units_of(candidate: _Candidate, model: RouteModel, others: int) -> list[UnitPlan]:
    choice = model.reconsider(candidate.choice, candidate.need, others=others)
    if choice.route is Route.ZIP:
        return [_zip_unit(candidate, choice)]
    units: list[UnitPlan] = []
    for resource in candidate.resources:
        units.extend(_single_units(resource, choice, model, others))
    return units


def _zip_unit(candidate: _Candidate, choice: Choice) -> UnitPlan:
    return UnitPlan(
        route=Route.ZIP,
        scope=candidate.scope,
        keys=tuple(resource.key for resource in candidate.resources),
        files=candidate.need.files,
        bytes=candidate.need.bytes,
        predicted_s=choice.predicted_s,
        why=choice.why,
        scan=candidate.resources[0].scan if candidate.scope is Scope.SCAN else "",
        deflate=choice.deflate,
        is_trial=choice.is_trial,
    )


def _single_units(resource: ResourceNeed, choice: Choice, model: RouteModel, others: int) -> list[UnitPlan]:
    units: list[UnitPlan] = []
    for key, size in resource.big:
        need = Need(files=1, bytes=size, zip_files=0, zip_bytes=0, largest=size, big=(size,))
        alone = model.best(need, others=others)
        units.append(_single_unit(Scope.FILE, key, need, alone, why=alone.why, is_trial=False))
    small_files = resource.wanted_files - len(resource.big)
    if small_files > 0:
        small_bytes = resource.wanted_bytes - sum(size for _, size in resource.big)
        need = Need(files=small_files, bytes=small_bytes, zip_files=0, zip_bytes=0, largest=0)
        alone = model.best(need, others=others)
        unit = _single_unit(Scope.RESOURCE, resource.key, need, alone, why=choice.why, is_trial=choice.is_trial)
        units.append(unit)
    return units


def _single_unit(scope: Scope, key: Hashable, need: Need, choice: Choice, *, why: str, is_trial: bool) -> UnitPlan:
    return UnitPlan(
        route=choice.route,
        scope=scope,
        keys=(key,),
        files=need.files,
        bytes=need.bytes,
        predicted_s=choice.predicted_s,
        why=why,
        is_trial=is_trial,
    )
