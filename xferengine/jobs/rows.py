"""Looking at the prearchive: whose row is it, and where does it stand."""

from __future__ import annotations

from enum import StrEnum

from xferengine.jobs.engine import Engine
from xferengine.manifest.rows import StudyRow
from xferengine.xnat.prearchive import PrearcRow, RowRef


class Stage(StrEnum):
    """Row states, by what they mean for a client (IMP 2.2)."""

    RECEIVING = "receiving"
    BUSY = "busy"
    READY = "ready"
    CONFLICT = "conflict"
    ERROR = "error"


def stage_of(row: PrearcRow) -> Stage:
    """Return what a row's status means; unknown words count as busy."""
    status = row.status.upper()
    if status in {"READY", "CONFLICT", "ERROR"}:
        return Stage(status.lower())
    if status in {"RECEIVING", "RECEIVING_INTERRUPT"}:
        return Stage.RECEIVING
    return Stage.BUSY


async def study_rows(engine: Engine, study: StudyRow) -> list[PrearcRow]:
    """Return the rows that carry the study's UID, or its label in its project; ours first."""
    listing = await engine.rows.rows(study.project)
    found = [
        row
        for row in listing
        if row.project == study.project
        and (row.tag == study.study_uid or row.name.casefold() == study.session.casefold())
    ]
    return sorted(found, key=lambda row: (row.source != engine.source, row.tag != study.study_uid))


async def find_row(engine: Engine, study: StudyRow) -> PrearcRow | None:
    """Return the study's row under its label, ours if there is one; None when nothing is there."""
    rows = [row for row in await study_rows(engine, study) if row.tag in {study.study_uid, ""}]
    return rows[0] if rows else None


def row_ref(study: StudyRow) -> RowRef:
    """Return the reference of the row that the manifest keeps for a study."""
    return RowRef.parse(study.row_uri)


async def row_status(engine: Engine, ref: RowRef) -> PrearcRow | None:
    """Ask for one row; None when it is gone (an empty table with 200, IMP 4.2)."""
    async with engine.lanes.listing.slot():
        return await engine.client.prearchive.get_row(ref)
