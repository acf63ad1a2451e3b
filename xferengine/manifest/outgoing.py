"""Files on their way into one resource: operations on ``entry`` rows by what became of each file.

    walked → planned ─┬→ sending ─┬→ sent ─────┬→ verified (digest) · sized (size only)
             replace ─┘           ├→ doubtful ─┤
                                  └→ taken ────┴→ replace (again, with overwrite)
    present (equal already)   refused · failed (note says why)

``replace`` is sent with ``overwrite=true``: something is on the server's disk, listed or not. ``doubtful`` may have
been stored, ``taken`` was not as something was there: only an equal digest proves those. ``entry.size`` and ``digest``
are the listing's; ``NOT_LISTED`` is a size. Units are in ``outgoing_units``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from xferengine.manifest.units import REPLANNED
from xferengine.model.dicom import SourceRef
from xferengine.model.items import RemoteFile

NOT_LISTED = -2
OPEN = ("walked", "planned", "replace", "sending", "sent", "doubtful", "taken")
"""States of files whose end is not known."""


class OutFile(msgspec.Struct, frozen=True, kw_only=True):
    """A local file under its name in the resource."""

    path: str
    source: SourceRef
    id: int = 0
    md5: str = ""
    """Of the local file; empty while nobody computed it."""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Files and bytes by state."""

    files: dict[str, int]
    bytes: dict[str, int]

    def count(self, *states: str) -> int:
        """Return the number of files in some states."""
        return sum(self.files.get(state, 0) for state in states)

    def size(self, *states: str) -> int:
        """Return the bytes of files in some states."""
        return sum(self.bytes.get(state, 0) for state in states)


def prepare(con: sqlite3.Connection) -> None:
    """Make the side table of folders; units that a dead run had in flight go back, suspected to be torn."""
    con.execute("CREATE TABLE IF NOT EXISTS folder (path TEXT PRIMARY KEY, ours INTEGER NOT NULL) WITHOUT ROWID")
    con.execute("UPDATE entry SET state='replace' WHERE state='sending'")


def open_target(con: sqlite3.Connection, item_id: int, label: str, level: str, child: tuple[str, str, str]) -> int:
    """Register the resource that is written to; return its row. ``child`` is (id, type, direction)."""
    row = con.execute("SELECT id FROM resource WHERE item_id=?", (item_id,)).fetchone()
    if row is not None:
        con.execute(
            "UPDATE resource SET label=?, level=?, child_id=?, child_type=?, direction=? WHERE id=?",
            (label, level, *child, row[0]),
        )
        return row[0]
    return (
        con.execute(
            "INSERT INTO resource (item_id, number, label, level, child_id, child_type, direction)"
            " VALUES (?,'',?,?,?,?,?)",
            (item_id, label, level, *child),
        ).lastrowid
        or 0
    )


def begin_anew(con: sqlite3.Connection) -> None:
    """Before a new walk: when nothing is open, what an earlier run brought is there already, and its units are history.

    What is open keeps everything: then the walk goes on with a job that was interrupted.
    """
    states = ",".join(f"'{state}'" for state in OPEN)
    if con.execute(f"SELECT 1 FROM entry WHERE state IN ({states}) LIMIT 1").fetchone() is not None:
        return
    con.execute("UPDATE entry SET state='present' WHERE state IN ('verified','sized')")
    con.execute("DELETE FROM attempt")
    con.execute("DELETE FROM unit")
    con.execute("DELETE FROM meta WHERE key=?", (REPLANNED,))


def set_number(con: sqlite3.Connection, target_id: int, number: str) -> None:
    """Write the server's id of the resource."""
    con.execute("UPDATE resource SET number=? WHERE id=?", (number, target_id))


def folders_of(paths: Iterable[str]) -> set[str]:
    """Return all folders that files of these paths need."""
    found: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def begin_listing(con: sqlite3.Connection, target_id: int) -> None:
    """Forget what an earlier listing said."""
    con.execute(
        "UPDATE entry SET size=?, digest='' WHERE resource_id=? AND size!=?", (NOT_LISTED, target_id, NOT_LISTED)
    )
    con.execute("DELETE FROM folder WHERE ours=0")


