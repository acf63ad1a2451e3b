"""Direct archive: sessions written straight into the archive become experiments when idle or triggered (IMP 6)."""

import json
import shutil
from contextlib import suppress
from urllib.parse import unquote

import anyio

from xferengine.emulator.archiver import ArchiveJob, catalog_in_place
from xferengine.emulator.build import build, scan_session
from xferengine.emulator.clock import folder_stamp
from xferengine.emulator.conflicts import ArchiveRefused
from xferengine.emulator.core import Core, RouteSpec
from xferengine.emulator.direct_table import LOCATION, DirectSession
from xferengine.emulator.http import HttpError, Query, Request, Response
from xferengine.emulator.merge_flags import MergeFlags
from xferengine.emulator.records import PrearcRow, User

_FLAGS = MergeFlags(override=False, merge=False, replace=False)
_KEY = r"/xapi/direct-archive/(?P<project>[^/]+)/(?P<tag>[^/]+)/(?P<name>[^/]+)/?"


def routes(core: Core) -> list[RouteSpec]:
    """Return the routes of this module."""
    service = DirectArchiveService(core)
    return [
        ("GET", _KEY, service.get),
        ("POST", _KEY, service.trigger),
        ("POST", r"/xapi/direct-archive/?", service.list),
        ("DELETE", r"/xapi/direct-archive/(?P<id>\d+)/?", service.delete),
    ]


async def archive_direct(core: Core, session: DirectSession) -> None:
    """Build and register a session; a failure moves its files to the prearchive (IMP 6)."""
    for status in ("QUEUED_BUILDING", "BUILDING"):
        core.direct.set_status(session, status)
    user = core.world.users.get(session.user) or User(name=session.user)
    try:
        model = await scan_session(core, session.row)
        if model is None:
            raise ArchiveRefused(400, "no DICOM files were found")
        for status in ("QUEUED_ARCHIVING", "ARCHIVING"):
            core.direct.set_status(session, status)
        job = ArchiveJob(session.row, user, _FLAGS, Query())
        await catalog_in_place(core, job, model, lambda: core.direct.remove(session))
    except Exception as error:  # noqa: BLE001  (whatever it was, the data go to the prearchive)
        await _fall_back(core, session, str(error) or repr(error))


async def _fall_back(core: Core, session: DirectSession, reason: str) -> None:
    old = session.row
    source = core.folder_of(old)
    row = PrearcRow(project=old.project, timestamp=folder_stamp(core.world.clock.now()), folder=old.folder,
                    name=old.name, tag=old.tag, subject=old.subject, source=old.source, visit=old.visit,
                    protocol=old.protocol, autoarchive=old.autoarchive, prevent_anon=old.prevent_anon,
                    prevent_auto_commit=old.prevent_auto_commit, status="RECEIVING")  # fmt: skip
    if row.key in core.world.rows:
        row.timestamp += "_DA"
    with core.world.store.transaction():
        core.table.add(row)
        core.direct.remove(session)
    target = core.folder_of(row)
    if source.is_dir():
        target.rmdir()
        source.rename(target)
    core.instances.drop_folder(source)
    core.table.log(row, f"Attempt to direct-archive failed: {reason}")
    await build(core, row)


class DirectArchiveService:
    """REST of direct-archive sessions."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def _find(self, request: Request) -> DirectSession:
        names = (unquote(request.vars[key]) for key in ("project", "tag", "name"))
        session = self._core.direct.find(*names)
        if session is None or not self._core.world.can_read(request.user, session.row.project):
            raise HttpError(404, "Could not find a direct archive session with these parameters")
        return session

    async def get(self, request: Request) -> Response:
        """Answer a session as JSON."""
        return Response.json(_session_data(self._core, self._find(request)))

    async def trigger(self, request: Request) -> Response:
        """Build and archive now; refused while instances are being written."""
        session = self._find(request)
        if not self._core.world.can_edit(request.user, session.row.project):
            raise HttpError(403)
        if self._core.has_lock_file(session.row) or session.status != "RECEIVING":
            raise HttpError(500, "The session is still receiving")
        self._core.direct.set_status(session, "QUEUED_BUILDING")
        self._core.spawn(archive_direct, self._core, session, name="direct-archive")
        return Response()

    async def list(self, request: Request) -> Response:
        """Answer a page of the sessions the user may read."""
        page = {}
        with suppress(ValueError):
            page = json.loads(await request.read() or b"{}")
        size, number = int(page.get("size", 50)), max(int(page.get("page", 1)), 1)
        mine = [s for s in self._core.direct.sessions.values()
                if self._core.world.can_read(request.user, s.row.project)]  # fmt: skip
        shown = mine[(number - 1) * size : number * size]
        return Response.json([_session_data(self._core, session) for session in shown])

    async def delete(self, request: Request) -> Response:
        """Delete a session and its files."""
        session = self._core.direct.sessions.get(int(request.vars["id"]))
        if session is None:
            raise HttpError(404)
        if not self._core.world.can_edit(request.user, session.row.project):
            raise HttpError(403)
        folder = self._core.folder_of(session.row)
        self._core.direct.remove(session)
        self._core.instances.drop_folder(folder)
        await anyio.to_thread.run_sync(_remove, str(folder))
        return Response()


def _remove(folder: str) -> None:

    shutil.rmtree(folder, ignore_errors=True)


def _session_data(core: Core, session: DirectSession) -> dict[str, object]:
    row = session.row
    return {
        "id": session.id,
        "project": row.project,
        "subject": row.subject,
        "name": row.name,
        "folderName": row.folder,
        "tag": row.tag,
        "status": session.status,
        "source": row.source,
        "visit": row.visit,
        "protocol": row.protocol,
        "timeZone": row.timezone,
        "url": str(core.world.data_dir / row.fields[LOCATION]),
        "lastBuiltDate": row.lastmod,
        "externalUrl": session.uri,
        "message": session.message,
    }
