"""Experiments of the archive: by label, their scans, their catalogs."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import msgspec

from xferengine.errors import NotFound, ProtocolViolation, Rejected
from xferengine.xnat import wire
from xferengine.xnat.transport import Call, Request

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_COLUMNS = "ID,label,project,subject_label,subject_ID,xsiType,date,UID,URI,session_ID"


class ExperimentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a project's experiments."""

    accession: str
    label: str
    project: str
    subject_label: str
    xsi_type: str
    subject_id: str = ""
    date: str = ""
    """``YYYY-MM-DD``; empty where the server has none."""
    session_id: str = ""
    """Of an image assessor: the experiment it belongs to."""
    uid: str = ""
    """StudyInstanceUID, where the server tells."""

    def __repr__(self) -> str:
        return f"ExperimentInfo({self.accession})"

    @property
    def uri(self) -> str:
        """``/data/experiments/ACCESSION``."""
        return f"/data/experiments/{self.accession}"


class CatalogRef(msgspec.Struct, frozen=True, kw_only=True):
    """One resource of one scan."""

    scan: str
    resource: str
    """Label, or the numeric id of an unlabelled one."""
    file_count: int


class Experiments:
    """Archived sessions."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def list_experiments(self, project: str, label: str = "") -> list[ExperimentInfo]:
        """Return the experiments of a project, with ``label`` only that one (if the server filters by it)."""
        query = [("columns", _COLUMNS), ("format", "json")]
        if label:
            query.append(("label", label))
        request = Request(method="GET", segments=("data", "projects", project, "experiments"), query=tuple(query))
        return [info for row in wire.table(await self._call(request)) if (info := _info(row)) is not None]

    async def list_homes(self) -> dict[str, str]:
        """Return accession id → its own project, of all experiments this account sees (FIL 6.1: the site's table lists
        each under its primary project)."""
        query = (("columns", "ID,project"), ("format", "json"))
        request = Request(method="GET", segments=("data", "experiments"), query=query, limit_bytes=1 << 30)
        rows = wire.table(await self._call(request))
        return {found: home for row in rows if (found := wire.cell(row, "ID")) and (home := wire.cell(row, "project"))}

    async def list_subjects(self, project: str) -> list[tuple[str, str]]:
        """Return (accession id, label) of the subjects of a project, shared ones too.

        Raises:
            NotFound, AccessDenied: no such project for this account.
        """
        query = (("columns", "ID,label"), ("format", "json"))
        rows = wire.table(
            await self._call(Request(method="GET", segments=("data", "projects", project, "subjects"), query=query))
        )
        return [(found, wire.cell(row, "label") or found) for row in rows if (found := wire.cell(row, "ID"))]

    async def find(self, project: str, label: str) -> ExperimentInfo | None:
        """Return the experiment of that label (an exact match first, then one that differs in case), or None.

        Looks into the project's table: a GET of an unknown experiment can answer with its parent (FIL 1.1).
        """
        found = await self.list_experiments(project, label)
        alike = [info for info in found if info.label.casefold() == label.casefold()]
        return next((info for info in alike if info.label == label), alike[0] if alike else None)

    async def catalog_refs(self, accession: str) -> list[CatalogRef]:
        """Return every resource of every scan of an experiment.

        Raises:
            NotFound: no such experiment for this account.
        """
        request = Request(
            method="GET",
            segments=("data", "experiments", accession, "resources"),
            query=(("all", "true"), ("format", "json")),
        )
        refs: list[CatalogRef] = []
        for row in wire.table(await self._call(request)):
            scan, label = wire.cell(row, "cat_id"), wire.cell(row, "label")
            if wire.cell(row, "category").lower() not in {"scan", "scans"} or not scan:
                continue
            # Digits mean a resource id and odd characters are not decoded (FIL 1.1, 9.3): the id then.
            name = label if _PLAIN.match(label) else wire.cell(row, "xnat_abstractresource_id") or label
            refs.append(CatalogRef(scan=scan, resource=name, file_count=wire.number(wire.cell(row, "file_count"))))
        return refs

    async def iter_catalog(self, accession: str, ref: CatalogRef) -> AsyncIterator[list[wire.CatalogEntry]]:
        """Yield the entries of one resource in lists.

        The catalog document carries SOP Instance UIDs (IMP 7). Where it cannot be had, the files listing stands in;
        it has names and digests only.
        """
        base = ("data", "experiments", accession, "scans", ref.scan, "resources", ref.resource)
        try:
            entries = wire.catalog(await self._call(Request(method="GET", segments=base, query=(("format", "xml"),))))
        except (NotFound, Rejected, ProtocolViolation):
            entries = await self._listing(base)
        for piece in wire.chunked(entries):
            yield piece

    async def _listing(self, base: tuple[str, ...]) -> list[wire.CatalogEntry]:
        request = Request(method="GET", segments=(*base, "files"), query=(("format", "json"),))
        return [
            wire.CatalogEntry(name=entry.name, uid="", digest=entry.digest)
            for entry in wire.files(await self._call(request))
        ]


def _info(row: wire.Row) -> ExperimentInfo | None:
    accession, label = wire.cell(row, "ID"), wire.cell(row, "label")
    if not accession or not label:
        return None
    return ExperimentInfo(
        accession=accession,
        label=label,
        project=wire.cell(row, "project"),
        subject_label=wire.cell(row, "subject_label"),
        xsi_type=wire.cell(row, "xsiType"),
        subject_id=wire.cell(row, "subject_ID", "subject_id"),
        date=wire.cell(row, "date"),
        session_id=wire.cell(row, "session_ID", "session_id"),
        uid=wire.cell(row, "UID"),
    )
