"""Files of two places side by side in the manifest: what either has, and what comparing them said.

A row is one file, known by its key: its path in the documented layout, or inside the item where both places are
servers. ``seen_a`` and ``seen_b`` are the number of the last run that saw it there, so nothing of an earlier run
passes for a finding of this one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Literal

import msgspec

from xferengine.manifest import overview
from xferengine.model.items import ItemRef

Side = Literal["a", "b"]
OTHER: dict[Side, Side] = {"a": "b", "b": "a"}
RUN = "compare_run"
COMPLETE = "compared_run"
"""Keys of facts: the number of the last run, and of the last one that came to its end."""

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
    """Make the table where it is missing, and return the number of this run.

    It goes on with what a run read that did not come to its end. After one that did, nothing is kept: damage of a disk
    changes neither size, time nor inode, so only reading anew can show it.
    """
    for statement in _TABLES:
        con.execute(statement)
    earlier = overview.get_meta(con, RUN, "0")
    if overview.get_meta(con, COMPLETE, "0") == earlier:
        for table in ("pair", "resource", "item"):
            con.execute(f"DELETE FROM {table}")
    run = int(earlier) + 1
    overview.set_meta(con, RUN, str(run))
    return run


def count_read(con: sqlite3.Connection, side: Side) -> int:
    """Return how many files of a folder were read in this comparison and need not be read again."""
    return con.execute(f"SELECT count(*) FROM pair WHERE digest_{side}!=''").fetchone()[0]


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
    """Write files as a folder has them; what this comparison read of one stays while size, time and inode stand."""
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


def forget_empty_items(con: sqlite3.Connection) -> None:
    """Drop subjects and projects without files of their own (most of them) once both sides are known."""
    empty = (
        "SELECT id FROM item WHERE level IN ('project','subject') AND state!='failed'"
        " AND NOT EXISTS (SELECT 1 FROM pair WHERE pair.item_id=item.id)"
    )
    con.execute(f"DELETE FROM resource WHERE item_id IN ({empty})")
    con.execute(f"DELETE FROM item WHERE id IN ({empty})")


def forget_items(con: sqlite3.Connection, run: int) -> None:
    """Drop items that this run did not find any more, with their files."""
    gone = "SELECT id FROM item WHERE seen_run<?"
    for table in ("pair", "resource"):
        con.execute(f"DELETE FROM {table} WHERE item_id IN ({gone})", (run,))
    con.execute("DELETE FROM item WHERE seen_run<?", (run,))
