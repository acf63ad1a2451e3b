"""POST /data/services/archive and /validate-archive (IMP 3.1, 3.2)."""

from xferengine.emulator.answers import all_parameters, row_table, table_answer
from xferengine.emulator.archive_runs import archive_and_wait, auto_archives
from xferengine.emulator.archiver import ArchiveJob, archive, find_destination
from xferengine.emulator.build import load_model
from xferengine.emulator.conflicts import (
    ArchiveRefused,
    Finding,
    file_findings,
    plan_scans,
    session_findings,
)
from xferengine.emulator.core import Core, RouteSpec
from xferengine.emulator.http import HttpError, Query, Request, Response
from xferengine.emulator.merge_flags import MergeFlags, for_many_archives, for_single_archive
from xferengine.emulator.prearc_access import NO_PERMISSION, may_edit, parse_source
from xferengine.emulator.prearc_table import project_key
from xferengine.emulator.records import UNASSIGNED, PrearcRow, User
from xferengine.emulator.tables import XML

_LISTENED = "/app/template/XDATScreen_prearchives.vm"


def routes(core: Core) -> list[RouteSpec]:
    """Return the routes of this module."""
    service = ArchiveService(core)
    return [
        ("POST", r"/services/archive/?", service.archive),
        ("POST", r"/services/validate-archive/?", service.validate),
    ]


class ArchiveService:
    """Archives sessions of the prearchive."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def archive(self, request: Request) -> Response:
        """Archive one session while the client waits, or several behind it."""
        query = await all_parameters(request)
        if query.has("dest"):
            raise HttpError(500)  # a parsed URI that cannot travel to the queue (IMP 3.1)
        rows = self._rows(request.user, query)
        if len(rows) == 1:
            return await self._archive_one(request, rows[0], query)
        flags = for_many_archives(query.get("overwrite"), overwrite_files=query.parsed("overwrite_files"))
        for row in rows:
            self._core.table.set_status(row, "QUEUED_ARCHIVING")
        self._core.spawn(self._archive_all, rows, request.user, flags, query, name="archive-many")
        return row_table(request, rows, default=XML)

    async def _archive_one(self, request: Request, row: PrearcRow, query: Query) -> Response:
        core = self._core
        flags = for_single_archive(core.world, row, query.get("overwrite"))
        listener = query.get("http-session-listener")
        job = ArchiveJob(row, request.user, flags, query, listener)
        redirect = query.parsed("redirect") or query.parsed("AA") or auto_archives(core, row)
        core.table.set_status(row, "ARCHIVING")
        if listener:
            core.tracker.start(listener, request.user.name)
            core.spawn(archive, core, job, name="archive")
            return Response(303, headers={"Location": core.settings.site_url + _LISTENED})
        uri = f"/data{await archive_and_wait(core, job)}"
        if redirect:
            return Response(303, headers={"Location": core.settings.site_url + uri})
        return Response.text(f"{uri}\r\n", "text/uri-list")

    async def _archive_all(self, rows: list[PrearcRow], user: User, flags: MergeFlags, query: Query) -> None:
        for row in rows:
            self._core.tracker.start(row.key, user.name)
            try:
                await archive(self._core, ArchiveJob(row, user, flags, query))
            except ArchiveRefused:
                continue  # the row and its log tell why

    async def validate(self, request: Request) -> Response:
        """Tell what speaks against archiving, without changing anything."""
        query = await all_parameters(request)
        row = self._rows(request.user, query)[0]
        findings = self._findings(row, query)
        cells = [{"code": str(n), "type": f.kind, "message": f.message} for n, f in enumerate(findings, 1)]
        return table_answer(request, ("code", "type", "message"), cells, default=XML)

    def _findings(self, row: PrearcRow, query: Query) -> list[Finding]:
        core = self._core
        model = load_model(core, row)
        if model is None:
            return [Finding(400, "The session document is not available.")]
        try:
            to = find_destination(core, row, model, query)
        except ArchiveRefused as error:
            return [Finding(error.status, error.message)]
        plan, renumbering = plan_scans(model, to.existing, core.world)
        found = session_findings(core.world, core.settings, model, to.existing, to.subject)
        return found + renumbering + file_findings(plan, core.settings, core.world)

    # -- addressing ---------------------------------------------------------------------------------------------

    def _rows(self, user: User, query: Query) -> list[PrearcRow]:
        """Find the sessions a request names, each allowed, unlocked and present (IMP 3.2)."""
        named = [_source(src) for src in query.all("src")]
        folders = zip(query.all("PREARC_TIMESTAMP"), query.all("PREARC_SESSION_FOLDER"), strict=False)
        named += [(query.get("project") or UNASSIGNED, timestamp, folder) for timestamp, folder in folders]
        if not named:
            raise HttpError(404, "Unknown prearchive session.")
        return [self._row(user, *address) for address in named]

    def _row(self, user: User, project: str, timestamp: str, folder: str) -> PrearcRow:
        if project == UNASSIGNED:
            raise HttpError(400, "Cannot archive sessions from the Unassigned folder.")
        if not may_edit(self._core, user, project_key(project)):
            raise HttpError(403, NO_PERMISSION)
        row = self._core.table.get(project, timestamp, folder)
        if row is None or not self._core.folder_of(row).is_dir():
            raise HttpError(404, f"/prearchive/projects/{project}/{timestamp}/{folder} not found.")
        if row.is_locked:
            raise HttpError(403, "Operation already in progress on this prearchive entry.")
        return row


def _source(src: str) -> tuple[str, str, str]:
    try:
        return parse_source(src)
    except ValueError:
        raise HttpError(400, f"Invalid src URI ({src})") from None
