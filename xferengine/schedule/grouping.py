"""From the wanted files of one experiment to units: all in one zip, a zip by scan or by resource, or singly.

    each resource      → zip or single files, whichever is expected to be faster
    each scan          → one zip if that beats its resources apart
    the experiment     → one zip if that beats the scans and resources apart
    what stays         → now and then by another route than expected to be best, to learn

A zip can't exclude files: it is priced by all it carries, and it brings the big files it carries too.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from enum import StrEnum

import msgspec

from xferengine.schedule.choice import Choice, Need, Route
from xferengine.schedule.routes import RouteModel


class Scope(StrEnum):
    """What one unit brings."""

    EXPERIMENT = "experiment"
    SCAN = "scan"
    RESOURCE = "resource"
    FILE = "file"


class ResourceNeed(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of one resource, and what it holds; also of resources nothing is wanted of, since a zip of their
    scan or experiment carries them."""

    key: Hashable
    scan: str
    """Id of its scan; empty for a resource of the experiment itself or of an assessor."""
    in_all: bool
    """Whether ``files?all=true`` of the experiment carries it; ``in`` resources are not carried."""
    wanted_files: int
    wanted_bytes: int
    total_files: int
    total_bytes: int
    big: tuple[tuple[Hashable, int], ...] = ()
    """Key and size of the wanted files that are large enough for ranges; counted in the wanted ones too."""


class UnitPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One unit, or the single requests of one resource (``route`` GET: the caller makes one unit of each file)."""

    route: Route
    scope: Scope
    keys: tuple[Hashable, ...]
    """Of the resources it brings: all of their wanted files, or all that are not big where ``route`` is GET. Of the
    file where ``scope`` is file."""
    files: int
    bytes: int
    """Wanted; a zip may carry more."""
    predicted_s: float
    why: str
    scan: str = ""
    """The scan, where that is the scope."""
    deflate: bool = False
    is_trial: bool = False


class _Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """Resources that go together, and how."""

    scope: Scope
    resources: tuple[ResourceNeed, ...]
    need: Need
    choice: Choice


def plan_units(experiment: Sequence[ResourceNeed], model: RouteModel) -> list[UnitPlan]:
    """Turn what is wanted of one experiment into units.

    Args:
        experiment: all of its resources, each once.
        model: the server's costs; the choices are counted there.

    Returns:
        Units that bring every wanted file exactly once, the longest first.
    """
    wanted = [resource for resource in experiment if resource.wanted_files > 0]
    others = model.others(len(wanted) - 1)
    apart = [_alone(resource, model, others) for resource in wanted]
    by_scan = _merge_scans(experiment, apart, model)
    merged = _merge_all(experiment, by_scan, apart, model)
    units: list[UnitPlan] = []
    others = model.others(len(merged) - 1)
    for candidate in merged:
        units.extend(_units_of(candidate, model, others))
    return sorted(units, key=lambda unit: (-unit.predicted_s, -unit.bytes))


def _alone(resource: ResourceNeed, model: RouteModel, others: int) -> _Candidate:
    need = _need_of((resource,))
    choice = model.best(need, others=others)
    return _Candidate(scope=Scope.RESOURCE, resources=(resource,), need=need, choice=choice)


def _merge_scans(
    experiment: Sequence[ResourceNeed], apart: Sequence[_Candidate], model: RouteModel
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
        whole = _together(Scope.SCAN, carried[scan], parts, model, len(apart) - len(parts)) if scan else None
        result.extend([whole] if whole else parts)
    return result


def _merge_all(
    experiment: Sequence[ResourceNeed], by_scan: Sequence[_Candidate], apart: Sequence[_Candidate], model: RouteModel
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
