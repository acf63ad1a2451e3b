"""Table listings of projects, subjects, experiments, scans and assessors (FIL 6.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from xferengine.emulator import rows
from xferengine.emulator.http import HttpError, Query, Request, Response
from xferengine.emulator.places import PROJECT, SESSIONS, SUBJECTS, find_subject, locate, readable_project
from xferengine.emulator.records import Experiment, Project, User
from xferengine.emulator.router import Route
from xferengine.emulator.rows import Row
from xferengine.emulator.site import Site, table_response
from xferengine.emulator.tables import Table

_NOT_FILTERS = rows.words(
    "format columns sortBy sortOrder limit offset accessible owner member collaborator admin favorite recent users "
    "data prearc_code activeSince requested_screen req_format XNAT_CSRF media charset encoding language method"
)
_RANGED = ("date", "insert_date", "last_modified")
_ACCESS = rows.words("accessible owner member collaborator admin favorite recent activeSince users data prearc_code")


class Listings:
    """Handlers of the list resources."""

    def __init__(self, site: Site) -> None:
        self._world = site.world

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        found: list[Route] = [
            ("GET", "/projects", self.projects),
            ("GET", PROJECT + "/subjects", self.subjects),
            ("GET", "/subjects", self.subjects),
            ("GET", PROJECT + "/experiments", self.experiments),
            ("GET", SUBJECTS[0] + "/experiments", self.experiments),
            ("GET", SUBJECTS[1] + "/experiments", self.experiments),
            ("GET", "/experiments", self.experiments),
        ]
        for base in SESSIONS:
            found.append(("GET", base + "/scans", self.scans))
            found.append(("GET", base + "/assessors", self.assessors))
            found.append(("GET", base + "/reconstructions", self.reconstructions))
        return [*found, ("GET", "/search/elements", self.elements), ("GET", "/search/elements/{type}", self.fields)]

    async def projects(self, request: Request) -> Response:
        """List the projects the user may read, or those the access parameters select."""
        query = request.query
        selects = any(query.has(name) for name in _ACCESS)
        wanted = [p for p in self._world.projects.values() if self._selected(p, request.user, query)]
        if selects:
            columns: tuple[str, ...] = rows.ACCESSIBLE_COLUMNS
            wanted.sort(key=lambda project: project.secondary_id)
        else:
            columns = rows.PROJECT_COLUMNS
        found = [rows.project_row(p, request.user.project_roles.get(p.id, "")) for p in wanted]
        return self._respond(request, found, columns, pages=False)

    def _selected(self, project: Project, user: User, query: Query) -> bool:
        if not self._world.can_read(user, project.id):
            return False
        role = user.project_roles.get(project.id, "")
        if query.get("data") == "writable" and not self._world.can_edit(user, project.id):
            return False
        wanted = [name for name in ("owner", "member", "collaborator") if query.flag(name)]
        return not wanted or role in wanted

    async def subjects(self, request: Request) -> Response:
        """List subjects of a project, or of all readable projects."""
        name = request.vars.get("P")
        if name is None:
            readable = [s for s in self._world.subjects.values() if self._world.can_read(request.user, s.project)]
            found = [rows.subject_row(s, s.project) for s in readable]
        else:
            project = self._listed_project(request.user, name, "subjects")
            found = [rows.subject_row(s, project.id) for s in self._world.subjects_of(project.id)]
        return self._respond(request, found, rows.SUBJECT_COLUMNS)

    async def experiments(self, request: Request) -> Response:
        """List experiments of the site, a project or a subject."""
        columns = rows.EXPERIMENT_COLUMNS
        name = request.vars.get("P")
        if "S" in request.vars:
            project = readable_project(self._world, request.user, name) if name else None
            subject = find_subject(self._world, request.user, request.vars["S"], project)
            if subject is None:
                raise HttpError(404, "Unable to identify subject.")
            where = project.id if project is not None else subject.project
            chosen: Iterable[Experiment] = self._world.experiments_of(where, subject.id)
            found = [self._experiment_row(e, where) for e in chosen if not e.session_id]
        elif name is not None:
            project = self._listed_project(request.user, name, "experiments")
            found = [self._experiment_row(e, project.id) for e in self._world.experiments_of(project.id)]
        else:
            readable = [e for e in self._world.experiments.values() if self._world.can_read(request.user, e.project)]
            found = [self._experiment_row(e, e.project) for e in readable]
            if _is_subject_assessor(request.query.get("xsiType")):
                columns = (*columns, "subject_ID", "subject_label")
        return self._respond(request, found, columns)

    def _experiment_row(self, experiment: Experiment, project: str) -> Row:
        subject = self._world.subjects.get(experiment.subject_id)
        return rows.experiment_row(experiment, subject, self._world.experiments.get(experiment.session_id), project)

    def _listed_project(self, user: User, name: str, what: str) -> Project:
        """Find the project of a listing: unknown is 404, unreadable 403, other than elsewhere (FIL 6.1)."""
        project = self._world.project(name)
        if project is None:
            raise HttpError(404, f"Unable to identify project {name}")
        if not self._world.can_read(user, project.id):
            raise HttpError(403, f"Unable to read {what} for Project: {name}")
        return project

    def _session(self, request: Request) -> Experiment:
        place = locate(self._world, request)
        if place.experiment is None:
            raise HttpError(404, "Unable to find the specified experiment.")
        return place.experiment

    async def scans(self, request: Request) -> Response:
        """List the scans of a session."""
        session = self._session(request)
        found = [rows.scan_row(scan, session) for scan in session.scans.values()]
        return self._respond(request, found, rows.SCAN_COLUMNS, pages=False, identity="xnat_imagescandata_id")

    async def assessors(self, request: Request) -> Response:
        """List the assessors of a session."""
        session = self._session(request)
        found = [self._experiment_row(a, session.project) for a in self._world.assessors_of(session.id)]
        return self._respond(request, found, rows.ASSESSOR_COLUMNS, pages=False)

    async def reconstructions(self, request: Request) -> Response:
        """List the reconstructions of a session."""
        session = self._session(request)
        found = [rows.reconstruction_row(image, session) for image in session.reconstructions.values()]
        return self._respond(request, found, rows.RECON_COLUMNS, pages=False)

    async def elements(self, request: Request) -> Response:
        """List the types that can be searched, with counts (peers 3.1, 3.6)."""
        counts: dict[str, int] = {"xnat:projectData": len(self._world.projects)}
        counts["xnat:subjectData"] = len(self._world.subjects)
        for experiment in self._world.experiments.values():
            counts[experiment.xsi_type] = counts.get(experiment.xsi_type, 0) + 1
        found = [
            {"ELEMENT_NAME": name, "SINGULAR": name, "PLURAL": name, "SECURED": "true", "COUNT": str(count)}
            for name, count in counts.items()
        ]
        return table_response(request, Table(columns=tuple(found[0]), rows=found))

    async def fields(self, request: Request) -> Response:
        """List the search fields of a type; none are defined here."""
        columns = ("FIELD_ID", "HEADER", "SUMMARY", "TYPE", "REQUIRES_VALUE", "DESC", "ELEMENT_NAME", "SRC")
        return table_response(request, Table(columns=columns, rows=()))

    def _respond(
        self,
        request: Request,
        found: list[Row],
        default: tuple[str, ...],
        *,
        pages: bool = True,
        identity: str = "",
    ) -> Response:
        query = request.query
        for name, value in query.pairs:
            if value is not None and name not in _NOT_FILTERS:
                found = _filtered(found, name, value)
        is_paged = pages and (query.has("limit") or query.has("offset"))
        if is_paged:
            found = _page(found, query)
        columns, keys = _columns(query.get("columns"), default, identity)
        cut = [{key: row.get(column, "") for column, key in zip(columns, keys, strict=True)} for row in found]
        return table_response(request, Table(columns=keys, rows=cut, total=not is_paged))


def _is_subject_assessor(xsi_type: str) -> bool:
    return xsi_type.endswith("SessionData") or xsi_type == "xnat:subjectAssessorData"


def _columns(wanted: str, default: tuple[str, ...], identity: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return row fields and the keys they are shown under; unknown aliases are dropped silently (FIL 6.1)."""
    names: dict[str, str] = {}
    for part in wanted.split(",") if wanted else ("DEFAULT",):
        if part == "DEFAULT":
            names.update((column, column) for column in default)
            continue
        field = rows.field_of(part)
        if field is not None:
            names[field] = rows.PATH_KEYS.get(part.lower(), part.lower()) if ":" in part else field
    if identity:
        names.setdefault(identity, identity)
    names.setdefault("URI", "URI")
    return tuple(names), tuple(names.values())


