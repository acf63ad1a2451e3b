"""The prearchive over REST: listings and one session (IMP 4.1, 4.2, 4.5)."""

from xferengine.emulator.answers import all_parameters, row_table, table_answer, zip_answer
from xferengine.emulator.archive_runs import archive_and_wait, auto_archives
from xferengine.emulator.archiver import ArchiveJob
from xferengine.emulator.build import build_or_409, load_model, save_model
from xferengine.emulator.core import Core, RouteSpec
from xferengine.emulator.http import HttpError, Query, Request, Response
from xferengine.emulator.merge_flags import for_commit
from xferengine.emulator.prearc_access import NO_PERMISSION, SESSION, editable_row, may_edit, may_read, readable_row
from xferengine.emulator.prearc_moves import delete_session, move_session
from xferengine.emulator.prearc_table import STATES, project_key
from xferengine.emulator.records import PrearcRow
from xferengine.emulator.session_xml import session_xml

_NO_DOCUMENT = (
    "The named session exists, but its XNAT session document is not available. "
    "The session is likely invalid or incomplete."
)
_RECENT_DAYS_ROWS = 100


def routes(core: Core) -> list[RouteSpec]:
    """Return the routes of this module."""
    lists, session = PrearchiveLists(core), PrearchiveSession(core)
    return [
        ("GET", r"/prearchive/?", lists.get_all),
        ("PUT", r"/prearchive/?", lists.rescan),
        ("GET", r"/prearchive/experiments/?", lists.get_recent),
        ("GET", r"/prearchive/projects/(?P<project>[^/]+)/?", lists.get_project),
        ("GET", SESSION + r"/logs/?", session.get_logs),
        ("GET", SESSION + r"/logs/(?P<log>[^/]+)", session.get_log),
        ("GET", SESSION + r"/?", session.get),
        ("DELETE", SESSION + r"/?", session.delete),
        ("POST", SESSION + r"/?", session.post),
    ]


