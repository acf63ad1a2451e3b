"""The prearchive: rows, builds, listings below a session, moves and deletes (IMP 2, 4)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from xferengine.errors import Ambiguous, NotFound, ProtocolViolation
from xferengine.xnat import wire
from xferengine.xnat.faults import SessionLocked
from xferengine.xnat.paths import RowRef
from xferengine.xnat.transport import Answer, Body, Call, Kind, Request

__all__ = ["PrearcRow", "Prearchive", "ResourceCount", "RowRef"]

UNASSIGNED = "Unassigned"
"""Where the server files what belongs to no project it knows (IMP 1.6); its rows may show no project at all."""
_DELETED = frozenset({200, 204})
_MOVED = frozenset({200, 301})


class PrearcRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a prearchive listing (columns of IMP 4.1, those a client needs)."""

    ref: RowRef
    project: str
    name: str
    subject: str
    tag: str
    """StudyInstanceUID."""
    status: str
    source: str
    autoarchive: str
    lastmod: str
    uploaded: str

    def __repr__(self) -> str:
        return f"PrearcRow({self.project}, {self.tag}, {self.status})"

    @property
    def is_locked(self) -> bool:
        """States that begin with ``_`` (IMP 2.2)."""
        return self.status.startswith("_")


class ResourceCount(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``/resources``: a resource of a scan or of the session."""

    category: str
    cat_id: str
    label: str
    file_count: int
    file_size: int


def _row(cells: wire.Row) -> PrearcRow | None:
    """Read a row; None for one that cannot be addressed: another sender's odd name must not hide the rest.

    The reference comes from ``url`` where there is one: ``timestamp`` may print as a date, ``project`` may be empty.
    """
    project = wire.cell(cells, "project")
    try:
        ref = RowRef.parse(wire.cell(cells, "url"))
    except ProtocolViolation:
        try:
            ref = RowRef(
                project or UNASSIGNED, wire.cell(cells, "timestamp"), wire.cell(cells, "folderName", "folder_name")
            )
        except ProtocolViolation:
            return None
    if not project and ref.project != UNASSIGNED:
        project = ref.project
    return PrearcRow(
        ref=ref,
        project=project,
        name=wire.cell(cells, "name") or ref.folder,
        subject=wire.cell(cells, "subject"),
        tag=wire.cell(cells, "tag"),
        status=wire.cell(cells, "status").strip(),
        source=wire.cell(cells, "SOURCE"),
        autoarchive=wire.cell(cells, "autoarchive"),
        lastmod=wire.cell(cells, "lastmod"),
        uploaded=wire.cell(cells, "uploaded"),
    )


def _rows(answer: Answer) -> list[PrearcRow]:
    return [row for cells in wire.table(answer) if (row := _row(cells)) is not None]


class Prearchive:
    """Prearchive sessions."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def _get(self, *segments: str, query: tuple[tuple[str, str], ...] = (("format", "json"),)) -> Answer:
        return await self._call(Request(method="GET", segments=segments, query=query))

    async def list_rows(self, project: str) -> list[PrearcRow]:
        """Return the rows of a project (data administrators also get Unassigned ones, IMP 4.1)."""
        return _rows(await self._get("data", "prearchive", "projects", project))

    async def get_row(self, ref: RowRef) -> PrearcRow | None:
        """Return a row, or None when it is gone: an empty table with 200 (IMP 4.2)."""
        try:
            found = _rows(await self._get(*ref.segments))
        except NotFound:
            return None
        exact = [row for row in found if row.ref == ref]
        alike = [row for row in found if row.ref.folder == ref.folder and row.ref.project == ref.project]
        return next(iter(exact), alike[0] if len(found) == 1 and alike else None)

    async def build(self, ref: RowRef) -> None:
        """Build the session's XML, and wait for it (IMP 4.2 ``action=build``; commit would archive).

        Raises:
            SessionLocked: 409 ``session document locked``.
            Ambiguous: 500, 502, 504 or no answer: look at the row.
        """
        await self._post(ref.segments, ("action", "build"))

    async def move(self, ref: RowRef, project: str) -> RowRef:
        """Move a session to another project and return where it is now.

        Raises:
            SessionLocked: nothing was moved (a locked row answers 200 with an empty body, IMP 4.2).
            Ambiguous: the answer names no place in that project.
        """
        answer = await self._post(ref.segments, ("action", "move"), ("newProject", project), ok=_MOVED)
        text = answer.text.strip() or answer.headers.get("location", "")
        if not text and answer.status == 200:
            raise SessionLocked("not moved: the session is being worked on by the server")
        try:
            return RowRef.parse(text)
        except ProtocolViolation as error:
            raise Ambiguous("the server does not say where the session was moved to") from error

    async def delete(self, ref: RowRef) -> None:
        """Delete a session; a locked one is silently left (IMP 4.2), so look afterwards."""
        await self._call(Request(method="DELETE", segments=ref.segments, kind=Kind.COMMIT, ok=_DELETED))

    async def rebuild(self, refs: Sequence[RowRef], *, override_lock: bool = False) -> None:
        """Order rebuilds in the background; ``override_lock`` also takes rows whose lock outlived its worker."""
        query = [("src", ref.src) for ref in refs]
        if override_lock:
            query.append(("overrideLock", "true"))
        await self._post(("data", "services", "prearchive", "rebuild"), *query, ("format", "json"))

    async def resources(self, ref: RowRef) -> list[ResourceCount]:
        """Return counts of every resource of every scan and of the session; needs the built XML (IMP 4.3)."""
        rows = wire.table(await self._get(*ref.segments, "resources"))
        if not any(_is_of_scan(row) for row in rows):
            rows = await self._by_scan(ref)
        return [
            ResourceCount(
                category="scans" if _is_of_scan(row) else wire.cell(row, "category"),
                cat_id=wire.cell(row, "cat_id"),
                label=wire.cell(row, "label"),
                file_count=wire.number(wire.cell(row, "file_count")),
                file_size=wire.number(wire.cell(row, "file_size")),
            )
            for row in rows
        ]

    async def _by_scan(self, ref: RowRef) -> list[wire.Row]:
        """The same, asked scan by scan, for a server whose one listing names no scans."""
        rows: list[wire.Row] = []
        for scan in wire.table(await self._get(*ref.segments, "scans")):
            scan_id = wire.cell(scan, "ID")
            if scan_id:
                cells = wire.table(await self._get(*ref.segments, "scans", scan_id, "resources"))
                rows += [{**row, "category": "scans", "cat_id": scan_id} for row in cells]
        return rows

    async def scan_files(self, ref: RowRef, scan: str, resource: str) -> list[tuple[str, int]]:
        """Return (name, bytes) of every file of one resource of one scan (IMP 4.3)."""
        segments = (*ref.segments, "scans", scan, "resources", resource, "files")
        entries = wire.files(await self._get(*segments))
        return [((entry.name or entry.uri).rsplit("/", 1)[-1], entry.size) for entry in entries]

    async def delete_scan(self, ref: RowRef, scan: str) -> None:
        """Delete one scan with its files (IMP 4.3)."""
        segments = (*ref.segments, "scans", scan)
        await self._call(Request(method="DELETE", segments=segments, kind=Kind.COMMIT, ok=_DELETED))

    async def last_log(self, ref: RowRef) -> str:
        """Return the last log entry (untrusted; may hold labels), empty when there is none."""
        try:
            return (await self._get(*ref.segments, "logs", "last", query=())).text
        except (NotFound, ProtocolViolation):
            return ""

    async def put_file(self, ref: RowRef, resource: str, name: str, body: Body) -> None:
        """Add a non-DICOM file to a resource of the session (IMP 4.3)."""
        segments = (*ref.segments, "resources", resource, "files", name)
        await self._call(
            Request(method="PUT", segments=segments, query=(("inbody", "true"),), body=body, kind=Kind.COMMIT)
        )

    async def _post(
        self, segments: tuple[str, ...], *query: tuple[str, str], ok: frozenset[int] = frozenset({200})
    ) -> Answer:
        return await self._call(Request(method="POST", segments=segments, query=query, kind=Kind.COMMIT, ok=ok))


def _is_of_scan(row: wire.Row) -> bool:
    return wire.cell(row, "category").lower() in {"scan", "scans"} and wire.cell(row, "cat_id") != ""
