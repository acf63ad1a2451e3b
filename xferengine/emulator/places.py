"""Where a URL of the archive points to: project, subject, experiment, scans or assessors (FIL 1.1).

The quirks are XNAT's: labels only inside a project, a scan slot that takes ID or type, comma lists on GET,
and a GET that silently falls back to the parent when its last element does not exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from xferengine.emulator.holders import (
    Holder,
    assessor_holder,
    below,
    experiment_holder,
    project_holder,
    reconstruction_holder,
    scan_holder,
    subject_holder,
)
from xferengine.emulator.http import HttpError, Request
from xferengine.emulator.records import Experiment, Project, Reconstruction, Scan, Subject, User
from xferengine.emulator.world import World

PROJECT = "/projects/{P}"
SUBJECTS = (PROJECT + "/subjects/{S}", "/subjects/{S}")
SESSIONS = (PROJECT + "/subjects/{S}/experiments/{E}", "/experiments/{E}")
EXPERIMENTS = (*SESSIONS, PROJECT + "/experiments/{E}")
SCANS = tuple(base + "/scans/{N}" for base in SESSIONS)
ASSESSORS = tuple(base + "/assessors/{A}" + side for base in SESSIONS for side in ("", "/in", "/out"))
RECONSTRUCTIONS = tuple(base + "/reconstructions/{C}" + side for base in SESSIONS for side in ("", "/in", "/out"))
_IN_SIDE = re.compile(r"/(assessors|reconstructions)/[^/]+/in(/|$)")
# The form with a label behind a project has resources only; `/files` there is the experiment itself (FIL 1.1).
RESOURCE_BASES = (PROJECT, *SUBJECTS, *EXPERIMENTS, *SCANS, *ASSESSORS, *RECONSTRUCTIONS)
FILE_TAILS = tuple(base + "/resources/{R}/files" for base in RESOURCE_BASES) + tuple(
    base + "/files" for base in RESOURCE_BASES if base not in EXPERIMENTS or base in SESSIONS
)


@dataclass(slots=True, kw_only=True)
class Place:
    """What a URL names. `holders` are what its `/resources` and `/files` tails speak of.

    A GET may name several experiments; `experiment` is the first of them.
    """

    project: Project | None = None
    subject: Subject | None = None
    experiment: Experiment | None = None
    experiments: list[Experiment] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)
    reconstructions: list[Reconstruction] = field(default_factory=list)
    assessors: list[Experiment] = field(default_factory=list)
    holders: list[Holder] = field(default_factory=list)
    uri_prefix: str = ""

    @property
    def project_id(self) -> str:
        """Project whose rights decide: the URL's, else that of the item."""
        if self.experiment is not None:
            return self.experiment.project
        if self.project is not None:
            return self.project.id
        return self.subject.project if self.subject is not None else ""

    @property
    def archive_name(self) -> str:
        """Name of an archive of this place: session label, else that of the owner (FIL 2.1)."""
        if self.experiment is not None:
            return self.experiment.label
        if self.subject is not None:
            return self.subject.label
        return self.project.id if self.project is not None else "files"


def locate(world: World, request: Request, *, all_below: bool = False) -> Place:
    """Resolve the variables P, S, E, N, C, A of a request.

    Raises:
        HttpError: 404 for an unknown or unreadable project; for other elements only when the method is not
            GET or HEAD, since a GET falls back to the level above (FIL 1.1).
    """
    return _Locator(world, request, all_below=all_below).run()


