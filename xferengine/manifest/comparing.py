"""Comparing what two places have, in the manifest: which side has a file alone, what is equal, what folds to one name.

The order is ``mark_sides`` for all rows; ``join_folded`` and ``mark_clashes`` where the file system folds names; then
``compare`` for all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from xferengine.manifest.comparisons import OTHER, Side

PAGE = 50_000
"""Rows that one statement looks at: others wait for the writer meanwhile. (``+state`` keeps SQLite from the index of
states, with which each page would cost as much as all of them.)"""


def last_id(con: sqlite3.Connection) -> int:
    """Return the number of the last row."""
    return con.execute("SELECT coalesce(max(id), 0) FROM pair").fetchone()[0]


def mark_sides(con: sqlite3.Connection, run: int, low: int) -> None:
    """Of the rows from ``low`` on, drop those that are nowhere any more and mark those that one side alone has."""
    span, at = "id>=? AND id<?", (low, low + PAGE)
    con.execute(f"DELETE FROM pair WHERE {span} AND seen_a!=? AND seen_b!=?", (*at, run, run))
    for side, other in OTHER.items():
        con.execute(
            f"UPDATE pair SET state='only-{side}' WHERE {span} AND +state='pending' AND seen_{side}=?"
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
    both = "id>=? AND id<? AND +state='pending' AND seen_a=? AND seen_b=?"
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


def join_folded(con: sqlite3.Connection, local: Side, after: int, limit: int) -> int:
    """Bring together what the folder's file system takes for one name, after all exact names have met.

    Args:
        local: the side of the folder.
        after: row of the server's file behind which to begin.
        limit: most pairs looked at.

    Returns:
        The row to go on behind; 0 when nothing is left.
    """
    remote = OTHER[local]
    rows = con.execute(
        "SELECT theirs.id, ours.id FROM pair AS theirs CROSS JOIN pair AS ours ON ours.folded=theirs.folded"
        f" WHERE theirs.id>? AND +theirs.state='only-{remote}' AND +ours.state='only-{local}'"
        f" AND ours.size_{local}>=0 AND theirs.folded!='' AND ours.folded!='' ORDER BY theirs.id, ours.id LIMIT ?",
        (after, limit),
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
    return rows[-1][0] if rows else 0


def mark_clashes(con: sqlite3.Connection, local: Side, run: int) -> None:
    """Mark files of the server whose name another one of them has in the folder, as its file system sees it."""
    remote = OTHER[local]
    con.execute(
        "UPDATE pair SET state='unusable', note='NameClash: the folder cannot hold it beside another file: their names"
        f" differ only in case or Unicode form' WHERE state='only-{remote}' AND folded!='' AND EXISTS"
        f" (SELECT 1 FROM pair AS held WHERE held.folded=pair.folded AND held.folded!='' AND held.id!=pair.id"
        f" AND held.seen_{remote}=? AND held.seen_{local}=?)",
        (run, run),
    )


def present_only(con: sqlite3.Connection, side: Side, after: int, limit: int) -> list[tuple[int, str]]:
    """Return (row, key) of files that one side alone has, behind a row."""
    rows = con.execute(
        "SELECT id, key FROM pair WHERE +state=? AND id>? AND note='' ORDER BY id LIMIT ?",
        (f"only-{side}", after, limit),
    )
    return [(row[0], row[1]) for row in rows]


def set_notes(con: sqlite3.Connection, notes: Sequence[tuple[int, str, str]]) -> None:
    """Write (row, state, note)."""
    con.executemany("UPDATE pair SET state=?2, note=?3 WHERE id=?1", notes)
