"""Points where `faults.py` may interfere with the work of the server; the default does nothing.

Each method is called by the core at the point its name tells. Raise `HttpError` to fail there.
"""

import asyncio
from pathlib import Path
from weakref import WeakKeyDictionary

from xferengine.emulator.archive_members import Member
from xferengine.emulator.clock import Clock
from xferengine.emulator.records import PrearcRow

_GRAIN_S = 0.002  # shorter waits are saved up
_CREDIT_S = 0.005  # how much oversleeping is made good


class Hooks:
    """No-op hooks; subclass and override what is wanted."""

    async def on_entry(self, row: PrearcRow, name: str) -> None:
        """Before an instance is stored: service time, or an error of the client's kind (IMP 1.6)."""

    def concurrent_file(self, row: PrearcRow, name: str) -> bool:
        """Pretend that another request writes the same scan and file name now (IMP 2.3)."""
        return False

    def disk_full(self) -> bool:
        """Every store fails: 507 inside, 400 ``unable to read DICOM object`` outside (IMP 1.6)."""
        return False

    def torn(self, row: PrearcRow, name: str) -> bool:
        """Leave this instance cut on disk and fail the entry (IMP 8, race 4)."""
        return False

    def lose(self, row: PrearcRow, path: Path) -> bool:
        """Remove this file after it was stored, while the client gets its 200."""
        return False

    def leak_lock(self, row: PrearcRow) -> bool:
        """Leave a lock file behind after a request: the idle timer never builds the row (IMP 2.5)."""
        return False

    async def on_building(self, row: PrearcRow) -> None:
        """While the row is ``_BUILDING``, before files are read."""

    async def on_archiving(self, row: PrearcRow) -> None:
        """While the row is ``_ARCHIVING``, before files move: a place to make archiving take long."""

    def on_members(self, members: list[Member]) -> list[Member]:
        """Before an archive is sent: what it will hold (FIL 2.1)."""
        return members

    def change_after(self, path: Path) -> int | None:
        """After how many bytes of a download the file changes on disk, None for never (FIL 3)."""
        return None


class Pacer:
    """Service time per instance: parallel part, and a serial part under the lock of the whole server (IMP 2.1).

    An event loop cannot sleep exactly for less than a grain; shorter waits are saved up as debt, and oversleeping is
    credited, so that the average is exact. The lock's own use is counted on the wall clock, so its rate is exact too.
    """

    def __init__(self, clock: Clock, *, instance_ms: float = 0.0, instance_lock_ms: float = 0.0) -> None:
        self._clock = clock
        self._parallel_s = instance_ms / 1000
        self._serial_s = instance_lock_ms / 1000
        self._lock_free_at = 0.0
        self._due: WeakKeyDictionary[asyncio.Task[object], float] = WeakKeyDictionary()

    async def wait_instance(self) -> None:
        """Wait for one instance of the calling task."""
        if not self._parallel_s and not self._serial_s:
            return
        task = asyncio.current_task()
        assert task is not None, "called outside a task"
        now = self._clock.monotonic()
        due = max(self._due.get(task, 0.0), now - _CREDIT_S) + self._parallel_s
        if self._serial_s:
            # One queue in front of one lock: a comer's turn ends a serial time after the turn before.
            self._lock_free_at = max(self._lock_free_at, now - _CREDIT_S) + self._serial_s
            due = max(due + self._serial_s, self._lock_free_at)
        self._due[task] = due
        if due - now >= _GRAIN_S:
            await self._clock.sleep(due - now)
