"""Whether small files may be read on the event loop: while the disk is fast a thread hop costs more than the read."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Args = TypeVarTuple("Args")

SLOW_S = 0.005
_WINDOW = 256


class LoopGuard:
    """Watches how long small reads take; says no when more than one in a hundred takes 5 ms or longer.

    Reads in threads are measured too, so a disk that recovers is believed again. Share one per process.

    Args:
        timer: seconds; another one in tests.
        slow_s: what counts as slow.
    """

    def __init__(self, timer: Callable[[], float] = time.perf_counter, *, slow_s: float = SLOW_S) -> None:
        self._timer = timer
        self._slow_s = slow_s
        self._marks: deque[bool] = deque(maxlen=_WINDOW)
        self._slow_count = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"LoopGuard({self._slow_count} of {len(self._marks)} slow)"

    @property
    def may_read_on_loop(self) -> bool:
        """Say whether the 99th percentile of the last reads is below the mark. One slow read alone proves nothing."""
        return self._slow_count <= max(1, len(self._marks) // 100)

    def measure(self, fn: Callable[[*Args], T], *args: *Args) -> T:
        """Call ``fn(*args)``, take note of how long it took, return what it returned. Safe in any thread."""
        began_s = self._timer()
        result = fn(*args)
        self.note(self._timer() - began_s)
        return result

    def note(self, seconds: float) -> None:
        """Take note of one read."""
        is_slow = seconds >= self._slow_s
        with self._lock:
            if len(self._marks) == _WINDOW:
                self._slow_count -= self._marks[0]
            self._marks.append(is_slow)
            self._slow_count += is_slow
