"""Rows of the verbs that work on files of resources: items (listed in one go), their resources, their files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

import msgspec

from xferengine.errors import XferError
from xferengine.model.items import ItemRef, Level, ResourceFiles, ResourceRef
from xferengine.model.remote import RemotePath

_MOST = (1 << 63) - 1
"""Largest number SQLite holds; a listing may say what it likes."""


class ItemRow(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment, or a subject or project with its own resources."""

    id: int
    ref: ItemRef
    state: str
    error: str
    detail: str

    @property
    def shown(self) -> str:
        """``PROJECT/SUBJECT/EXPERIMENT``, as far as it goes."""
        ref = self.ref
        return "/".join(part for part in (ref.project, ref.subject, ref.experiment) if part)


class ResourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One resource of an item."""

    id: int
    ref: ResourceRef
    in_all: bool
    files: int
    bytes: int


class EntryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One file."""

    id: int
    resource_id: int
    path: str
    size: int
    digest: str
    local: str
    state: str
    note: str
    means: str
    real_digest: str
    local_size: int
    mtime_ns: int
    inode: int
    last_modified: str


def key_of(item: ItemRef) -> str:
    """Return what an item is known by in a manifest, whatever its labels become."""
    match item.level:
        case Level.PROJECT:
            return f"project:{item.project}"
        case Level.SUBJECT:
            return f"subject:{item.subject_id}"
        case _:
            return f"experiment:{item.experiment_id}"


def add_item(con: sqlite3.Connection, item: ItemRef, run: int) -> int:
    """Register an item, or take it up again with its present labels; return its row."""
    con.execute(
        "INSERT INTO item (key, level, project, subject, subject_id, label, accession, seen_run)"
        " VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (key) DO UPDATE SET project=excluded.project, subject=excluded.subject,"
        " subject_id=excluded.subject_id, label=excluded.label, accession=excluded.accession,"
        " seen_run=excluded.seen_run",
        (
            key_of(item),
            str(item.level),
            item.project,
            item.subject,
            item.subject_id,
            item.experiment,
            item.experiment_id,
            run,
        ),
    )
    return con.execute("SELECT id FROM item WHERE key=?", (key_of(item),)).fetchone()[0]


def set_item(con: sqlite3.Connection, item_id: int, state: str, error: str = "", detail: str = "") -> None:
    """Write where an item stands."""
    con.execute("UPDATE item SET state=?, error=?, detail=? WHERE id=?", (state, error, detail, item_id))


def items(con: sqlite3.Connection, *states: str) -> Iterator[ItemRow]:
    """Yield items by label, of some states or all."""
    where = f" WHERE state IN ({','.join('?' * len(states))})" if states else ""
    for row in con.execute(f"SELECT * FROM item{where} ORDER BY project, subject, label, id", states):
        yield _item(row)


def item(con: sqlite3.Connection, item_id: int) -> ItemRow:
    """Return one item."""
    return _item(con.execute("SELECT * FROM item WHERE id=?", (item_id,)).fetchone())


def _item(row: sqlite3.Row) -> ItemRow:
    ref = ItemRef(
        level=Level(row["level"]),
        project=row["project"],
        subject=row["subject"],
        subject_id=row["subject_id"],
        experiment=row["label"],
        experiment_id=row["accession"],
    )
    return ItemRow(id=row["id"], ref=ref, state=row["state"], error=row["error"], detail=row["detail"])


def add_resource(con: sqlite3.Connection, item_id: int, found: ResourceFiles, *, in_all: bool) -> int:
    """Register a resource with what is listed in it, or take it up again; return its row."""
    holder = found.ref.item
    con.execute(
        "INSERT INTO resource (item_id, number, label, level, child_id, child_type, direction, in_all, files, bytes)"
        " VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (item_id, number) DO UPDATE SET label=excluded.label,"
        " level=excluded.level, child_id=excluded.child_id, child_type=excluded.child_type,"
        " direction=excluded.direction, in_all=excluded.in_all, files=excluded.files, bytes=excluded.bytes",
        (
            item_id,
            found.ref.id,
            found.ref.label,
            str(holder.level),
            holder.child_id,
            holder.child_type,
            holder.direction,
            in_all,
            len(found.files),
            min(sum(max(file.size, 0) for file in found.files), _MOST),
        ),
    )
    row = con.execute("SELECT id FROM resource WHERE item_id=? AND number=?", (item_id, found.ref.id)).fetchone()
    return row[0]