def note_listed(con: sqlite3.Connection, target_id: int, files: Sequence[RemoteFile]) -> None:
    """Write what the server lists beside our files of the same names."""
    con.executemany(
        "UPDATE entry SET size=?, digest=? WHERE resource_id=? AND path=?",
        ((file.size, file.digest, target_id, file.path) for file in files),
    )
    con.executemany("INSERT OR IGNORE INTO folder VALUES (?,0)", ((f,) for f in folders_of(f.path for f in files)))
    names = msgspec.json.encode([file.path for file in files]).decode()
    query = "SELECT path FROM folder WHERE ours=1 AND path IN (SELECT value FROM json_each(?))"
    for row in con.execute(query, (names,)).fetchall():
        con.execute(
            "UPDATE entry SET state='refused', note=? WHERE resource_id=? AND path>? AND path<?",
            (
                "Conflict: the resource holds a file where this one needs a folder",
                target_id,
                f"{row[0]}/",
                f"{row[0]}0",
            ),
        )


def refuse_folders(con: sqlite3.Connection, target_id: int) -> None:
    """Refuse files whose name is that of a folder, here or in the resource."""
    con.execute(
        "UPDATE entry SET state='refused', note='Conflict: a folder of that name is in the way' WHERE resource_id=?"
        " AND state!='refused' AND path IN (SELECT path FROM folder)",
        (target_id,),
    )


def undigested(con: sqlite3.Connection, target_id: int, after: int, limit: int) -> list[OutFile]:
    """Return files that can only be compared with the listing once their digest is known, by row."""
    rows = con.execute(
        "SELECT * FROM entry WHERE resource_id=? AND id>? AND digest!='' AND real_digest='' AND state NOT IN"
        " ('refused','failed') AND size IN (local_size,-1) ORDER BY id LIMIT ?",
        (target_id, after, limit),
    )
    return [out_file(row) for row in rows]


def set_digests(con: sqlite3.Connection, digests: Iterable[tuple[int, str]]) -> None:
    """Write (row, MD5) of local files."""
    con.executemany("UPDATE entry SET real_digest=?2 WHERE id=?1", digests)


def fail(con: sqlite3.Connection, ids: Iterable[int], note: str) -> None:
    """Give files up; ``note`` is ``CLASS: sentence``."""
    con.executemany("UPDATE entry SET state='failed', note=? WHERE id=?", [(note, i) for i in ids])


def give_up(con: sqlite3.Connection, target_id: int, why: str = "") -> None:
    """Give up what is still open: ``why``, or as the notes of the last look say."""
    states = ",".join(f"'{state}'" for state in OPEN)
    con.execute(
        "UPDATE entry SET state='failed', note=CASE WHEN ?2!='' THEN ?2 WHEN note='' THEN 'NotFound: the server does"
        f" not list it after it was sent' ELSE note END WHERE resource_id=?1 AND state IN ({states})",
        (target_id, why),
    )


_EQUAL = "digest!='' AND digest=real_digest AND size IN (local_size,-1)"
_SAME_SIZE = "digest='' AND size=local_size AND (state IN ('sent','sized') OR (state='present' AND means='size'))"
"""Equal as far as anybody can tell where the server keeps no digests: only of what this job brought itself."""
_JUDGE = f"""
UPDATE entry SET
  means=CASE WHEN {_EQUAL} THEN 'digest' WHEN {_SAME_SIZE} THEN 'size' ELSE '' END,
  note=CASE WHEN {_EQUAL} OR {_SAME_SIZE} OR state IN ('walked','planned','present') THEN ''
            WHEN size={NOT_LISTED} THEN 'NotFound: the server does not list it after it was sent'
            WHEN size!=local_size THEN 'SizeMismatch: the server lists another size'
            WHEN digest='' THEN 'ProtocolViolation: nothing proves that the server has these bytes'
            ELSE 'DigestMismatch: the server lists another digest' END,
  state=CASE WHEN {_EQUAL} THEN CASE WHEN state IN ('walked','planned','present') THEN 'present' ELSE 'verified' END
             WHEN {_SAME_SIZE} THEN CASE WHEN state='present' THEN 'present' ELSE 'sized' END
             WHEN ?2 AND state='doubtful' THEN 'doubtful'
             WHEN size!={NOT_LISTED} THEN 'replace'
             WHEN state IN ('sent','doubtful','taken','replace') THEN 'replace'
             ELSE 'planned' END
WHERE resource_id=?1 AND state NOT IN ('refused','failed','sending')
"""


