"""One run per job: an OS lock plus a lease row with a heartbeat (design 4)."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from xferengine.errors import LockedByOther
from xferengine.kit.filelock import try_lock

STALE_S = 90.0
"""A lease of another host without a heartbeat for so long belongs to a dead run."""


LAST_BEAT = "last_beat"
"""Key of the last sign of life of the run before this one, seconds since the epoch."""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs the job: for the message, and for hosts that share a state folder without working OS locks."""

    host: str
    pid: int
    beat: float
    """Seconds since the epoch."""


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the OS lock of a job folder; the kernel gives it back when the process dies, however it dies.

    Raises:
        LockedByOther: a live run has it.
    """
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not try_lock(handle):
            raise LockedByOther(f"another run is working on this job: {folder.name}", path=str(folder))
        yield
    finally:
        os.close(handle)


def take(con: sqlite3.Connection, now: float | None = None) -> None:
    """Write our lease row, after looking at the one that stands there.

    Raises:
        LockedByOther: a run on another host gave a sign of life within ``STALE_S``.
    """
    now = time.time() if now is None else now
    row = con.execute("SELECT value FROM meta WHERE key='lease'").fetchone()
    if row is not None:
        old = msgspec.json.decode(row[0], type=Lease)
        if old.host != socket.gethostname() and abs(now - old.beat) < STALE_S:
            raise LockedByOther(f"host {old.host} (process {old.pid}) is working on this job")
        _keep(con, old.beat)
    beat(con, now)


def beat(con: sqlite3.Connection, now: float | None = None) -> None:
    """Renew the lease row."""
    lease = Lease(host=socket.gethostname(), pid=os.getpid(), beat=time.time() if now is None else now)
    con.execute("INSERT OR REPLACE INTO meta VALUES ('lease', ?)", (msgspec.json.encode(lease).decode(),))


def _keep(con: sqlite3.Connection, beat: float) -> None:
    con.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (LAST_BEAT, str(beat)))


def drop(con: sqlite3.Connection) -> None:
    """Remove the lease row at a clean end."""
    _keep(con, time.time())
    con.execute("DELETE FROM meta WHERE key='lease'")
