"""The table of prearchive sessions: identity, states and locks (IMP 2.1 - 2.3).

XNAT keeps it in a database behind one lock of the whole JVM. Here every method runs to its end without awaiting,
so it is that critical section.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from xferengine.emulator.clock import folder_stamp, sql_stamp
from xferengine.emulator.http import HttpError
from xferengine.emulator.records import UNASSIGNED, PrearcRow
from xferengine.emulator.world import World

_WORK = ("ARCHIVING", "BUILDING", "DELETING", "MOVING", "SEPARATING")
_LOCKABLE = (*_WORK, "CONFLICT", "RECEIVING", "RECEIVING_INTERRUPT")
STATES = frozenset(("READY", "ERROR", *_LOCKABLE, *(f"QUEUED_{s}" for s in _WORK), *(f"_{s}" for s in _LOCKABLE)))
AUTO_CODES = {"": "", "0": "Manual", "4": "AutoArchive", "5": "AutoArchiveOverwrite"}
_TOUCH_EVERY_S = 15.0  # GDI.updateSessionLastMod: at most one update in this time while receiving (IMP 2.1)


class PrearcTable:
    """Rows by key and by identity, with the transitions that clients can cause."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._touched: dict[str, float] = {}
        self._by_identity: dict[tuple[str, str, str], list[str]] = {}
        self.lock_files: dict[str, int] = {}  # row key -> lock files of instances being written
        for row in world.rows.values():
            self._by_identity.setdefault((row.project, row.tag, row.name), []).append(row.key)

    def sweep_orphans(self) -> int:
        """Delete folders no row knows: left when the server died after archiving, before it had cleaned up."""
        count = 0
        for folder in (self._world.data_dir / "prearchive").glob("*/*/*"):
            if "/".join(folder.parts[-3:]) not in self._world.rows:
                remove_folder(folder)
                count += 1
        return count

    # -- lookups ------------------------------------------------------------------------------------------------

    def get(self, project: str, timestamp: str, folder: str) -> PrearcRow | None:
        """Return a row by its unique key."""
        return self._world.rows.get(f"{project}/{timestamp}/{folder}")

    def of_project(self, project: str) -> list[PrearcRow]:
        """Return the rows of a project (empty for Unassigned), oldest first."""
        return [row for row in self.all() if row.project == project]

    def all(self) -> list[PrearcRow]:
        """Return every row, oldest first."""
        return sorted(self._world.rows.values(), key=lambda row: (row.timestamp, row.folder))

    def find(self, project: str, study_uid: str, name: str) -> PrearcRow | None:
        """Return the row an instance joins: same project, StudyInstanceUID and session name (IMP 2.1)."""
        keys = self._by_identity.get((project, study_uid, name))
        return self._world.rows.get(keys[0]) if keys else None

    # -- changes ------------------------------------------------------------------------------------------------

    def join(self, wanted: PrearcRow) -> PrearcRow:
        """Return the row for an instance, new or known; the first writer's attributes stay (IMP 2.1).

        An instance sets every state but RECEIVING and RECEIVING_INTERRUPT to RECEIVING, and BUILDING before its lock
        to RECEIVING_INTERRUPT (IMP 2.2).

        Raises:
            HttpError: The supplied timestamp and folder belong to another study: unique key violation, 400 (IMP 1.6).
        """
        row = self.find(wanted.project, wanted.tag, wanted.name)
        if row is None:
            if not wanted.timestamp:
                wanted.timestamp = folder_stamp(self._world.clock.now())
                while wanted.key in self._world.rows:  # two studies with one label in the same millisecond
                    wanted.timestamp = f"{wanted.timestamp[:-3]}{(int(wanted.timestamp[-3:]) + 1) % 1000:03d}"
            if wanted.key in self._world.rows:
                raise HttpError(400, "duplicate key value violates unique constraint")
            self.add(wanted)
            return wanted
        if row.status == "BUILDING":
            self._write_status(row, "RECEIVING_INTERRUPT")
        elif row.status not in ("RECEIVING", "RECEIVING_INTERRUPT"):
            self._write_status(row, "RECEIVING")
        else:
            self.touch(row)
        return row

    def add(self, row: PrearcRow) -> None:
        """Insert a row and make its folder."""
        row.lastmod = self._stamp()
        self._touched[row.key] = self._world.clock.monotonic()
        self._by_identity.setdefault((row.project, row.tag, row.name), []).append(row.key)
        self._world.prearc_dir(row).mkdir(parents=True, exist_ok=True)
        self._world.save(row)

    def touch(self, row: PrearcRow) -> None:
        """Renew last-modified, at most every 15 s (IMP 2.1)."""
        now = self._world.clock.monotonic()
        if now - self._touched.get(row.key, -_TOUCH_EVERY_S) >= _TOUCH_EVERY_S:
            self._touched[row.key] = now
            row.lastmod = self._stamp()
            self._world.save(row)

    def release_lock_file(self, key: str) -> None:
        """Count one lock file less (IMP 2.3)."""
        left = self.lock_files.get(key, 0) - 1
        if left > 0:
            self.lock_files[key] = left
        else:
            self.lock_files.pop(key, None)

    def idle_s(self, row: PrearcRow) -> float:
        """Return how long ago the row was last modified. After a restart that is counted from the start."""
        return self._world.clock.monotonic() - self._touched.setdefault(row.key, self._world.clock.monotonic())

    def set_status(self, row: PrearcRow, status: str, *, override_lock: bool = False) -> bool:
        """Set a state; False on a locked or vanished row, nothing thrown (IMP 2.2)."""
        if row.key not in self._world.rows or (row.is_locked and not override_lock):
            return False
        self._write_status(row, status)
        return True

    def unlock(self, row: PrearcRow, status: str) -> None:
        """Leave a lock: the work ends with `status`, unless the row has vanished.

        The lock holder writes its end state also when an instance has flipped the row meanwhile (IMP 2.2 a).
        """
        if row.key in self._world.rows:
            self._write_status(row, status)

    def forget(self, row: PrearcRow) -> None:
        """Delete a row but not its files."""
        self._world.delete(row)
        self._world.store.drop_logs(row.key)
        self._touched.pop(row.key, None)
        self.lock_files.pop(row.key, None)
        identity = (row.project, row.tag, row.name)
        keys = self._by_identity.get(identity, [])
        if row.key in keys:
            keys.remove(row.key)
        if not keys:
            self._by_identity.pop(identity, None)

    def rekey(self, row: PrearcRow, change: Callable[[PrearcRow], None]) -> None:
        """Change identity fields of a row: it is re-created under its new key (IMP 2.2, move)."""
        logs = self._world.store.logs(row.key)
        self.forget(row)
        change(row)
        self.add(row)
        for _, date, entry in logs:
            self._world.store.add_log(row.key, date, entry)

    def log(self, row: PrearcRow, entry: str) -> None:
        """Append to the log that `/logs` shows (IMP 4.2)."""
        self._world.store.add_log(row.key, self._stamp(), entry)

    def _write_status(self, row: PrearcRow, status: str) -> None:
        row.status = status
        row.lastmod = self._stamp()
        self._touched[row.key] = self._world.clock.monotonic()
        self._world.save(row)

    def _stamp(self) -> str:
        return sql_stamp(self._world.clock.now())


def project_key(shown: str) -> str:
    """Turn a project of a URL into the column value: Unassigned is empty."""
    return "" if shown == UNASSIGNED else shown


def remove_folder(folder: Path) -> None:
    """Delete a session's folder and its empty parents: timestamp and project (IMP 3.4)."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in (folder.parent, folder.parent.parent):
        try:
            parent.rmdir()
        except OSError:
            return
