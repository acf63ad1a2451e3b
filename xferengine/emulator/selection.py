"""What the JSON body of a whole-selection download selects (FIL 2.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from xferengine.emulator.holders import assessor_holder, experiment_holder, scan_holder
from xferengine.emulator.http import HttpError
from xferengine.emulator.records import Experiment, Resource, User
from xferengine.emulator.world import World

_UNSET = ("", "null")
_NOT_KEPT = re.compile(r"[\\/(), ]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionItem:
    """``project:subjectLabel:sessionLabel:sessionAccession``; the labels serve for paths only."""

    project: str
    subject: str
    session: str
    accession: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A request's body; an empty text stands for a `null` member, which means unset."""

    sessions: list[SessionItem]
    scan_types: set[str]
    scan_formats: set[str]
    resources: set[str]
    reconstructions: set[str]
    assessors: set[str]
    options: set[str]

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Selection | None:
        """Read a body; None when it has no sessions or no projects.

        Raises:
            HttpError: 500 for a session that is not of the exact form: client errors surface so (FIL 9.1).
        """
        sessions = _texts(body, "sessions")
        if not sessions or not (_texts(body, "projectId") or _texts(body, "projectIds")):
            return None
        items: list[SessionItem] = []
        for text in sessions:
            parts = text.split(":")
            if len(parts) != 4:
                raise HttpError(500)
            items.append(SessionItem(project=parts[0], subject=parts[1], session=parts[2], accession=parts[3]))
        return cls(
            sessions=items,
            scan_types=set(_texts(body, "scan_types")),
            scan_formats=set(_texts(body, "scan_formats")),
            resources=set(_texts(body, "resources")),
            reconstructions=set(_texts(body, "reconstructions")),
            assessors=set(_texts(body, "assessors")),
            options=set(_texts(body, "options")),
        )


def _texts(body: dict[str, Any], name: str) -> list[str]:
    value = body.get(name) or []
    if not isinstance(value, list):
        raise HttpError(400)
    return ["" if each is None or each in _UNSET else str(each) for each in value]


def entries_of(world: World, user: User, selection: Selection) -> Iterator[tuple[Resource, str, bool]]:
    """Yield resources with their folder in the zip, and whether their sub-folders are kept.

    Raises:
        HttpError: 403 without the right to read any of the sessions, or for one that does not exist.
    """
    sessions: list[tuple[SessionItem, Experiment]] = []
    for item in selection.sessions:
        session = world.experiment(item.accession)
        if session is None or not any(world.can_read(user, p) for p in (session.project, *session.shares)):
            raise HttpError(403)
        sessions.append((item, session))
    if not selection.scan_types or not selection.scan_formats:
        # Both are required, or the whole catalog is empty (FIL 2.2).
        return
    for item, session in sessions:
        if session.scans:
            yield from _of_session(world, selection, item, session)


def _of_session(
    world: World, selection: Selection, item: SessionItem, session: Experiment
) -> Iterator[tuple[Resource, str, bool]]:
    is_simplified = "simplified" in selection.options
    base = _prefix(selection, item) + item.session
    for scan in session.scans.values():
        if scan.type not in selection.scan_types:
            continue
        suffix = "-" + _NOT_KEPT.sub("_", scan.type) if scan.type else ""
        for resource in world.resources_of(scan_holder(world, session, scan).owner):
            if resource.label not in selection.scan_formats:
                continue
            if is_simplified:
                yield resource, f"{base}/{scan.id}/{resource.label}/", True
            else:
                # The disk path is searched for the zip's own folder names: with a type they are never found, and what
                # is left of each file is its base name (FIL 2.2).
                yield resource, f"{base}/scans/{scan.id}{suffix}/resources/{resource.label}/", not suffix
    middle = "/" if is_simplified else "/resources/"
    for resource in world.resources_of(experiment_holder(world, session).owner):
        if resource.label in selection.resources:
            yield resource, f"{base}{middle}{resource.label}/", True
        if resource.label in selection.reconstructions:
            # Taken for labels of the session's resources (FIL 2.2).
            yield resource, f"{item.subject}/{item.session}{middle}{resource.label}/", True
    for assessor in world.assessors_of(session.id):
        if assessor.xsi_type in selection.assessors:
            for resource in world.resources_of(assessor_holder(world, session, assessor, "out").owner):
                yield resource, f"{base}/assessors/{assessor.label}/resources/{resource.label}/", True


def _prefix(selection: Selection, item: SessionItem) -> str:
    if "projectIncludedInPath" in selection.options:
        return f"{item.project}/{item.subject}/"
    return f"{item.subject}/" if "subjectIncludedInPath" in selection.options else ""
