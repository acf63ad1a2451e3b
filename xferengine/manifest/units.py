"""Operations on units and attempts: forming a bundle leases it, in one commit, before its first byte."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import msgspec

from xferengine.manifest.rows import FileRow, UnitRow, file_row
from xferengine.model.states import FileState, UnitState

REPLANNED = "replanned_bytes"
"""Key of the bytes of files that were answered for and had to be sent again."""
NO_STUDY = 0
"""Units of files that belong to no study."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _json(value: list[int] | dict[str, int]) -> str:
    """Many values as one parameter: each statement gives the interpreter's lock away, and the event loop wants it."""
    return msgspec.json.encode(value).decode()


def form(con: sqlite3.Connection, study_id: int, max_bytes: int, max_files: int) -> UnitRow | None:
    """Take the next unsent files of a study, in series order, as a leased unit; None when nothing is left.

    A file larger than ``max_bytes`` becomes a unit of its own.
    """
    picked, total = _pick(con, study_id, max_bytes, max_files)
    if not picked:
        return None
    unit_id = (
        con.execute(
            "INSERT INTO unit (study_id, state, files, bytes) VALUES (?,?,?,?)",
            (study_id, str(UnitState.LEASED), len(picked), total),
        ).lastrowid
        or 0
    )
    con.execute(
        "UPDATE file SET unit_id=? WHERE id IN (SELECT value FROM json_each(?))",
        (unit_id, _json([f.id for f in picked])),
    )
    attempt_id, number = _attempt(con, unit_id)
    return UnitRow(
        id=unit_id, study_id=study_id, attempt_id=attempt_id, attempt=number, files=tuple(picked), bytes=total
    )


def _pick(con: sqlite3.Connection, study_id: int, max_bytes: int, max_files: int) -> tuple[list[FileRow], int]:
    """Return the next files and their size; reads no row beyond the first that does not fit."""
    picked: list[FileRow] = []
    total = 0
    rows = con.execute(
        "SELECT * FROM file WHERE study_id=? AND state='planned' AND unit_id IS NULL"
        " ORDER BY series_order, series_uid, path, offset, id LIMIT ?",
        (study_id, max_files),
    )
    with closing(rows):
        for row in rows:
            if picked and total + row["size"] > max_bytes:
                break
            picked.append(file_row(row))
            total += row["size"]
    return picked, total


def lease_again(con: sqlite3.Connection, unit: UnitRow) -> UnitRow:
    """Lease a unit for its next attempt; the study is marked as one that was sent more than once."""
    attempt_id, number = _attempt(con, unit.id)
    con.execute("UPDATE unit SET state='leased' WHERE id=?", (unit.id,))
    con.execute("UPDATE study SET resent=1 WHERE id=?", (unit.study_id,))
    return UnitRow(
        id=unit.id, study_id=unit.study_id, attempt_id=attempt_id, attempt=number, files=unit.files, bytes=unit.bytes
    )


def _attempt(con: sqlite3.Connection, unit_id: int) -> tuple[int, int]:
    con.execute("UPDATE unit SET attempts=attempts+1 WHERE id=?", (unit_id,))
    number = con.execute("SELECT attempts FROM unit WHERE id=?", (unit_id,)).fetchone()[0]
    row_id = con.execute(
        "INSERT INTO attempt (unit_id, number, started) VALUES (?,?,?)", (unit_id, number, _now())
    ).lastrowid
    return row_id or 0, number


def end_attempt(con: sqlite3.Connection, attempt_id: int, outcome: str, bytes_sent: int, detail: str = "") -> None:
    """Write how an attempt ended; ``bytes_sent`` are body bytes that the network took."""
    con.execute(
        "UPDATE attempt SET ended=?, outcome=?, bytes_sent=?, detail=? WHERE id=?",
        (_now(), outcome, bytes_sent, detail[:500], attempt_id),
    )


