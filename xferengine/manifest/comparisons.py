"""Files of two places side by side in the manifest: what either has, and what comparing them said.

A row is one file, known by its key: its path in the documented layout, or inside the item where both places are
servers. ``seen_a`` and ``seen_b`` are the number of the last run that saw it there, so nothing of an earlier run
passes for a finding of this one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from xferengine.manifest import overview
from xferengine.model.items import ItemRef

Side = Literal["a", "b"]
OTHER: dict[Side, Side] = {"a": "b", "b": "a"}
RUN = "compare_run"
COMPLETE = "compared_run"
"""Keys of facts: the number of the last run, and of the last one that came to its end."""
PAGE = 50_000
"""Rows that one statement looks at: others wait for the writer meanwhile."""

_TABLES = (
    """CREATE TABLE IF NOT EXISTS pair (
  id INTEGER PRIMARY KEY,
  item_id INTEGER NOT NULL,             -- 0: a local file below nothing that was asked for
  key TEXT NOT NULL,
  seen_a INTEGER NOT NULL DEFAULT 0,
  size_a INTEGER NOT NULL DEFAULT -1,   -- -1 unknown
  digest_a TEXT NOT NULL DEFAULT '',
  seen_b INTEGER NOT NULL DEFAULT 0,
  size_b INTEGER NOT NULL DEFAULT -1,
  digest_b TEXT NOT NULL DEFAULT '',
  local TEXT NOT NULL DEFAULT '',       -- how the folder writes its name, where that differs from the key
  mtime_ns INTEGER NOT NULL DEFAULT 0,  -- of the local file when it was seen last
  inode INTEGER NOT NULL DEFAULT 0,
  folded TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL DEFAULT 'pending',
  means TEXT NOT NULL DEFAULT '',
  note TEXT NOT NULL DEFAULT '',        -- CLASS: sentence
  UNIQUE (key, item_id)
)""",
    "CREATE INDEX IF NOT EXISTS pair_state ON pair (state, item_id)",
    "CREATE INDEX IF NOT EXISTS pair_item ON pair (item_id, state)",
    "CREATE INDEX IF NOT EXISTS pair_folded ON pair (folded) WHERE folded != ''",
)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One file as a place has it."""

    key: str
    size: int
    """Bytes; -1 where the listing does not say."""
    digest: str = ""
    state: str = "pending"
    """``pending`` or ``unusable``."""
    note: str = ""


class SeenLocal(msgspec.Struct, frozen=True, kw_only=True):
    """One file as a folder has it."""

    key: str
    item_id: int
    """Whose it seems to be; 0 for nobody's."""
    size: int = -1
    mtime_ns: int = 0
    inode: int = 0
    problem: str = ""
    """``CLASS: sentence`` of something that cannot be read."""
    is_extra: bool = False
    """With ``problem``: where nothing belongs there, it is just something too much."""


class ToHash(msgspec.Struct, frozen=True, kw_only=True):
    """A local file whose digest decides."""

    id: int
    item_id: int
    ref: str
    """Id of the item."""
    path: str
    size: int
    mtime_ns: int
    inode: int
    digest: str
    """The server's."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What reading a local file said."""

    id: int
    digest: str
    """Of the local file; empty when it could not be read."""
    state: str
    means: str
    note: str = ""


def begin_run(con: sqlite3.Connection) -> int:
    """Make the table where it is missing, and return the number of this run."""
    for statement in _TABLES:
        con.execute(statement)
    run = int(overview.get_meta(con, RUN, "0")) + 1
    overview.set_meta(con, RUN, str(run))
    return run


