"""Files of a download in the manifest: what is wanted, what is there already, what arrived."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from xferengine.manifest.transfers import EntryRow, ResourceRow, entry, item, resources
from xferengine.model.events import Failure, Totals

GOOD = ("verified", "present")
"""States of files that are where they belong."""
_UNHASHED = "entry.state IN ('verified', 'present') AND entry.means IN ('size', 'none')"
LARGE = 1 << 20
"""Files up to this size come in one piece."""
PART = "part:"
"""Before a row's number: the fact how much of a large file is there."""
NAMED = ("refused", "failed", "stale")
"""States of files that a report names."""


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """One file as the intake leaves it."""

    path: str
    size: int
    digest: str
    local: str
    state: str
    note: str = ""
    means: str = ""
    real_digest: str = ""
    local_size: int = -1
    mtime_ns: int = 0
    inode: int = 0
    last_modified: str = ""


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """One file that lies under its final name."""

    id: int
    state: str
    note: str
    means: str
    size: int
    digest: str
    """As the catalog has them now."""
    real_digest: str
    local_size: int
    mtime_ns: int
    inode: int
    last_modified: str = ""


def replace(con: sqlite3.Connection, item_id: int, resource_id: int, run: int, files: Iterable[Incoming]) -> None:
    """Write the files of one resource as they are listed now."""
    con.executemany(
        "INSERT INTO entry (item_id, resource_id, seen_run, path, size, digest, local, state, note, means, real_digest,"
        " local_size, mtime_ns, inode, last_modified) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
        " ON CONFLICT (resource_id, path) DO UPDATE SET seen_run=excluded.seen_run, size=excluded.size,"
        " digest=excluded.digest, local=excluded.local, state=excluded.state, note=excluded.note,"
        " means=excluded.means, real_digest=excluded.real_digest, local_size=excluded.local_size,"
        " mtime_ns=excluded.mtime_ns, inode=excluded.inode, last_modified=excluded.last_modified",
        ((item_id, resource_id, run, *msgspec.structs.astuple(file)) for file in files),
    )


def forget_unlisted(con: sqlite3.Connection, item_id: int, run: int) -> None:
    """Drop rows of files that the server lists no more; what was downloaded stays on the disk."""
    _forget_parts(con, "item_id=? AND seen_run<?", (item_id, run))
    con.execute("DELETE FROM entry WHERE item_id=? AND seen_run<?", (item_id, run))


def forget_unwanted_items(con: sqlite3.Connection, run: int) -> None:
    """Drop items that this run did not find any more, with their files."""
    gone = "SELECT id FROM item WHERE seen_run<?"
    _forget_parts(con, f"item_id IN ({gone})", (run,))
    for table in ("entry", "resource"):
        con.execute(f"DELETE FROM {table} WHERE item_id IN ({gone})", (run,))
    con.execute("DELETE FROM item WHERE seen_run<?", (run,))


def _forget_parts(con: sqlite3.Connection, where: str, values: tuple[int, ...]) -> None:
    """Forget how far files had come that go now: a row's number may be given to another file."""
    con.execute(f"DELETE FROM meta WHERE key IN (SELECT '{PART}' || id FROM entry WHERE {where})", values)


def parts_to_keep(con: sqlite3.Connection) -> set[int]:
    """Return rows of files that did not come whole and whose progress is known."""
    rows = con.execute(
        "SELECT entry.id FROM meta JOIN entry ON meta.key=? || entry.id"
        " WHERE meta.value!='' AND entry.state IN ('planned', 'failed')",
        (PART,),
    )
    return {row[0] for row in rows}


def earlier(con: sqlite3.Connection, key: str) -> dict[tuple[str, str], EntryRow]:
    """Return what is known of an item's files, by (server's id of the resource, path).

    Args:
        key: of the item, ``transfers.key_of``.
    """
    rows = con.execute(
        "SELECT entry.*, resource.number FROM item JOIN entry ON entry.item_id=item.id"
        " JOIN resource ON resource.id=entry.resource_id WHERE item.key=?",
        (key,),
    )
    return {(row["number"], row["path"]): entry(row) for row in rows}