def _filtered(found: list[Row], name: str, value: str) -> list[Row]:
    field = rows.field_of(name)
    if field is None:
        return found
    if field == "xsiType":
        return [row for row in found if rows.is_type(row.get("xsiType", ""), value)]
    accepts = _ranged(value) if field in _RANGED else _like(value)
    return [row for row in found if accepts(row.get(field, ""))]


def _like(value: str) -> Callable[[str], bool]:
    if "*" not in value and "%" not in value:
        return lambda cell: cell == value
    pattern = re.compile(".*".join(re.escape(part) for part in re.split(r"[*%]", value)), re.DOTALL)
    return lambda cell: pattern.fullmatch(cell) is not None


def _ranged(value: str) -> Callable[[str], bool]:
    """Accept a value, a comma list, or a range of dates given as `mm/dd/yyyy` or `yyyy-mm-dd` (FIL 6.1)."""
    spans: list[tuple[str, str]] = []
    for part in value.split(","):
        dates = re.findall(r"\d{1,2}/\d{1,2}/\d{4}|\d{4}-\d\d-\d\d(?: [\d:.]+)?", part) or [part]
        spans.append((_iso(dates[0]), _iso(dates[-1])))
    return lambda cell: any(low <= cell and cell[: len(high)] <= high for low, high in spans)


def _iso(date: str) -> str:
    month, slash, rest = date.partition("/")
    if not slash:
        return date
    day, _, year = rest.partition("/")
    return f"{year}-{month:0>2}-{day:0>2}"


def _page(found: Sequence[Row], query: Query) -> list[Row]:
    """Cut a page; a missing offset is 0, a missing limit 100, `*` is no limit, no number is a 500 (FIL 6.1)."""
    limit, offset = query.get("limit", "100"), query.get("offset", "0")
    if "*" in (limit, offset):
        return list(found)
    try:
        start, count = int(offset), int(limit)
    except ValueError:
        raise HttpError(500) from None
    if start < 0 or count < 0:
        raise HttpError(500)
    return list(found[start : start + count])
