"""What a walk meets: files that are taken up for a resource, names that clash, and what is refused at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from xferengine.manifest.outgoing import NOT_LISTED, OutFile, folders_of, out_file

_CLASH = "\x01"
_PROBLEM = "\x00"
"""Begin the ``path`` of rows that have no name in the resource: none that can be sent holds a control character."""


def add_files(con: sqlite3.Connection, item_id: int, target_id: int, files: Sequence[OutFile], run: int) -> None:
    """Take up files that were met; one that is as it was keeps its digest and what became of it.

    A second file of the same name in the same run is kept aside until ``clashes`` asks for it.
    """
    paths = msgspec.json.encode([file.path for file in files]).decode()
    taken = {
        row["path"]: row["local"]
        for row in con.execute(
            "SELECT path, local FROM entry WHERE resource_id=? AND seen_run=? AND path IN"
            " (SELECT value FROM json_each(?))",
            (target_id, run, paths),
        )
    }
    rows: list[tuple[object, ...]] = []
    for file in files:
        first = taken.setdefault(file.path, file.source.path)
        path = file.path if first == file.source.path else f"{_CLASH}{file.path}\x01{file.source.path}"
        s = file.source
        rows.append((item_id, target_id, path, NOT_LISTED, s.path, s.size, s.mtime_ns, s.inode, run))
    con.executemany(
        "INSERT INTO entry (item_id, resource_id, path, size, local, state, local_size, mtime_ns, inode, seen_run)"
        " VALUES (?,?,?,?,?,'walked',?,?,?,?) ON CONFLICT (resource_id, path) DO UPDATE SET"
        " state=CASE WHEN state IN ('failed','refused') THEN 'walked'"
        "  WHEN (local,local_size,mtime_ns,inode)=(excluded.local,excluded.local_size,excluded.mtime_ns,excluded.inode)"
        "  THEN state WHEN state IN ('walked','planned') THEN 'walked' ELSE 'replace' END,"
        " real_digest=CASE WHEN (local,local_size,mtime_ns,inode)="
        "  (excluded.local,excluded.local_size,excluded.mtime_ns,excluded.inode) THEN real_digest ELSE '' END,"
        " note='', local=excluded.local, local_size=excluded.local_size, mtime_ns=excluded.mtime_ns,"
        " inode=excluded.inode, seen_run=excluded.seen_run",
        rows,
    )
    con.executemany("INSERT OR IGNORE INTO folder VALUES (?,1)", ((f,) for f in folders_of(f.path for f in files)))


def refuse(
    con: sqlite3.Connection, item_id: int, target_id: int, problems: Iterable[tuple[str, str]], run: int
) -> None:
    """Record (local path, note) of what is not sent."""
    con.executemany(
        "INSERT INTO entry (item_id, resource_id, path, size, local, state, note, seen_run)"
        " VALUES (?,?,?,?,?,'refused',?,?) ON CONFLICT (resource_id, path) DO UPDATE SET"
        " state='refused', note=excluded.note, seen_run=excluded.seen_run",
        ((item_id, target_id, _PROBLEM + local, NOT_LISTED, local, note, run) for local, note in problems),
    )


def forget_unseen(con: sqlite3.Connection, target_id: int, run: int) -> None:
    """Drop files that are no longer there; nothing on the server is touched."""
    con.execute("DELETE FROM entry WHERE resource_id=? AND seen_run!=?", (target_id, run))


def clashes(con: sqlite3.Connection, target_id: int, limit: int = 500) -> list[tuple[OutFile, OutFile]]:
    """Return pairs of files that were met under one name: the first, and another one."""
    found: list[tuple[OutFile, OutFile]] = []
    query = "SELECT * FROM entry WHERE resource_id=? AND path>=? AND path<? LIMIT ?"
    for row in con.execute(query, (target_id, _CLASH, "\x02", limit)).fetchall():
        path = row["path"][1:].partition("\x01")[0]
        first = con.execute("SELECT * FROM entry WHERE resource_id=? AND path=?", (target_id, path)).fetchone()
        found.append((out_file(first), out_file(row)))
    return found


def settle_clash(con: sqlite3.Connection, pair: tuple[OutFile, OutFile], run: int, *, equal: bool) -> None:
    """Drop the second of two equal files; refuse both of two different ones."""
    first, other = pair
    row = con.execute("SELECT item_id, resource_id FROM entry WHERE id=?", (other.id,)).fetchone()
    con.execute("DELETE FROM entry WHERE id=?", (other.id,))
    if equal:
        return
    note = "LabelClash: another file would get the same name: {}"
    con.execute("UPDATE entry SET state='refused', note=? WHERE id=?", (note.format(other.source.path), first.id))
    refuse(con, row["item_id"], row["resource_id"], [(other.source.path, note.format(first.source.path))], run)