def arrive(con: sqlite3.Connection, files: Iterable[Arrived]) -> None:
    """Write that files lie under their final names; how far large ones had come is no longer of interest."""
    files = list(files)
    con.executemany(
        "DELETE FROM meta WHERE key=?", ((f"{PART}{file.id}",) for file in files if file.local_size >= LARGE)
    )
    con.executemany(
        "UPDATE entry SET state=?2, note=?3, means=?4, size=?5, digest=?6, real_digest=?7, local_size=?8,"
        " mtime_ns=?9, inode=?10, last_modified=?11 WHERE id=?1",
        (msgspec.structs.astuple(file) for file in files),
    )


def wanted(con: sqlite3.Connection) -> list[tuple[int, int, int]]:
    """Return (item, files, bytes) of items that still want files, the largest first."""
    rows = con.execute(
        "SELECT item_id, count(*), CAST(total(max(size, 0)) AS INTEGER) AS total FROM entry WHERE state='planned'"
        " GROUP BY item_id ORDER BY total DESC"
    )
    return [(row[0], row[1], row[2]) for row in rows]


def totals(con: sqlite3.Connection, *, units: int, bytes_resent: int) -> Totals:
    """Return the counts of a summary."""
    by_state = {
        row[0]: (row[1], row[2])
        for row in con.execute("SELECT state, count(*), CAST(total(max(size, 0)) AS INTEGER) FROM entry GROUP BY state")
    }

    def number(*states: str) -> int:
        return sum(by_state.get(state, (0, 0))[0] for state in states)

    failed_items = con.execute("SELECT count(*) FROM item WHERE state='failed'").fetchone()[0]
    unproven = con.execute("SELECT count(*) FROM entry WHERE state='verified' AND means='none'").fetchone()[0]
    return Totals(
        experiments=con.execute("SELECT count(*) FROM item").fetchone()[0],
        units=units,
        files=number("verified", "stale"),
        bytes=sum(by_state.get(state, (0, 0))[1] for state in ("verified", "stale")),
        verified=number("verified") - unproven,
        skipped=number("present"),
        failed=number("failed", "refused") + failed_items,
        refused=number("refused"),
        by_size=count_means(con).get("size", 0),
        stale=number("stale"),
        bytes_resent=bytes_resent,
    )


def failures(con: sqlite3.Connection, states: Sequence[str], limit: int = 1000) -> list[Failure]:
    """Return what did not work: items first, then files."""
    result = [
        Failure(ref=row["key"].partition(":")[2], error=row["error"], detail=row["detail"])
        for row in con.execute("SELECT key, error, detail FROM item WHERE error!='' ORDER BY id LIMIT ?", (limit,))
    ]
    marks = ",".join("?" * len(states))
    for row in con.execute(f"{_NAMED} WHERE entry.state IN ({marks}) ORDER BY entry.id LIMIT ?", (*states, limit)):
        kind, _, detail = row["note"].partition(": ")
        result.append(Failure(ref=_shown(row), error=kind, detail=detail))
    return result[:limit]


def count_means(con: sqlite3.Connection) -> dict[str, int]:
    """Return how many files were verified by what."""
    rows = con.execute("SELECT means, count(*) FROM entry WHERE state IN ('verified','present') GROUP BY means")
    return {row[0]: row[1] for row in rows}


def unproven_items(con: sqlite3.Connection, limit: int = 1000) -> list[str]:
    """Return ids of items with files that nothing could be compared for."""
    rows = con.execute(
        "SELECT key FROM item WHERE EXISTS (SELECT 1 FROM entry WHERE entry.item_id=item.id"
        " AND entry.state IN ('verified','present') AND entry.means='none') ORDER BY id LIMIT ?",
        (limit,),
    )
    return [row[0].partition(":")[2] for row in rows]


