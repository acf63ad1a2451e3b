"""The prearchive: rows, builds, listings below a session, moves and deletes (IMP 2, 4)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from xferengine.errors import NotFound, ProtocolViolation
from xferengine.xnat import wire
from xferengine.xnat.paths import RowRef
from xferengine.xnat.transport import Answer, Body, Call, Kind, Request

__all__ = ["PrearcRow", "Prearchive", "ResourceCount", "RowRef"]

_DONE = frozenset({200, 301})


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
    project = cells.get("project", "")
    timestamp, folder = cells.get("timestamp", ""), cells.get("folderName", "")
    if not timestamp or not folder:
        return None
    return PrearcRow(
        ref=RowRef(project or "Unassigned", timestamp, folder),
        project=project,
        name=cells.get("name", "") or folder,
        subject=cells.get("subject", ""),
        tag=cells.get("tag", ""),
        status=cells.get("status", ""),
        source=cells.get("SOURCE", cells.get("source", "")),
        autoarchive=cells.get("autoarchive", ""),
        lastmod=cells.get("lastmod", ""),
        uploaded=cells.get("uploaded", ""),
    )


def _by_url(cells: wire.Row) -> PrearcRow | None:
    """Read a row, taking the reference from ``url`` when it has one: ``timestamp`` may print as a date."""
    row = _row(cells)
    url = cells.get("url", "")
    if not url:
        return row
    ref = RowRef.parse(url)
    if row is not None:
        return msgspec.structs.replace(row, ref=ref)
    return _row({**cells, "timestamp": ref.timestamp, "folderName": ref.folder})


class Prearchive:
    """Prearchive sessions."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def _get(self, *segments: str, query: tuple[tuple[str, str], ...] = (("format", "json"),)) -> Answer:
        return await self._call(Request(method="GET", segments=segments, query=query))

    async def list_rows(self, project: str) -> list[PrearcRow]:
        """Return the rows of a project (data administrators also get Unassigned ones, IMP 4.1)."""
        answer = await self._get("data", "prearchive", "projects", project)
        return [row for cells in wire.table(answer) if (row := _by_url(cells)) is not None]

    async def get_row(self, ref: RowRef) -> PrearcRow | None:
        """Return a row, or None when it is gone: an empty table with 200 (IMP 4.2)."""
        try:
            rows = wire.table(await self._get(*ref.segments))
        except NotFound:
            return None
        found = [row for cells in rows if (row := _by_url(cells)) is not None]
        return next((row for row in found if row.ref == ref), found[0] if len(found) == 1 else None)

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
        """
        answer = await self._post(ref.segments, ("action", "move"), ("newProject", project))
        text = answer.text.strip()
        return RowRef.parse(text) if text else RowRef(project, ref.timestamp, ref.folder)

    async def delete(self, ref: RowRef) -> None:
        """Delete a session; a locked one is silently left (IMP 4.2), so look afterwards."""
        await self._call(Request(method="DELETE", segments=ref.segments, kind=Kind.COMMIT))

    async def rebuild(self, refs: Sequence[RowRef], *, override_lock: bool = False) -> None:
        """Order rebuilds in the background; ``override_lock`` also takes rows whose lock outlived its worker."""
        query = [("src", ref.src) for ref in refs]
        if override_lock:
            query.append(("overrideLock", "true"))
        await self._post(("data", "services", "prearchive", "rebuild"), *query, ("format", "json"))

    async def resources(self, ref: RowRef) -> list[ResourceCount]:
        """Return counts of every resource of every scan and of the session; needs the built XML (IMP 4.3)."""
        rows = wire.table(await self._get(*ref.segments, "resources"))
        if not any(row.get("category") == "scans" for row in rows):
            rows = await self._by_scan(ref)
        return [
            ResourceCount(
                category=row.get("category", ""),
                cat_id=row.get("cat_id", ""),
                label=row.get("label", ""),
                file_count=wire.number(row.get("file_count", "")),
                file_size=wire.number(row.get("file_size", "")),
            )
            for row in rows
        ]

    async def _by_scan(self, ref: RowRef) -> list[wire.Row]:
        """The same, asked scan by scan, for a server whose one listing names no scans."""
        rows: list[wire.Row] = []
        for scan in wire.table(await self._get(*ref.segments, "scans")):
            cells = wire.table(await self._get(*ref.segments, "scans", scan.get("ID", ""), "resources"))
            rows += [{**row, "category": "scans", "cat_id": scan.get("ID", "")} for row in cells]
        return rows

    async def scan_files(self, ref: RowRef, scan: str, resource: str) -> list[tuple[str, int]]:
        """Return (name, bytes) of every file of one resource of one scan (IMP 4.3)."""
        segments = (*ref.segments, "scans", scan, "resources", resource, "files")
        return [
            (entry.name or entry.uri.rsplit("/", 1)[-1], entry.size) for entry in wire.files(await self._get(*segments))
        ]

    async def delete_scan(self, ref: RowRef, scan: str) -> None:
        """Delete one scan with its files (IMP 4.3)."""
        await self._call(Request(method="DELETE", segments=(*ref.segments, "scans", scan), kind=Kind.COMMIT))

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

    async def _post(self, segments: tuple[str, ...], *query: tuple[str, str]) -> Answer:
        return await self._call(Request(method="POST", segments=segments, query=query, kind=Kind.COMMIT, ok=_DONE))
