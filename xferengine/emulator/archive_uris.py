"""Archive URIs in parameters: `/archive/experiments/{acc}/scans/{id}/resources/{R}/files/...` (FIL 4.2, FIL 8)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from xferengine.emulator.holders import (
    Holder,
    assessor_holder,
    below,
    experiment_holder,
    reconstruction_holder,
    resources_of,
    subject_holder,
)
from xferengine.emulator.http import HttpError, Request
from xferengine.emulator.places import Place, locate
from xferengine.emulator.records import Experiment, Resource
from xferengine.emulator.resource_rows import match_slot
from xferengine.emulator.world import World

_LEVELS = {
    "projects": "P",
    "subjects": "S",
    "experiments": "E",
    "scans": "N",
    "reconstructions": "C",
    "assessors": "A",
    "resources": "R",
}
_SIDES = ("in", "out")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveUri:
    """A URI taken apart: the variables of its levels, and what follows `files` (None without it)."""

    text: str
    names: dict[str, str] = field(default_factory=dict)
    file: str | None = None


def parse_uri(text: str) -> ArchiveUri:
    """Take a URI apart; `/data` and `/archive` in front are optional.

    Raises:
        HttpError: 400 for anything that is no URI of the archive.
    """
    for prefix in ("/data", "/REST"):
        text = text.removeprefix(prefix)
    parts = text.removeprefix("/archive").strip("/").split("/")
    names: dict[str, str] = {}
    while parts:
        level = parts.pop(0)
        if level == "files" and names:
            return ArchiveUri(text=text, names=names, file="/".join(parts))
        if level in _SIDES and ("A" in names or "C" in names) and "R" not in names:
            continue
        variable = _LEVELS.get(level)
        if variable is None or not parts or not parts[0] or variable in names:
            raise HttpError(400, f"Invalid URI: {text}")
        names[variable] = parts.pop(0)
    return ArchiveUri(text=text, names=names)


def place_of(world: World, request: Request, uri: ArchiveUri) -> Place:
    """Find what a URI names, strictly: nothing falls back to a parent.

    Raises:
        HttpError: 400 when it cannot be located.
    """
    try:
        place = locate(world, replace(request, method="PUT", path=uri.text, vars=dict(uri.names)))
    except HttpError as error:
        raise HttpError(400, f"Unable to locate item: {uri.text}") from error
    if not place.holders:
        raise HttpError(400, f"Unable to locate item: {uri.text}")
    return place


def resources_at(world: World, place: Place, uri: ArchiveUri) -> list[Resource]:
    """Return the resource a URI names, or every one below the item it names.

    Raises:
        HttpError: 400 for a resource that does not exist.
    """
    slot = uri.names.get("R")
    if slot is None:
        return [resource for _, resource in resources_of(world, _everything_below(world, place, uri))]
    found = match_slot(resources_of(world, place.holders), slot, reads=False)
    if not found:
        raise HttpError(400, f"Unable to locate resource: {uri.text}")
    return [resource for _, resource in found]


def _everything_below(world: World, place: Place, uri: ArchiveUri) -> list[Holder]:
    holders = list(place.holders)
    if any(level in uri.names for level in ("N", "C", "A")):
        return holders
    if place.experiment is not None:
        return holders + _below_session(world, place.experiment)
    if place.subject is not None:
        sessions = world.experiments_of(place.subject.project, place.subject.id)
    elif place.project is not None:
        sessions = world.experiments_of(place.project.id)
        holders += [subject_holder(subject) for subject in world.subjects_of(place.project.id)]
    else:
        sessions = []
    for session in sessions:
        if not session.session_id:
            holders += [experiment_holder(world, session), *_below_session(world, session)]
    return holders


def _below_session(world: World, session: Experiment) -> list[Holder]:
    """Return what lies below a session, the `in` sides too."""
    inputs = [reconstruction_holder(world, session, image, "in") for image in session.reconstructions.values()]
    inputs += [assessor_holder(world, session, assessor, "in") for assessor in world.assessors_of(session.id)]
    return below(world, session) + inputs