def add_item(con: sqlite3.Connection, key: str, item: ItemRef, run: int) -> int:
    """Register what is compared in one go, or take it up again as not yet compared; return its row."""
    con.execute(
        "INSERT INTO item (key, level, project, subject, subject_id, label, accession, seen_run)"
        " VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (key) DO UPDATE SET level=excluded.level, project=excluded.project,"
        " subject=excluded.subject, subject_id=excluded.subject_id, label=excluded.label,"
        " accession=excluded.accession, seen_run=excluded.seen_run, state='planned', error='', detail=''",
        (
            key,
            str(item.level),
            item.project,
            item.subject,
            item.subject_id,
            item.experiment,
            item.experiment_id,
            run,
        ),
    )
    return con.execute("SELECT id FROM item WHERE key=?", (key,)).fetchone()[0]


def put(con: sqlite3.Connection, side: Side, item_id: int, run: int, files: Iterable[Seen]) -> None:
    """Write the files of an item as a server lists them now; what the other side said in this run stays."""
    other = OTHER[side]
    same_run = f"excluded.state='pending' AND pair.seen_{other}=excluded.seen_{side}"
    con.executemany(
        f"INSERT INTO pair (item_id, seen_{side}, key, size_{side}, digest_{side}, state, note)"
        f" VALUES (?,?,?,?,?,?,?) ON CONFLICT (key, item_id) DO UPDATE SET seen_{side}=excluded.seen_{side},"
        f" size_{side}=excluded.size_{side}, digest_{side}=excluded.digest_{side}, means='', folded='', local='',"
        f" state=CASE WHEN {same_run} THEN pair.state ELSE excluded.state END,"
        f" note=CASE WHEN {same_run} THEN pair.note ELSE excluded.note END",
        ((item_id, run, file.key, file.size, file.digest, file.state, file.note) for file in files),
    )


def drop_files(con: sqlite3.Connection, item_id: int) -> None:
    """Forget the files of an item that cannot be compared."""
    con.execute("DELETE FROM pair WHERE item_id=?", (item_id,))


def put_local(con: sqlite3.Connection, side: Side, run: int, files: Iterable[SeenLocal]) -> None:
    """Write files as a folder has them; a digest stays while size, time and inode stand."""
    other = OTHER[side]
    for file in files:
        if file.problem:
            _put_problem(con, side, run, file)
            continue
        fields = (file.size, file.mtime_ns, file.inode)
        changes = (
            f"digest_{side}=CASE WHEN size_{side}=?1 AND mtime_ns=?2 AND inode=?3 THEN digest_{side} ELSE '' END,"
            f" size_{side}=?1, mtime_ns=?2, inode=?3, seen_{side}=?4"
        )
        found = con.execute(
            f"UPDATE pair SET {changes} WHERE key=?5 AND seen_{other}=?4", (*fields, run, file.key)
        ).rowcount
        if not found:
            con.execute(
                f"INSERT INTO pair (size_{side}, mtime_ns, inode, seen_{side}, key, item_id) VALUES (?1,?2,?3,?4,?5,?6)"
                f" ON CONFLICT (key, item_id) DO UPDATE SET {changes}, state='pending', means='', note='', folded='',"
                " local=''",
                (*fields, run, file.key, file.item_id),
            )


def _put_problem(con: sqlite3.Connection, side: Side, run: int, file: SeenLocal) -> None:
    """Whatever belongs there, or below, cannot be compared; where nothing does, the thing itself is named."""
    other = OTHER[side]
    below = con.execute(
        f"UPDATE pair SET state='uncompared', note=? WHERE (key=? OR (key>? AND key<?)) AND seen_{other}=?",
        (file.problem, file.key, f"{file.key}/", f"{file.key}0", run),
    ).rowcount
    if below and file.is_extra:
        return
    state = f"only-{side}" if file.is_extra else "uncompared"
    con.execute(
        f"INSERT INTO pair (key, item_id, seen_{side}, state, note) VALUES (?,?,?,?,?)"
        f" ON CONFLICT (key, item_id) DO UPDATE SET seen_{side}=excluded.seen_{side}, state=excluded.state,"
        " note=excluded.note, means='', folded='', local=''",
        (file.key, file.item_id, run, state, file.problem),
    )


