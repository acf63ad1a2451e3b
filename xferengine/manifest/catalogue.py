"""The list of all jobs of a state folder: a small database beside the job folders."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from xferengine.errors import SettingsError
from xferengine.manifest.schema import connect, make_private_folder, mapped

TABLE = """
CREATE TABLE IF NOT EXISTS job (
  id TEXT PRIMARY KEY, identity TEXT NOT NULL, verb TEXT NOT NULL, server TEXT NOT NULL, project TEXT NOT NULL,
  created TEXT NOT NULL, updated TEXT NOT NULL, state TEXT NOT NULL, spec TEXT NOT NULL,
  experiments INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS job_identity ON job (identity, created);
"""


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """One job as ``jobs list`` shows it."""

    id: str
    identity: str
    verb: str
    server: str
    project: str
    created: str
    updated: str
    state: str
    """``running`` · the summary's states · ``cancelled``."""
    spec: str
    """JSON of the verb's spec."""
    experiments: int
    done: int
    failed: int


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Catalogue:
    """Open catalogue; made by ``open_catalogue``."""

    def __init__(self, con: sqlite3.Connection, state_dir: Path) -> None:
        self._con = con
        self._state_dir = state_dir

    def folder(self, job_id: str) -> Path:
        """Return the folder of a job."""
        return self._state_dir / "jobs" / job_id

    def find(self, identity: str) -> JobRow | None:
        """Return the newest job of that identity that was not cancelled."""
        row = self._con.execute(
            "SELECT * FROM job WHERE identity=? AND state!='cancelled' ORDER BY created DESC, rowid DESC LIMIT 1",
            (identity,),
        ).fetchone()
        return None if row is None else _job(row)

    def get(self, job_id: str) -> JobRow:
        """Return a job by its id, or by an unambiguous beginning of it.

        Raises:
            SettingsError: no such job, or several.
        """
        rows = self._con.execute(
            "SELECT * FROM job WHERE substr(id, 1, ?)=? ORDER BY created", (len(job_id), job_id)
        ).fetchall()
        exact = [row for row in rows if row["id"] == job_id]
        if len(exact or rows) != 1 or not job_id:
            raise SettingsError(f"no single job {job_id!r} here; see: xferengine jobs list")
        return _job((exact or rows)[0])

    def all(self) -> list[JobRow]:
        """Return all jobs, newest first."""
        return [_job(row) for row in self._con.execute("SELECT * FROM job ORDER BY created DESC, rowid DESC")]

    def add(self, *, identity: str, verb: str, server: str, project: str, spec: str) -> JobRow:
        """Register a new job and return it. Its id is short: it travels in the SOURCE of every row on the server."""
        job_id = secrets.token_hex(4)
        now = _now()
        with mapped(self._state_dir / "catalogue.db"):
            self._con.execute(
                "INSERT INTO job (id, identity, verb, server, project, created, updated, state, spec)"
                " VALUES (?,?,?,?,?,?,?,'running',?)",
                (job_id, identity, verb, server, project, now, now, spec),
            )
        return self.get(job_id)

    def find_or_add(self, *, identity: str, verb: str, server: str, project: str, spec: str) -> JobRow:
        """Return the job of that identity, registering it when there is none: two starts at once get the same one."""
        with mapped(self._state_dir / "catalogue.db"):
            self._con.execute("BEGIN IMMEDIATE")
            try:
                row = self.find(identity) or self.add(
                    identity=identity, verb=verb, server=server, project=project, spec=spec
                )
            except BaseException:
                self._con.execute("ROLLBACK")
                raise
            self._con.execute("COMMIT")
        return row

    def update(
        self, job_id: str, state: str, *, experiments: int | None = None, done: int | None = None, failed: int = 0
    ) -> None:
        """Write where a job stands; counts that are not given stay as they are, but that of failures, which is 0."""
        with mapped(self._state_dir / "catalogue.db"):
            self._con.execute(
                "UPDATE job SET state=?, updated=?, experiments=coalesce(?, experiments), done=coalesce(?, done),"
                " failed=? WHERE id=?",
                (state, _now(), experiments, done, failed, job_id),
            )

    def remove(self, job_id: str) -> None:
        """Forget a job (its folder is the caller's)."""
        with mapped(self._state_dir / "catalogue.db"):
            self._con.execute("DELETE FROM job WHERE id=?", (job_id,))


def _job(row: sqlite3.Row) -> JobRow:
    return msgspec.convert(dict(row), JobRow)


@contextmanager
def open_catalogue(state_dir: Path) -> Iterator[Catalogue]:
    """Open the catalogue of a state folder, making both (0700) when they are not there.

    Raises:
        DiskFull, BadInput, ManifestError: the state folder cannot be written.
    """
    path = make_private_folder(state_dir) / "catalogue.db"
    con = connect(path)
    try:
        with mapped(path):
            con.executescript(TABLE)
        yield Catalogue(con, state_dir)
    finally:
        con.close()