def named_files(con: sqlite3.Connection) -> Iterator[tuple[str, str, str, str]]:
    """Yield (item, path, state, note) of files that a report names, by item."""
    marks = ",".join("?" * len(NAMED))
    order = "item.project, item.subject, item.label, entry.id"
    for row in con.execute(f"{_NAMED} WHERE entry.state IN ({marks}) ORDER BY {order}", NAMED):
        item_text = "/".join(part for part in (row["project"], row["subject"], row["item_label"]) if part)
        yield item_text, _shown(row), row["state"], row["note"]


_NAMED = (
    "SELECT entry.local, entry.path, entry.state, entry.note, item.project, item.subject, item.label AS item_label,"
    " item.accession, item.subject_id, resource.number, resource.child_id FROM entry"
    " JOIN item ON item.id=entry.item_id JOIN resource ON resource.id=entry.resource_id"
)


def _shown(row: sqlite3.Row) -> str:
    """Return where a file is: its place in the folder, or at the server when it has none."""
    if row["local"]:
        return row["local"]
    place = row["accession"] or row["subject_id"] or row["project"]
    scan = f"/{row['child_id']}" if row["child_id"] else ""
    return f"{place}{scan}/resources/{row['number']}/files/{row['path']}"


def found_nothing(con: sqlite3.Connection) -> bool:
    """Tell whether nothing of what was asked for by name is there for this account."""
    missed = con.execute("SELECT 1 FROM item WHERE error IN ('NotFound', 'AccessDenied') LIMIT 1").fetchone()
    return missed is not None and con.execute("SELECT 1 FROM entry LIMIT 1").fetchone() is None


def has_broken(con: sqlite3.Connection) -> bool:
    """Tell whether the content of some file contradicts itself."""
    row = con.execute(
        "SELECT 1 FROM entry WHERE state='failed'"
        " AND (note LIKE 'DigestMismatch:%' OR note LIKE 'SizeMismatch:%') LIMIT 1"
    ).fetchone()
    return row is not None


def has_planned(con: sqlite3.Connection) -> bool:
    """Tell whether some file is still to be moved."""
    return con.execute("SELECT 1 FROM entry WHERE state='planned' LIMIT 1").fetchone() is not None


def set_means(con: sqlite3.Connection, entry_id: int, means: str) -> None:
    """Write what a file was verified by."""
    con.execute("UPDATE entry SET means=? WHERE id=?", (means, entry_id))


def without_digest(con: sqlite3.Connection, after: int, limit: int) -> list[tuple[EntryRow, ResourceRow]]:
    """Return files that are here and of which nothing but the size was compared, by row.

    Args:
        after: the last row of the page before.
    """
    return _with_resources(con, f"{_UNHASHED} AND entry.id>{after:d} ORDER BY id LIMIT {limit:d}")


def count_without_digest(con: sqlite3.Connection) -> int:
    """Return how many files ``without_digest`` tells of, in all."""
    return con.execute(f"SELECT count(*) FROM entry WHERE {_UNHASHED}").fetchone()[0]


def stale(con: sqlite3.Connection) -> list[tuple[EntryRow, ResourceRow]]:
    """Return files whose catalog entry is known to be out of date."""
    return _with_resources(con, "entry.state='stale' ORDER BY id")


def _with_resources(con: sqlite3.Connection, where: str) -> list[tuple[EntryRow, ResourceRow]]:
    known: dict[int, dict[int, ResourceRow]] = {}
    found: list[tuple[EntryRow, ResourceRow]] = []
    for row in con.execute(f"SELECT * FROM entry WHERE {where}").fetchall():
        item_id = row["item_id"]
        if item_id not in known:
            known[item_id] = resources(con, item(con, item_id))
        found.append((entry(row), known[item_id][row["resource_id"]]))
    return found
