"""What a comparison found, counted and named: for the summary and the report of ``verify``."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

import msgspec

from xferengine.manifest import overview
from xferengine.manifest.comparisons import COMPLETE, RUN

STATES = ("differs", "only-a", "only-b", "unusable", "uncompared")
"""States of files that are not simply equal, in the order in which a report names them."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One file that is not simply equal."""

    item: str
    """``PROJECT/SUBJECT/EXPERIMENT``, as far as it goes; empty for a local file that belongs to none."""
    key: str
    state: str
    note: str


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Files of a run by (state, means)."""

    files: dict[tuple[str, str], int]
    bytes: dict[tuple[str, str], int]

    def count(self, *states: str, means: str = "") -> int:
        """Return the number of files of some states, by one means or any."""
        return sum(n for (state, by), n in self.files.items() if state in states and means in {"", by})

    def size(self, *states: str) -> int:
        """Return their bytes."""
        return sum(n for (state, _), n in self.bytes.items() if state in states)


def is_complete(con: sqlite3.Connection) -> bool:
    """Tell whether the last run compared everything."""
    return overview.get_meta(con, COMPLETE, "0") == overview.get_meta(con, RUN, "")


def has_table(con: sqlite3.Connection) -> bool:
    """Tell whether a run came as far as having anything to compare."""
    return con.execute("SELECT 1 FROM sqlite_master WHERE name='pair'").fetchone() is not None


def _of_run(con: sqlite3.Connection) -> str:
    run = int(overview.get_meta(con, RUN, "0"))
    return f"(seen_a={run} OR seen_b={run})"


def counts(con: sqlite3.Connection, item_id: int | None = None) -> Counts:
    """Return the counts of the last run, of one item or of all."""
    where = _of_run(con) + (" AND item_id=?" if item_id is not None else "")
    rows = con.execute(
        f"SELECT state, means, count(*), sum(max(size_a, size_b, 0)) FROM pair WHERE {where} GROUP BY state, means",
        () if item_id is None else (item_id,),
    ).fetchall()
    return Counts(files={(r[0], r[1]): r[2] for r in rows}, bytes={(r[0], r[1]): r[3] for r in rows})


def found(con: sqlite3.Connection, state: str, limit: int = -1) -> Iterator[Found]:
    """Yield files of one state by item and name."""
    rows = con.execute(
        "SELECT item.project, item.subject, item.label, pair.key, pair.state, pair.note FROM pair"
        f" LEFT JOIN item ON item.id=pair.item_id WHERE pair.state=? AND {_of_run(con)}"
        " ORDER BY pair.item_id, pair.key LIMIT ?",
        (state, limit),
    )
    for row in rows:
        shown = "/".join(part for part in (row[0], row[1], row[2]) if part)
        yield Found(item=shown, key=row[3], state=row[4], note=row[5])


def size_only(con: sqlite3.Connection, limit: int = 1000) -> list[str]:
    """Return ids of items with files that nothing but their size was compared of."""
    rows = con.execute(
        "SELECT accession, subject_id, project FROM item WHERE EXISTS (SELECT 1 FROM pair WHERE pair.item_id=item.id"
        f" AND pair.state='equal' AND pair.means='size' AND {_of_run(con)}) ORDER BY item.id LIMIT ?",
        (limit,),
    )
    return [_id_of(row) for row in rows]


def _id_of(row: Iterable[str]) -> str:
    return next((text for text in row if text), "")


def count_items(con: sqlite3.Connection, *states: str) -> int:
    """Return the number of items of the last run, of some states or all."""
    where = f" AND state IN ({','.join('?' * len(states))})" if states else ""
    run = int(overview.get_meta(con, RUN, "0"))
    return con.execute(f"SELECT count(*) FROM item WHERE seen_run=?{where}", (run, *states)).fetchone()[0]


def failed_items(con: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """Return (item in words, error, detail) of items that the last run could not compare."""
    rows = con.execute(
        "SELECT project, subject, label, error, detail FROM item WHERE state='failed' AND seen_run=? ORDER BY id",
        (int(overview.get_meta(con, RUN, "0")),),
    )
    return [("/".join(part for part in row[:3] if part), row[3], row[4]) for row in rows]


def settle_items(con: sqlite3.Connection) -> list[tuple[str, str]]:
    """Write where every item stands; return (its id, state)."""
    rows = con.execute("SELECT id, state, accession, subject_id, project FROM item").fetchall()
    changed: list[tuple[str, str]] = []
    for item_id, state, *ids in rows:
        if state != "failed":
            state = "partial" if counts(con, item_id).count(*STATES) else "done"
            con.execute("UPDATE item SET state=? WHERE id=?", (state, item_id))
        changed.append((_id_of(ids), state))
    return changed
