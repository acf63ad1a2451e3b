"""Which bytes of a file are written, which are on their way, and which come next. No I/O; times are handed in."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable

UNBOUNDED = 1 << 62
"""End of a file whose size nobody knows yet."""
SEGMENT_MIN_BYTES = 1 << 20
"""Smaller segments cost more requests than they save waiting."""
STEAL_MIN_BYTES = 256 << 10
STALLED_S = 1.0
"""A connection that was silent for so long, at the end of a file, is not waited for; twice as long the next time, so
that a server that is slow to begin is let begin."""

Span = tuple[int, int]


class Segment:
    """A half-open range that one connection fetches. ``end`` may be moved forward while it does.

    Attributes:
        position: everything before it was received.
        opened_s, moved_s: when it was asked for, and when it last moved.
        drop: ends the request when nothing is left to receive; set while it runs.
    """

    __slots__ = ("drop", "end", "moved_s", "opened_s", "position", "start", "whole_end")

    def __init__(self, start: int, end: int, now_s: float) -> None:
        self.start = self.position = start
        self.end = end
        self.whole_end = end
        """What the request asked for: where the end was before anybody moved it."""
        self.opened_s = self.moved_s = now_s
        self.drop: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"Segment({self.start}..{self.position}..{self.end})"

    @property
    def left(self) -> int:
        """Bytes still to receive."""
        return self.end - self.position

    def advance(self, count: int, now_s: float) -> None:
        """Take note of received bytes."""
        self.position += count
        self.moved_s = now_s

    def eta_s(self, now_s: float) -> float:
        """Return how long the rest takes at the speed so far; infinite when it stands still."""
        if now_s - self.moved_s > STALLED_S:
            return float("inf")
        rate = (self.position - self.start) / max(now_s - self.opened_s, 1e-6)
        return self.left / rate if rate else float("inf")


class Ledger:
    """The ranges of one file.

    Args:
        size: bytes, or -1 while unknown.
        done: ranges that are written already; what is no sound list of them counts as nothing.
    """

    def __init__(self, size: int, done: Iterable[Span] = ()) -> None:
        self.size = size
        self.active: list[Segment] = []
        self._patience_s = STALLED_S
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in done:
            if 0 <= start < end <= self._limit:
                self.wrote(start, end)

    def __repr__(self) -> str:
        return f"Ledger({self.bytes_written} of {self.size}, {len(self.active)} on their way)"

    @property
    def _limit(self) -> int:
        return UNBOUNDED if self.size < 0 else self.size

    @property
    def spans(self) -> tuple[Span, ...]:
        """What is written: ascending, apart."""
        return tuple(zip(self._starts, self._ends, strict=True))

    @property
    def bytes_written(self) -> int:
        """Sum of what is written."""
        return sum(self._ends) - sum(self._starts)

    @property
    def left(self) -> int:
        """Bytes of a file of known size that are not written."""
        return self.size - self.bytes_written

    @property
    def prefix(self) -> int:
        """Bytes written without a gap from the start."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    @property
    def is_complete(self) -> bool:
        """Whether all of a file of known size is written."""
        return self.prefix == self.size

    def wrote(self, start: int, end: int) -> None:
        """Take note of written bytes; they may overlap what was written before."""
        if start >= end:
            return
        low, high = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if low < high:
            start, end = min(start, self._starts[low]), max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]

    def gaps(self) -> list[Span]:
        """Return what is neither written nor on its way, ascending."""
        found: list[Span] = []
        at = 0
        for start, end in sorted([*self.spans, *((s.start, s.end) for s in self.active)]):
            if start > at:
                found.append((at, start))
            at = max(at, end)
        if at < self._limit:
            found.append((at, self._limit))
        return found

    def share(self, connections: int, most_bytes: int) -> int:
        """Return how much one of several connections should ask for: less towards the end, so that all end together."""
        if connections <= 1 or self.size < 0:
            return UNBOUNDED
        return max(SEGMENT_MIN_BYTES, min(most_bytes, self.left // (2 * connections)))

    def take(self, share: int, now_s: float) -> Segment | None:
        """Begin the first gap, or the first ``share`` bytes of it; None when there is none."""
        gaps = self.gaps()
        if not gaps:
            return None
        start, end = gaps[0]
        return self._begin(start, min(end, start + share), now_s)

    def steal(self, now_s: float, open_s: float) -> Segment | None:
        """Begin the back part of the segment that would end last, if a new request is sooner there.

        Args:
            open_s: what a request takes to its first byte.
        """
        if self.size < 0 or not self.active:
            return None
        owner = max(self.active, key=lambda segment: (segment.eta_s(now_s), segment.left))
        eta_s = owner.eta_s(now_s)
        if now_s - owner.moved_s > max(self._patience_s, 4 * open_s) and owner.left:
            start, end = owner.position, owner.end
            self._patience_s *= 2
        elif owner.left >= 2 * STEAL_MIN_BYTES and now_s - owner.opened_s > 2 * open_s and eta_s > 4 * open_s + 0.1:
            start, end = owner.end - owner.left // 2, owner.end
        else:
            return None
        owner.end = start
        if not owner.left and owner.drop is not None:
            owner.drop()
        return self._begin(start, end, now_s)

    def trim(self, share: int) -> None:
        """Leave every running segment the next ``share`` bytes at most, so that others can begin behind it."""
        for segment in self.active:
            if self.size >= 0 and segment.left > 2 * share:
                segment.end = segment.position + share

    def release(self, segment: Segment) -> None:
        """End a segment; what was not written becomes a gap."""
        self.active.remove(segment)

    def _begin(self, start: int, end: int, now_s: float) -> Segment:
        segment = Segment(start, end, now_s)
        self.active.append(segment)
        return segment