def keep_resources(con: sqlite3.Connection, item_id: int, rows: set[int]) -> None:
    """Drop the resources of an item that are none of ``rows``: the server lists them no more."""
    known = con.execute("SELECT id FROM resource WHERE item_id=?", (item_id,)).fetchall()
    con.executemany("DELETE FROM resource WHERE id=?", [(row[0],) for row in known if row[0] not in rows])


def resources(con: sqlite3.Connection, owner: ItemRow) -> dict[int, ResourceRow]:
    """Return the resources of an item by row."""
    found: dict[int, ResourceRow] = {}
    for row in con.execute("SELECT * FROM resource WHERE item_id=? ORDER BY id", (owner.id,)):
        holder = msgspec.structs.replace(
            owner.ref,
            level=Level(row["level"]),
            child_id=row["child_id"],
            child_type=row["child_type"],
            direction=row["direction"],
        )
        found[row["id"]] = ResourceRow(
            id=row["id"],
            ref=ResourceRef(item=holder, id=row["number"], label=row["label"]),
            in_all=bool(row["in_all"]),
            files=row["files"],
            bytes=row["bytes"],
        )
    return found


def entry(row: sqlite3.Row) -> EntryRow:
    """Return a row of the table ``entry`` as a value."""
    return EntryRow(
        id=row["id"],
        resource_id=row["resource_id"],
        path=row["path"],
        size=row["size"],
        digest=row["digest"],
        local=row["local"],
        state=row["state"],
        note=row["note"],
        means=row["means"],
        real_digest=row["real_digest"],
        local_size=row["local_size"],
        mtime_ns=row["mtime_ns"],
        inode=row["inode"],
        last_modified=row["last_modified"],
    )


def entries(con: sqlite3.Connection, item_id: int, *states: str) -> list[EntryRow]:
    """Return files of an item, of some states or all, in the order of the listing."""
    where = f" AND state IN ({','.join('?' * len(states))})" if states else ""
    return [
        entry(r) for r in con.execute(f"SELECT * FROM entry WHERE item_id=?{where} ORDER BY id", (item_id, *states))
    ]


def set_entries(con: sqlite3.Connection, changes: Iterable[tuple[int, str, str]]) -> None:
    """Write (row, state, note) of some files."""
    con.executemany("UPDATE entry SET state=?2, note=?3 WHERE id=?1", changes)


def counts(con: sqlite3.Connection, item_id: int) -> dict[str, int]:
    """Return the number of an item's files by state."""
    rows = con.execute("SELECT state, count(*) FROM entry WHERE item_id=? GROUP BY state", (item_id,))
    return {row[0]: row[1] for row in rows}


def states(con: sqlite3.Connection) -> dict[str, int]:
    """Return the number of items by state."""
    return {row[0]: row[1] for row in con.execute("SELECT state, count(*) FROM item GROUP BY state")}


def add_missing(con: sqlite3.Connection, remote: RemotePath, error: XferError, run: int) -> None:
    """Register something that was asked for and is not there."""
    con.execute(
        "INSERT INTO item (key, level, project, subject, label, state, error, detail, seen_run)"
        " VALUES (?,?,?,?,?,'failed',?,?,?) ON CONFLICT (key) DO UPDATE SET state='failed', error=excluded.error,"
        " detail=excluded.detail, seen_run=excluded.seen_run",
        (
            f"remote:{remote.text}",
            str(Level.EXPERIMENT if remote.experiment else Level.SUBJECT if remote.subject else Level.PROJECT),
            remote.project,
            remote.subject,
            remote.experiment,
            error.kind,
            error.message,
            run,
        ),
    )