class _Locator:
    """One resolution; keeps what every step needs."""

    def __init__(self, world: World, request: Request, *, all_below: bool) -> None:
        self._world = world
        self._user = request.user
        self._vars = request.vars
        self._path = request.path
        self._reads = request.method in ("GET", "HEAD")
        self._all_below = all_below
        self._place = Place()

    def run(self) -> Place:
        """Resolve the variables from the project down."""
        place, names = self._place, self._vars
        if "P" in names:
            place.project = readable_project(self._world, self._user, names["P"])
        if "S" in names:
            place.subject = find_subject(self._world, self._user, names["S"], place.project)
            if place.subject is None:
                raise HttpError(404, "Unable to identify subject.")
        found = True
        if "E" in names:
            found = self._experiment(names["E"])
        if found and "N" in names:
            found = self._scans(names["N"])
        if found and "C" in names:
            found = self._reconstructions(names["C"])
        if found and "A" in names:
            found = self._assessors(names["A"])
        if place.project is not None and place.subject is not None:
            place.uri_prefix = f"/projects/{place.project.id}/subjects/{place.subject.id}"
        if not place.holders:
            self._upper_holder()
        return place

    def _experiment(self, name: str) -> bool:
        place = self._place
        places = name.split(",") if self._reads else [name]
        for part in places:
            experiment = find_experiment(self._world, self._user, part, place.project, place.subject)
            if experiment is not None:
                place.experiment = place.experiment or experiment
                place.experiments.append(experiment)
                place.holders.append(experiment_holder(self._world, experiment))
                if self._all_below:
                    place.holders += below(self._world, experiment)
        return place.experiment is not None or self._missing("Unable to identify experiment.")

    def _scans(self, name: str) -> bool:
        place = self._place
        found = [(e, scan) for e in place.experiments for scan in match_scans(e, name, reads=self._reads)]
        if not found or (not self._reads and len(found) != 1):
            return self._missing("Unable to identify scan.")
        place.scans = [scan for _, scan in found]
        place.holders = [scan_holder(self._world, experiment, scan) for experiment, scan in found]
        return True

    def _reconstructions(self, name: str) -> bool:
        place, side = self._place, self._side()
        text = unquote(name)
        wanted = text.split(",") if self._reads else [text]
        everything = self._reads and text in ("*", "ALL")
        images = ((e, image) for e in place.experiments for image in e.reconstructions.values())
        found = [(e, image) for e, image in images if everything or image.id in wanted]
        if not found:
            return self._missing("Unable to identify reconstruction.")
        place.reconstructions = [image for _, image in found]
        place.holders = [reconstruction_holder(self._world, e, image, side) for e, image in found]
        return True

    def _side(self) -> str:
        return "in" if _IN_SIDE.search(self._path) else "out"

    def _assessors(self, name: str) -> bool:
        place, side = self._place, self._side()
        wanted = name.split(",") if self._reads else [name]
        everything = self._reads and name in ("*", "ALL")
        known = ((e, a) for e in place.experiments for a in self._world.assessors_of(e.id))
        found = [
            (e, a)
            for e, a in known
            if everything or a.id in wanted or a.label in wanted or (self._reads and a.xsi_type in wanted)
        ]
        if not found:
            return self._missing("Unable to identify experiment.")
        place.assessors = [a for _, a in found]
        place.holders = [assessor_holder(self._world, e, a, side) for e, a in found]
        return True

    def _missing(self, text: str) -> bool:
        """Refuse a write; a read goes on with subject or project, or with nothing (FIL 1.1)."""
        if not self._reads:
            raise HttpError(404, text)
        self._place.holders = []
        return False

    def _upper_holder(self) -> None:
        place = self._place
        if place.subject is not None:
            place.holders = [subject_holder(place.subject)]
        elif place.project is not None:
            place.holders = [project_holder(place.project)]


# -- finding single items -------------------------------------------------------------------------------------------


def readable_project(world: World, user: User, name: str) -> Project:
    """Return a project the user may read.

    Raises:
        HttpError: 404 for an unknown project and for one the user may not read (FIL 1.1).
    """
    project = world.project(name)
    if project is None or not world.can_read(user, project.id):
        raise HttpError(404, "Unable to identify project.")
    return project


def find_subject(world: World, user: User, name: str, project: Project | None) -> Subject | None:
    """Find a subject by label or accession id in a project, by accession id without one."""
    if project is not None:
        return world.subject(project.id, name)
    subject = world.subjects.get(name)
    if subject is None or not any(world.can_read(user, p) for p in (subject.project, *subject.shares)):
        return None
    return subject


def find_experiment(
    world: World, user: User, name: str, project: Project | None, subject: Subject | None = None
) -> Experiment | None:
    """Find an experiment by label or accession id in a project, by accession id without one."""
    if project is not None:
        found = world.find_experiment(project.id, name)
    else:
        found = world.experiment(name)
        if found is not None and not any(world.can_read(user, p) for p in (found.project, *found.shares)):
            return None
    if found is not None and subject is not None and found.subject_id != subject.id:
        return None
    return found


def match_scans(experiment: Experiment, slot: str, *, reads: bool) -> list[Scan]:
    """Match a scan slot: ID or type, decoded; lists, `*` and `ALL` on GET (FIL 1.1)."""
    text = unquote(slot)
    scans = list(experiment.scans.values())
    if reads and text in ("*", "ALL"):
        return scans
    parts = text.split(",") if reads else [text]
    wanted = {part.replace("[SLASH]", "/").replace("[COMMA]", ",") for part in parts}
    if "NULL" in wanted:
        wanted.add("")
    return [scan for scan in scans if scan.id in wanted or scan.type in wanted]
