"""Operations on files that are no DICOM instances and go into a resource of their session."""

from __future__ import annotations

import sqlite3

import msgspec

from xferengine.model.dicom import SourceRef

RESERVED = ("_catalog.xml",)
LOCKS = ".~lock-"


class ExtraFile(msgspec.Struct, frozen=True, kw_only=True):
    """One extra file; ``name`` is its path inside the resource."""

    id: int
    source: SourceRef
    name: str


def _file(row: sqlite3.Row) -> ExtraFile:
    source = SourceRef(
        path=row["path"], member=row["member"] or None, offset=row["offset"], size=row["size"],
        mtime_ns=row["mtime_ns"], inode=row["inode"],
    )  # fmt: skip
    return ExtraFile(id=row["id"], source=source, name=row["name"])


def unassigned(con: sqlite3.Connection, after: int, limit: int = 500) -> list[ExtraFile]:
    """Return extra files that nobody looked at yet, by id."""
    rows = con.execute(
        "SELECT * FROM other WHERE id>? AND why IN ('not-dicom','empty') AND state='' ORDER BY id LIMIT ?",
        (after, limit),
    )
    return [_file(row) for row in rows]


def studies_below(con: sqlite3.Connection, folder: str) -> list[int]:
    """Return up to two ids of studies with instances in ``folder`` or below it."""
    prefix = folder.rstrip("/") + "/"
    rows = con.execute(
        "SELECT DISTINCT study_id FROM study_folder WHERE folder=? OR (folder>=? AND folder<?) LIMIT 2",
        (folder, prefix, prefix[:-1] + "0"),
    )
    return [row[0] for row in rows]


def assign(con: sqlite3.Connection, file: ExtraFile, study_id: int | None, name: str) -> None:
    """Give an extra file its session, or say why it has none."""
    taken = (
        study_id is not None
        and con.execute(
            "SELECT 1 FROM other WHERE study_id=? AND name=? AND id!=?", (study_id, name, file.id)
        ).fetchone()
    )
    if study_id is None:
        state, note = "unassigned", "lies beside no session, or beside several"
    elif name.endswith(RESERVED) or name.rsplit("/", 1)[-1].startswith(LOCKS):
        state, note = "failed", "BadInput: XNAT reserves this name for itself"
    elif taken:
        state, note = "failed", "Conflict: another extra file of the session has this name"
    else:
        state, note = "planned", ""
    con.execute(
        "UPDATE other SET study_id=?, name=?, state=?, note=? WHERE id=?", (study_id, name, state, note, file.id)
    )


def reopen_studies(con: sqlite3.Connection) -> None:
    """Sessions that were done and have extra files now go back to the step that sends them."""
    con.execute(
        "UPDATE study SET state='archived' WHERE state IN ('verified','unverified') AND accession!='' AND id IN"
        " (SELECT study_id FROM other WHERE state='planned')"
    )


def pending(con: sqlite3.Connection, study_id: int) -> list[ExtraFile]:
    """Return extra files of a session that are not known to be stored."""
    rows = con.execute("SELECT * FROM other WHERE study_id=? AND state='planned' ORDER BY name", (study_id,))
    return [_file(row) for row in rows]


def stored(con: sqlite3.Connection, ids: list[int]) -> None:
    """Mark extra files as seen on the server with their size (and digest, where it has one)."""
    con.executemany("UPDATE other SET state='stored', note='' WHERE id=?", [(i,) for i in ids])


def fail(con: sqlite3.Connection, ids: list[int], note: str) -> None:
    """Mark extra files that are still not stored as failed."""
    con.executemany("UPDATE other SET state='failed', note=? WHERE id=? AND state='planned'", [(note, i) for i in ids])
