"""State on disk: one SQLite file, written through at each change, safe against ``kill -9``.

WAL with synchronous=NORMAL: a committed change survives the death of the process without an fsync per change.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from xferengine.emulator.records import CatalogEntry, Record

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (kind TEXT, key TEXT, doc TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (resource INTEGER, uri TEXT, doc TEXT NOT NULL, PRIMARY KEY (resource, uri))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS logs (id INTEGER PRIMARY KEY, row TEXT, date TEXT, entry TEXT);
CREATE INDEX IF NOT EXISTS logs_row ON logs (row);
"""
_ENTRY_FIELDS = tuple(each.name for each in fields(CatalogEntry))


class Store:
    """Records as JSON documents, catalog entries by resource, counters and prearchive logs."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._depth = 0

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Group changes into one commit. Do not await inside: other changes would join it."""
        self._depth += 1
        if self._depth == 1:
            self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            if self._depth == 1:
                self._db.execute("ROLLBACK")
            raise
        else:
            if self._depth == 1:
                self._db.execute("COMMIT")
        finally:
            self._depth -= 1

    def put(self, record: Record) -> None:
        """Insert or replace a record."""
        self.put_doc(record.KIND, record.key, asdict(record))

    def put_doc(self, kind: str, key: str, doc: Any) -> None:
        """Insert or replace a JSON document of any kind."""
        self._db.execute("REPLACE INTO records VALUES (?, ?, ?)", (kind, key, json.dumps(doc)))

    def drop(self, kind: str, key: str) -> None:
        """Remove a record; a missing one is no error."""
        self._db.execute("DELETE FROM records WHERE kind = ? AND key = ?", (kind, key))

    def docs(self, kind: str) -> list[tuple[str, Any]]:
        """Return every (key, document) of a kind in key order."""
        rows = self._db.execute("SELECT key, doc FROM records WHERE kind = ? ORDER BY key", (kind,))
        return [(key, json.loads(doc)) for key, doc in rows]

    def doc(self, kind: str, key: str) -> Any | None:
        """Return one document, or None."""
        row = self._db.execute("SELECT doc FROM records WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return None if row is None else json.loads(row[0])

    def next_number(self, name: str) -> int:
        """Return the next value of a counter, from 1."""
        sql = "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
        return self._db.execute(sql, (name,)).fetchone()[0]

    def entries(self, resource: int) -> dict[str, CatalogEntry]:
        """Return the catalog of a resource, by uri."""
        rows = self._db.execute("SELECT uri, doc FROM entries WHERE resource = ? ORDER BY uri", (resource,))
        return {uri: CatalogEntry(**json.loads(doc)) for uri, doc in rows}

    def put_entries(self, resource: int, entries: Iterable[CatalogEntry]) -> None:
        """Insert or replace catalog entries in one statement batch."""
        rows = (
            (resource, entry.uri, json.dumps({name: getattr(entry, name) for name in _ENTRY_FIELDS}))
            for entry in entries
        )
        with self.transaction():
            self._db.executemany("REPLACE INTO entries VALUES (?, ?, ?)", rows)

    def drop_entries(self, resource: int, uris: Iterable[str] | None = None) -> None:
        """Remove some entries, or all of a resource."""
        with self.transaction():
            if uris is None:
                self._db.execute("DELETE FROM entries WHERE resource = ?", (resource,))
            else:
                sql = "DELETE FROM entries WHERE resource = ? AND uri = ?"
                self._db.executemany(sql, [(resource, uri) for uri in uris])

    def add_log(self, row: str, date: str, entry: str) -> None:
        """Append a line to the log of a prearchive session."""
        self._db.execute("INSERT INTO logs (row, date, entry) VALUES (?, ?, ?)", (row, date, entry))

    def logs(self, row: str) -> list[tuple[int, str, str]]:
        """Return (id, date, entry) of a prearchive session, oldest first."""
        return self._db.execute("SELECT id, date, entry FROM logs WHERE row = ? ORDER BY id", (row,)).fetchall()

    def drop_logs(self, row: str) -> None:
        """Forget the log of a prearchive session."""
        self._db.execute("DELETE FROM logs WHERE row = ?", (row,))
