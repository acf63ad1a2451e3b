"""Units of ``upload-files``: forming one leases it, in one commit, before its first byte."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import msgspec

from xferengine.manifest.outgoing import NOT_LISTED, OutFile, out_file, set_digests
from xferengine.manifest.units import NO_STUDY, end_attempt


class OutUnit(msgspec.Struct, frozen=True, kw_only=True):
    """Files that go in one request; their lease is durable."""

    id: int
    attempt_id: int
    files: tuple[OutFile, ...]
    bytes: int
    overwrite: bool


def form(con: sqlite3.Connection, item_id: int, *, max_bytes: int, max_files: int, alone_bytes: int) -> OutUnit | None:
    """Lease the next files to send, all of them new or all to replace something; None when none is left.

    Args:
        alone_bytes: a file of this size goes alone.
    """
    for state in ("planned", "replace"):
        picked, total = _pick(con, item_id, state, (max_bytes, max_files, alone_bytes))
        if not picked:
            continue
        unit_id = (
            con.execute(
                "INSERT INTO unit (study_id, state, files, bytes, attempts) VALUES (?,'leased',?,?,1)",
                (NO_STUDY, len(picked), total),
            ).lastrowid
            or 0
        )
        attempt_id = con.execute(
            "INSERT INTO attempt (unit_id, number, started) VALUES (?,1,?)",
            (unit_id, datetime.now(UTC).isoformat(timespec="milliseconds")),
        ).lastrowid
        _set_states(con, [file.id for file in picked], "sending")
        return OutUnit(
            id=unit_id, attempt_id=attempt_id or 0, files=tuple(picked), bytes=total, overwrite=state == "replace"
        )
    return None


def _pick(con: sqlite3.Connection, item_id: int, state: str, limits: tuple[int, int, int]) -> tuple[list[OutFile], int]:
    max_bytes, max_files, alone_bytes = limits
    picked: list[OutFile] = []
    total = 0
    rows = con.execute(
        "SELECT * FROM entry WHERE item_id=? AND state=? ORDER BY id LIMIT ?", (item_id, state, max_files)
    )
    with closing(rows):
        for row in rows:
            size = row["local_size"]
            if picked and (total + size > max_bytes or size >= alone_bytes):
                break
            picked.append(out_file(row))
            total += size
            if size >= alone_bytes:
                break
    return picked, total


def _set_states(con: sqlite3.Connection, ids: list[int], state: str) -> None:
    con.execute(
        "UPDATE entry SET state=? WHERE id IN (SELECT value FROM json_each(?))",
        (state, msgspec.json.encode(ids).decode()),
    )


class UnitEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended."""

    outcome: str
    bytes_sent: int
    state: str
    """What its files become: ``sent`` · ``doubtful`` · ``replace`` · ``planned``."""
    taken: tuple[int, ...] = ()
    """Rows of files that were not stored as something was there."""
    md5s: tuple[tuple[int, str], ...] = ()
    detail: str = ""


def end_unit(con: sqlite3.Connection, unit: OutUnit, end: UnitEnd) -> None:
    """Write how a unit ended, in one commit."""
    end_attempt(con, unit.attempt_id, end.outcome, end.bytes_sent, end.detail)
    con.execute("UPDATE unit SET state=? WHERE id=?", ("done" if end.outcome == "done" else "failed", unit.id))
    _set_states(con, [file.id for file in unit.files], end.state)
    if end.taken:
        _set_states(con, list(end.taken), "taken")
    set_digests(con, end.md5s)


def note_sent(con: sqlite3.Connection, unit: OutUnit, bytes_sent: int) -> None:
    """Note how much of a unit the network has taken, for the case that nobody lives to write its end."""
    con.execute("UPDATE attempt SET bytes_sent=? WHERE id=? AND outcome='leased'", (bytes_sent, unit.attempt_id))


def holds_doubt(con: sqlite3.Connection, settled: str) -> bool:
    """Tell whether files that are still to be replaced may lie torn on the server's disk, or may still be written.

    Args:
        settled: class of error after which neither is so.
    """
    query = (
        "SELECT EXISTS (SELECT 1 FROM attempt WHERE outcome NOT IN ('done','leased') AND detail NOT LIKE ?"
        " AND (bytes_sent>0 OR outcome='interrupted')) AND EXISTS (SELECT 1 FROM entry WHERE state='replace')"
    )
    return bool(con.execute(query, (f"{settled}:%",)).fetchone()[0])


def listed(con: sqlite3.Connection, unit: OutUnit) -> int:
    """Return how many files of a unit the last listing named."""
    query = "SELECT count(*) FROM entry WHERE size!=? AND id IN (SELECT value FROM json_each(?))"
    return con.execute(query, (NOT_LISTED, _ids(unit))).fetchone()[0]


def unsettled(con: sqlite3.Connection, unit: OutUnit) -> int:
    """Return how many files of a unit are not known to be stored."""
    query = (
        "SELECT count(*) FROM entry WHERE state NOT IN ('verified','sized','refused','failed')"
        " AND id IN (SELECT value FROM json_each(?))"
    )
    return con.execute(query, (_ids(unit),)).fetchone()[0]


def _ids(unit: OutUnit) -> str:
    return msgspec.json.encode([file.id for file in unit.files]).decode()