def judge(con: sqlite3.Connection, target_id: int, *, is_patient: bool = False) -> None:
    """Decide for every file what the last listing means for it; bytes that go a second time are counted.

    Args:
        is_patient: what is doubtful and not proven stays so: the server may still be storing it.
    """
    again = con.execute(
        f"SELECT coalesce(sum(local_size),0) FROM entry WHERE resource_id=? AND state IN ('sent','taken',?)"
        f" AND NOT ({_EQUAL}) AND NOT ({_SAME_SIZE})",
        (target_id, "sent" if is_patient else "doubtful"),
    ).fetchone()[0]
    con.execute(_JUDGE, (target_id, is_patient))
    count_again(con, again)


def count_again(con: sqlite3.Connection, size: int) -> None:
    """Count bytes that go a second time."""
    if size:
        con.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value=value+excluded.value",
            (REPLANNED, size),
        )


def orphans(con: sqlite3.Connection, target_id: int, limit: int = 1000) -> list[OutFile]:
    """Return files that the server had on its disk when it got them, and does not list."""
    rows = con.execute(
        "SELECT * FROM entry WHERE resource_id=? AND state='taken' AND size=? LIMIT ?",
        (target_id, NOT_LISTED, limit),
    )
    return [out_file(row) for row in rows]


def refuse_twin(con: sqlite3.Connection, file: OutFile, other: str) -> None:
    """Refuse a file whose name the server's disk seems to take for another one's."""
    note = f"Conflict: something is on the server's disk, and its name differs from {other} only in case or form"
    con.execute("UPDATE entry SET state='refused', note=? WHERE id=?", (note, file.id))


def names_below(con: sqlite3.Connection, target_id: int, after: str, limit: int) -> list[str]:
    """Return our names of the resource by code point, in pages."""
    rows = con.execute(
        "SELECT path FROM entry WHERE resource_id=? AND path>? AND state!='refused' ORDER BY path LIMIT ?",
        (target_id, max(after, "\x02"), limit),
    )
    return [row[0] for row in rows]


# questions


def tally(con: sqlite3.Connection) -> Tally:
    """Return files and bytes by state; the bytes are those of the local files."""
    rows = con.execute(
        "SELECT state, count(*), coalesce(sum(max(local_size,0)),0) FROM entry GROUP BY state"
    ).fetchall()
    return Tally(files={row[0]: row[1] for row in rows}, bytes={row[0]: row[2] for row in rows})


def by_size(con: sqlite3.Connection) -> int:
    """Return how many files are there, and were compared by size only."""
    query = "SELECT count(*) FROM entry WHERE state IN ('sized','present') AND means='size'"
    return con.execute(query).fetchone()[0]


def troubles(con: sqlite3.Connection, after: int, limit: int) -> list[sqlite3.Row]:
    """Return rows (id, local, state, note) of files that were refused or failed, by row."""
    return con.execute(
        "SELECT id, local, state, note FROM entry WHERE state IN ('refused','failed') AND id>? ORDER BY id LIMIT ?",
        (after, limit),
    ).fetchall()


def has_integrity_failure(con: sqlite3.Connection) -> bool:
    """Tell whether a file was given up because its bytes on the server are not ours."""
    query = "SELECT 1 FROM entry WHERE state='failed' AND (note LIKE 'SizeMis%' OR note LIKE 'DigestMis%') LIMIT 1"
    return con.execute(query).fetchone() is not None


def out_file(row: sqlite3.Row) -> OutFile:
    source = SourceRef(path=row["local"], size=row["local_size"], mtime_ns=row["mtime_ns"], inode=row["inode"])
    return OutFile(id=row["id"], path=row["path"], source=source, md5=row["real_digest"])
