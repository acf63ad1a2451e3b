"""Batch services of the prearchive: move, delete, rebuild; and the project's prearchive code (IMP 4.4, 4.5)."""

from collections.abc import Awaitable, Callable

from xferengine.emulator.answers import all_parameters, row_table
from xferengine.emulator.build import SessionLocked, build
from xferengine.emulator.core import Core, RouteSpec
from xferengine.emulator.http import HttpError, Query, Request, Response
from xferengine.emulator.prearc_access import NO_PERMISSION, may_edit, parse_source
from xferengine.emulator.prearc_moves import delete_session, move_session
from xferengine.emulator.prearc_table import project_key
from xferengine.emulator.records import PrearcRow
from xferengine.emulator.tables import XML

_PROJECT = r"/(?:archive/)?projects/(?P<project>[^/]+)"


def routes(core: Core) -> list[RouteSpec]:
    """Return the routes of this module."""
    batch, code = BatchService(core), PrearchiveCode(core)
    return [
        ("POST", r"/services/prearchive/move/?", batch.move),
        ("POST", r"/services/prearchive/delete/?", batch.delete),
        ("POST", r"/services/prearchive/rebuild/?", batch.rebuild),
        ("GET", _PROJECT + r"/prearchive_code/?", code.get),
        ("PUT", _PROJECT + r"/prearchive_code/(?P<code>[^/]+)/?", code.put),
    ]


class BatchService:
    """Queues work on the named rows and answers their table at once; `async` is never looked at."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def move(self, request: Request) -> Response:
        """Move sessions to `newProject`."""
        query = await all_parameters(request)
        rows = self._rows(request, query)
        target = query.get("newProject")
        if not target:
            raise HttpError(400, "Move operation requires a newProject parameter.")
        if target not in self._core.world.projects:
            raise HttpError(404, f"Unknown project: {target}")
        if not may_edit(self._core, request.user, target):
            raise HttpError(403, NO_PERMISSION)

        async def work(row: PrearcRow) -> None:
            await move_session(self._core, row, target)

        return self._queue(request, rows, "QUEUED_MOVING", work)

    async def delete(self, request: Request) -> Response:
        """Delete sessions."""
        query = await all_parameters(request)

        async def work(row: PrearcRow) -> None:
            await delete_session(self._core, row)

        return self._queue(request, self._rows(request, query), "QUEUED_DELETING", work)

    async def rebuild(self, request: Request) -> Response:
        """Build sessions, never archiving; `overrideLock` frees rows of a dead worker."""
        query = await all_parameters(request)
        override = query.parsed("overrideLock")

        async def work(row: PrearcRow) -> None:
            try:
                await build(self._core, row, override_lock=override)
            except SessionLocked:
                return

        return self._queue(request, self._rows(request, query), "QUEUED_BUILDING", work, override_lock=override)

    def _queue(
        self,
        request: Request,
        rows: list[PrearcRow],
        status: str,
        work: Callable[[PrearcRow], Awaitable[None]],
        *,
        override_lock: bool = False,
    ) -> Response:
        """Locked rows are skipped silently (IMP 4.4)."""
        queued = [row for row in rows if self._core.table.set_status(row, status, override_lock=override_lock)]

        async def work_all() -> None:
            for row in queued:
                await work(row)

        self._core.spawn(work_all, name="prearchive-batch")
        return row_table(request, rows, default=XML)

    def _rows(self, request: Request, query: Query) -> list[PrearcRow]:
        rows: list[PrearcRow] = []
        for src in query.all("src"):
            try:
                project, timestamp, folder = parse_source(src)
            except ValueError:
                text = f"One or more source values contained a malformed URL: {src}"
                raise HttpError(500, text) from None
            if not may_edit(self._core, request.user, project_key(project)):
                raise HttpError(403, NO_PERMISSION)
            row = self._core.table.get(project, timestamp, folder)
            if row is not None:
                rows.append(row)
        return rows


class PrearchiveCode:
    """The project's prearchive code: 0 manual, 4 auto-archive, 5 auto-archive with overwrite."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def get(self, request: Request) -> Response:
        """Answer just the number."""
        project = self._core.world.project(request.vars["project"])
        if project is None or not self._core.world.can_read(request.user, project.id):
            raise HttpError(404)
        return Response.text(str(project.prearchive_code))

    async def put(self, request: Request) -> Response:
        """Set it; ``true`` and ``false`` mean 1 and 0."""
        world = self._core.world
        project = world.project(request.vars["project"])
        if project is None:
            raise HttpError(404)
        if not world.can_edit(request.user, project.id):
            raise HttpError(403)
        text = {"true": "1", "false": "0"}.get(request.vars["code"], request.vars["code"])
        if text not in ("0", "1", "4", "5"):
            raise HttpError(400, f"Invalid prearchive code: {text}")
        if text != "0" and not self._core.settings.allow_auto_archive:
            raise HttpError(403, "Auto-archive is not allowed on this site.")
        project.prearchive_code = int(text)
        world.save(project)
        return Response()
