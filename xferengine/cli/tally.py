"""What the events of a job add up to, and how fast it goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from xferengine.jobs.wording import duration_text
from xferengine.model.events import (
    AttemptFailed,
    BytesMoved,
    Event,
    FilesDone,
    ItemChanged,
    JobStarted,
    ListingProgress,
    Paused,
    PlanReady,
    ScanProgress,
    StudyChanged,
    UnitDone,
)
from xferengine.model.states import StudyState

RATE_OVER_S = 20.0
_ENDED = frozenset({"done", "partial", "failed"})
_FINAL = frozenset(str(state) for state in StudyState if state.is_final)


class Tally:
    """Adds events up.

    Bytes on the wire include what bundles add around files and what is sent twice; a unit that is done counts with
    the size of its files, so that the sum ends exactly at the plan's total.
    """

    def __init__(self) -> None:
        self.scan: ScanProgress | None = None
        self.listing: ListingProgress | None = None
        self.plan: PlanReady | None = None
        self.paused = ""
        self.files = 0
        self.attempts_failed = 0
        self._done_bytes = 0
        self._moving: dict[int, int] = {}
        self._ended: set[str] = set()

    @property
    def has_work(self) -> bool:
        """Say whether the plan is known and there is something to send."""
        return self.plan is not None and self.plan.experiments > 0

    @property
    def sessions(self) -> int:
        """Sessions that have reached their end, in this run."""
        return len(self._ended)

    @property
    def sessions_total(self) -> int:
        """Sessions of the plan; more when a resumed job ends some that had nothing left to send."""
        return max(self.plan.experiments if self.plan else 0, self.sessions)

    @property
    def bytes(self) -> int:
        """Bytes of files that have arrived, and what is under way."""
        total = self._done_bytes + sum(self._moving.values())
        return min(total, self.plan.bytes) if self.plan else total

    def take(self, event: Event) -> None:
        """Count one event."""
        match event:
            case BytesMoved():
                self._moving[event.unit] = max(0, self._moving.get(event.unit, 0) + event.bytes)
                self.paused = ""
            case FilesDone():
                self._count_files(event)
            case UnitDone():
                self._moving.pop(event.unit, None)
                self._done_bytes += event.bytes
                self.files += event.files
            case AttemptFailed():
                self._moving.pop(event.unit, None)
                self.attempts_failed += 1
            case StudyChanged():
                self._note_end(event.study, has_ended=event.state in _FINAL)
            case ItemChanged():
                self._note_end(event.item, has_ended=event.state in _ENDED)
            case ScanProgress():
                self.scan = event
            case ListingProgress():
                self.listing = event
            case PlanReady():
                self.plan = event
            case Paused():
                self.paused = event.why
            case JobStarted():
                self._ended.clear()
            case _:
                return

    def _count_files(self, event: FilesDone) -> None:
        if event.unit in self._moving:
            self._moving[event.unit] = max(0, self._moving[event.unit] - event.bytes)
        self._done_bytes += event.bytes
        self.files += event.files

    def _note_end(self, ref: str, *, has_ended: bool) -> None:
        if has_ended:
            self._ended.add(ref)
        else:
            self._ended.discard(ref)


class Pace:
    """Bytes per second over the last seconds, and how long the rest takes."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._marks: deque[tuple[float, int]] = deque()

    def mark(self, moved: int) -> None:
        """Note how much has arrived by now."""
        now_s = self._now()
        self._marks.append((now_s, moved))
        while len(self._marks) > 2 and now_s - self._marks[1][0] >= RATE_OVER_S:
            self._marks.popleft()

    @property
    def rate_bps(self) -> float:
        """Bytes per second, 0 while unknown."""
        if len(self._marks) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._marks[0], self._marks[-1]
        return max(0.0, (last - first) / (last_s - first_s)) if last_s > first_s else 0.0

    def left_text(self, rest_bytes: int) -> str:
        """Return ``12 s left``, or an empty string while nobody can tell."""
        rate = self.rate_bps
        return f"{duration_text(rest_bytes / rate)} left" if rate > 0 and rest_bytes > 0 else ""