class PrearchiveLists:
    """Listings of rows."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def get_all(self, request: Request) -> Response:
        """List what the user may read; `tag` searches by study, for data admins and reviewers only."""
        if request.query.has("tag") and not request.user.is_data_reader:
            raise HttpError(404)
        tag = request.query.get("tag")
        rows = [r for r in self._core.table.all() if may_read(self._core, request.user, r.project)]
        return row_table(request, [row for row in rows if not tag or row.tag == tag])

    async def get_project(self, request: Request) -> Response:
        """List a project, or a comma list of them for data-access users; these also see Unassigned rows."""
        user, text = request.user, request.vars["project"]
        if user.is_data_reader:
            wanted = {project_key(part) for part in text.split(",")} | {""}
        elif may_read(self._core, user, project_key(text)):
            wanted = {project_key(text)}
        else:
            raise HttpError(404)
        tag = request.query.get("tag")
        rows = [r for r in self._core.table.all() if r.project in wanted and (not tag or r.tag == tag)]
        return row_table(request, rows)

    async def get_recent(self, request: Request) -> Response:
        """List recent rows the user may edit."""
        recent = request.query.get("recent")
        if not recent:
            raise HttpError(400, "Missing parameter: recent")
        count = int(recent) if recent.isdecimal() else _RECENT_DAYS_ROWS
        rows = [r for r in self._core.table.all() if may_edit(self._core, request.user, r.project)]
        return row_table(request, rows[::-1][:count])

    async def rescan(self, request: Request) -> Response:
        """Rescan everything; the table here is never out of step, so there is nothing to do."""
        if not request.user.is_data_admin:
            raise HttpError(403)
        return Response()


class PrearchiveSession:
    """One session."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def get(self, request: Request) -> Response:
        """Answer the session document, its row as a table, or a zip of the folder."""
        row = readable_row(self._core, request)
        wanted = request.query.get("format")
        if wanted in ("json", "csv", "html"):
            return row_table(request, [row] if row else [])
        if wanted in ("zip", "application/x-gzip") and row is not None:
            return zip_answer(self._core.folder_of(row), row.folder)
        model = load_model(self._core, row) if row is not None else None
        if row is None or model is None or row.status in ("RECEIVING", "RECEIVING_INTERRUPT"):
            raise HttpError(404, _NO_DOCUMENT)
        return Response(200, session_xml(model, row.url), "text/xml")

    async def get_logs(self, request: Request) -> Response:
        """List the log; any `template` but details gives ids only."""
        logs = self._logs(request)
        columns = ("id", "date", "entry") if request.query.get("template") in ("", "details") else ("id",)
        return table_answer(request, columns, [{"id": str(i), "date": d, "entry": e} for i, d, e in logs])

    async def get_log(self, request: Request) -> Response:
        """Answer one entry; ``last`` is the latest failure."""
        logs = self._logs(request)
        wanted = request.vars["log"]
        for number, _, entry in reversed(logs):
            if wanted in ("last", str(number)):
                return Response.text(entry)
        raise HttpError(404)

    def _logs(self, request: Request) -> list[tuple[int, str, str]]:
        row = readable_row(self._core, request)
        return [] if row is None else self._core.world.store.logs(row.key)

    async def delete(self, request: Request) -> Response:
        """Delete now; 200 also when there is nothing, or it is locked."""
        row = editable_row(self._core, request)
        if row is not None:
            await self._core.run(delete_session, self._core, row, name="delete")
        return Response()

    async def post(self, request: Request) -> Response:
        """Do an action on the session."""
        query = await all_parameters(request)
        row = editable_row(self._core, request)
        actions = {
            "build": self._build,
            "commit": self._commit,
            "move": self._move,
            "reset-status": self._reset_status,
            "set-status": self._set_status,
        }
        action = actions.get(query.get("action"))
        if action is None:
            raise HttpError(400, "Unsupported action")
        if row is None:
            raise HttpError(404, f"{request.path} not found.")
        return await action(request, row, query)

    async def _build(self, request: Request, row: PrearcRow, query: Query) -> Response:
        self._set_fields(row, query)
        await build_or_409(self._core, row)
        return Response.text(f"/data{row.url}", "text/uri-list")

    async def _commit(self, request: Request, row: PrearcRow, query: Query) -> Response:
        """Build, and archive on auto-archive: 301 without Location, the URI is the body (IMP 4.2)."""
        self._set_fields(row, query)
        await build_or_409(self._core, row)
        core = self._core
        asked = query.parsed("AA") or query.parsed("auto-archive")
        if not row.project or not (asked or auto_archives(core, row)):
            return Response.text(f"/data{row.url}", "text/uri-list")
        flags = for_commit(core.world, row, overwrite_files=query.parsed("overwrite_files"))
        listener = query.get("http-session-listener")
        job = ArchiveJob(row, request.user, flags, query, listener)
        if listener:
            core.spawn(archive_and_wait, core, job, name="archive")
            return Response()
        return Response.text(f"/data{await archive_and_wait(core, job)}", status=301)

    def _set_fields(self, row: PrearcRow, query: Query) -> None:
        """Take VISIT, PROTOCOL, TIMEZONE, SOURCE and ``xnat:`` paths (IMP 4.2)."""
        if row.is_locked:
            return
        for name, field in (
            ("VISIT", "visit"),
            ("PROTOCOL", "protocol"),
            ("TIMEZONE", "timezone"),
            ("SOURCE", "source"),
        ):
            if query.get(name):
                setattr(row, field, query.get(name))
        row.fields |= {key: value for key, value in query.pairs if key.startswith("xnat:") and value}
        self._core.world.save(row)

    async def _move(self, request: Request, row: PrearcRow, query: Query) -> Response:
        project = project_key(query.get("newProject"))
        if not may_edit(self._core, request.user, project):
            raise HttpError(403, NO_PERMISSION)
        moved = await self._core.run(move_session, self._core, row, project, name="move")
        return Response.text(f"/data{row.url}", "text/uri-list", 301) if moved else Response()

    async def _reset_status(self, request: Request, row: PrearcRow, query: Query) -> Response:
        """Read the document again: READY with one, RECEIVING without."""
        model = load_model(self._core, row)
        self._core.table.unlock(row, "READY" if model is not None else "RECEIVING")
        if model is not None and query.get("tag"):
            model.uid = query.get("tag")
            save_model(self._core, row, model)
        return Response.text(f"/data{row.url}", "text/uri-list")

    async def _set_status(self, request: Request, row: PrearcRow, query: Query) -> Response:
        status = query.get("status")
        if status.startswith("_") or status not in STATES:
            raise HttpError(400, f"Unknown or forbidden status: {status}")
        self._core.table.set_status(row, status)
        return Response()