def last_id(con: sqlite3.Connection) -> int:
    """Return the number of the last row."""
    return con.execute("SELECT coalesce(max(id), 0) FROM pair").fetchone()[0]


def mark_sides(con: sqlite3.Connection, run: int, low: int) -> None:
    """Of the rows from ``low`` on, drop those that are nowhere any more and mark those that one side alone has."""
    span, at = "id>=? AND id<?", (low, low + PAGE)
    con.execute(f"DELETE FROM pair WHERE {span} AND seen_a!=? AND seen_b!=?", (*at, run, run))
    for side, other in OTHER.items():
        con.execute(
            f"UPDATE pair SET state='only-{side}' WHERE {span} AND state='pending' AND seen_{side}=?"
            f" AND seen_{other}!=?",
            (*at, run, run),
        )


def mark_doubles(con: sqlite3.Connection, side: Side, run: int, item_id: int, earlier: Sequence[int]) -> None:
    """Of several files of a server that have one local name, only the first can lie there.

    Args:
        item_id: whose files are looked at.
        earlier: items that come first.
    """
    marks = ",".join("?" * len(earlier))
    con.execute(
        "UPDATE pair SET state='unusable', note='NameClash: a folder cannot hold it beside another file of the server:"
        f" same name' WHERE item_id=? AND seen_{side}=? AND EXISTS (SELECT 1 FROM pair AS first"
        f" WHERE first.key=pair.key AND first.seen_{side}=? AND first.item_id IN ({marks}))",
        (item_id, run, run, *earlier),
    )


def compare(con: sqlite3.Connection, run: int, low: int, *, hashes: Side | None) -> None:
    """Compare what both have, of the rows from ``low`` on.

    Args:
        hashes: the side whose files have to be read; those that must be stay ``pending``.
    """
    both = "id>=? AND id<? AND state='pending' AND seen_a=? AND seen_b=?"
    at = (low, low + PAGE, run, run)
    con.execute(
        "UPDATE pair SET state='differs', means='size', note=printf('%d bytes in A, %d bytes in B', size_a, size_b)"
        f" WHERE {both} AND size_a>=0 AND size_b>=0 AND size_a!=size_b",
        at,
    )
    con.execute(
        "UPDATE pair SET state=CASE WHEN digest_a=digest_b THEN 'equal' ELSE 'differs' END, means='digest',"
        " note=CASE WHEN digest_a=digest_b THEN '' ELSE 'the MD5 differs' END"
        f" WHERE {both} AND digest_a!='' AND digest_b!=''",
        at,
    )
    rest = f"{both} AND digest_{OTHER[hashes]}=''" if hashes else both
    con.execute(f"UPDATE pair SET state='equal', means='size' WHERE {rest} AND size_a>=0 AND size_b>=0", at)
    con.execute(
        f"UPDATE pair SET state='uncompared', note='Unknown: neither size nor digest can be compared' WHERE {rest}", at
    )


def to_hash(con: sqlite3.Connection, side: Side, after: tuple[int, int], limit: int) -> list[ToHash]:
    """Return local files to be read, in the order of items, behind ``after`` = (item, row)."""
    rows = con.execute(
        f"SELECT pair.id, item_id, pair.key, local, size_{side}, mtime_ns, inode, digest_{OTHER[side]}, accession,"
        " subject_id, project FROM pair JOIN item ON item.id=item_id WHERE pair.state='pending'"
        " AND (item_id, pair.id)>(?,?) ORDER BY item_id, pair.id LIMIT ?",
        (*after, limit),
    )
    return [
        ToHash(
            id=row[0],
            item_id=row[1],
            ref=row[8] or row[9] or row[10],
            path=row[3] or row[2],
            size=row[4],
            mtime_ns=row[5],
            inode=row[6],
            digest=row[7],
        )
        for row in rows
    ]


def settle(con: sqlite3.Connection, side: Side, verdicts: Iterable[Verdict]) -> None:
    """Write what reading local files said."""
    con.executemany(
        f"UPDATE pair SET digest_{side}=?, state=?, means=?, note=? WHERE id=?",
        ((one.digest, one.state, one.means, one.note, one.id) for one in verdicts),
    )