def finish(con: sqlite3.Connection, unit: UnitRow, crcs: dict[int, int]) -> None:
    """Mark a unit's files as sent; ``crcs`` maps positions in ``unit.files`` to CRC-32 values."""
    con.execute("UPDATE unit SET state='done' WHERE id=?", (unit.id,))
    found = {str(f.id): crcs[i] for i, f in enumerate(unit.files) if i in crcs}
    con.execute(
        "UPDATE file SET state='sent', crc32=coalesce(json_extract(?, '$.' || id), crc32)"
        " WHERE unit_id=? AND state='planned'",
        (_json(found), unit.id),
    )


def dissolve(con: sqlite3.Connection, unit: UnitRow) -> None:
    """Give a unit up: its unsent files can be formed into others."""
    con.execute("UPDATE unit SET state='failed' WHERE id=?", (unit.id,))
    con.execute("UPDATE file SET unit_id=NULL WHERE unit_id=? AND state='planned'", (unit.id,))
    con.execute("UPDATE study SET resent=1 WHERE id=?", (unit.study_id,))


def recover(con: sqlite3.Connection, study: int | None = None) -> int:
    """Units that a dead run (of one study, or of all) had leased go back; return how many.

    Their bytes may be on the server, whole or torn, so the study counts as sent more than once. How many had left
    died with the run: each unit counts whole. A unit without a study (``outgoing_units``) noted them while it was sent.
    """
    rows = con.execute(
        "SELECT id, study_id FROM unit WHERE state='leased' AND (? IS NULL OR study_id=?)", (study, study)
    )
    ids = [(row["id"], row["study_id"]) for row in rows]
    for unit_id, study_id in ids:
        con.execute(
            "UPDATE attempt SET outcome='interrupted', ended=?, bytes_sent=CASE WHEN ? THEN bytes_sent ELSE"
            " (SELECT bytes FROM unit WHERE id=?) END WHERE unit_id=? AND outcome='leased'",
            (_now(), study_id == NO_STUDY, unit_id, unit_id),
        )
        con.execute("UPDATE unit SET state='failed' WHERE id=?", (unit_id,))
        con.execute("UPDATE file SET unit_id=NULL WHERE unit_id=? AND state='planned'", (unit_id,))
        con.execute("UPDATE study SET resent=1, settled=0 WHERE id=?", (study_id,))
    return len(ids)


def resend(con: sqlite3.Connection, study_id: int, ids: list[int] | None) -> int:
    """Plan files again that were sent (``None``: all that were sent and never seen); return how many."""
    if ids is None:
        ids = [r[0] for r in con.execute("SELECT id FROM file WHERE study_id=? AND state='sent'", (study_id,))]
    size = 0
    for file_id in ids:
        size += con.execute("SELECT size FROM file WHERE id=?", (file_id,)).fetchone()[0]
        con.execute("UPDATE file SET state='planned', unit_id=NULL WHERE id=?", (file_id,))
    if ids:
        con.execute("UPDATE study SET resent=1 WHERE id=?", (study_id,))
        con.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value=value+excluded.value",
            (REPLANNED, size),
        )
    return len(ids)


def has_unsent(con: sqlite3.Connection, study_id: int) -> bool:
    """Tell whether the study has files that no answered bundle held."""
    query = "SELECT 1 FROM file WHERE study_id=? AND state=? LIMIT 1"
    return con.execute(query, (study_id, str(FileState.PLANNED))).fetchone() is not None


def resent_bytes(con: sqlite3.Connection) -> int:
    """Return bytes that were sent in vain or more than once, over all runs; lost answers count only if sent again."""
    vain = con.execute(
        "SELECT coalesce(sum(bytes_sent),0) FROM attempt WHERE outcome NOT IN ('done','ambiguous')"
    ).fetchone()[0]
    row = con.execute("SELECT value FROM meta WHERE key=?", (REPLANNED,)).fetchone()
    return vain + (0 if row is None else int(row[0]))