def keys_of(con: sqlite3.Connection, after: int, limit: int) -> list[tuple[int, str]]:
    """Return (row, key) behind a row."""
    rows = con.execute("SELECT id, key FROM pair WHERE id>? ORDER BY id LIMIT ?", (after, limit))
    return [(row[0], row[1]) for row in rows]


def local_samples(con: sqlite3.Connection, side: Side, run: int, limit: int = 20) -> list[str]:
    """Return paths of local files, some of them with letters beyond ASCII where there are any."""
    where = f"seen_{side}=? AND size_{side}>=0"
    plain = con.execute(f"SELECT key FROM pair WHERE {where} LIMIT ?", (run, limit)).fetchall()
    wide = con.execute(f"SELECT key FROM pair WHERE {where} AND key GLOB '*[^ -~]*' LIMIT ?", (run, limit)).fetchall()
    return [row[0] for row in (*plain, *wide)]


def set_folded(con: sqlite3.Connection, names: Iterable[tuple[str, int]]) -> None:
    """Write (folded key, row)."""
    con.executemany("UPDATE pair SET folded=? WHERE id=?", names)


def join_folded(con: sqlite3.Connection, local: Side, run: int) -> None:
    """Bring together what the folder's file system takes for one name, after all exact names have met.

    A file of the server whose name only another one could have there is ``unusable``.
    """
    remote = OTHER[local]
    rows = con.execute(
        "SELECT theirs.id, ours.id FROM pair AS theirs JOIN pair AS ours ON ours.folded=theirs.folded"
        f" WHERE theirs.state='only-{remote}' AND ours.state='only-{local}' AND ours.size_{local}>=0"
        " AND theirs.folded!='' ORDER BY theirs.id, ours.id"
    ).fetchall()
    used: set[int] = set()
    for theirs, ours in rows:
        if theirs in used or ours in used:
            continue
        used |= {theirs, ours}
        con.execute(
            f"UPDATE pair SET (size_{local}, digest_{local}, seen_{local}, mtime_ns, inode, local, state) = (SELECT"
            f" size_{local}, digest_{local}, seen_{local}, mtime_ns, inode, key, 'pending' FROM pair WHERE id=?)"
            " WHERE id=?",
            (ours, theirs),
        )
        con.execute("DELETE FROM pair WHERE id=?", (ours,))
    con.execute(
        "UPDATE pair SET state='unusable', note='NameClash: the folder cannot hold it beside another file: their names"
        f" differ only in case or Unicode form' WHERE state='only-{remote}' AND folded!='' AND EXISTS"
        f" (SELECT 1 FROM pair AS held WHERE held.folded=pair.folded AND held.id!=pair.id AND held.seen_{remote}=?"
        f" AND held.seen_{local}=?)",
        (run, run),
    )


def present_only(con: sqlite3.Connection, side: Side, after: int, limit: int) -> list[tuple[int, str]]:
    """Return (row, key) of files that one side alone has, behind a row."""
    rows = con.execute(
        "SELECT id, key FROM pair WHERE state=? AND id>? AND note='' ORDER BY id LIMIT ?",
        (f"only-{side}", after, limit),
    )
    return [(row[0], row[1]) for row in rows]


def set_notes(con: sqlite3.Connection, notes: Sequence[tuple[int, str, str]]) -> None:
    """Write (row, state, note)."""
    con.executemany("UPDATE pair SET state=?2, note=?3 WHERE id=?1", notes)


def forget_items(con: sqlite3.Connection, run: int) -> None:
    """Drop items that this run did not find any more, with their files."""
    gone = "SELECT id FROM item WHERE seen_run<?"
    for table in ("pair", "resource"):
        con.execute(f"DELETE FROM {table} WHERE item_id IN ({gone})", (run,))
    con.execute("DELETE FROM item WHERE seen_run<?", (run,))
