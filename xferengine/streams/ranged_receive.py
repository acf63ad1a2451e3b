"""Receiving one segment: counting, slowing down, and stopping where another connection goes on."""

from __future__ import annotations

from collections.abc import Callable

from xferengine.errors import SizeMismatch
from xferengine.streams.ranged_ledger import Segment
from xferengine.streams.ranged_shapes import Buffer, FetchKit, Opened
from xferengine.streams.ranged_writer import SegmentWriter

REPORT_BYTES = 256 << 10
STRETCH_S = 1.5
"""Over so long, with the same connections, a rate is worth comparing."""


class Pace:
    """Counts what comes, tells it on, and measures stretches."""

    def __init__(self, kit: FetchKit) -> None:
        self._kit = kit
        self._now = kit.clock.monotonic
        self._unreported = 0
        self._since_s, self._since_bytes = self._now(), 0
        self.wire_bytes = 0
        """Of bodies, also what was thrown away."""
        self.kept_bytes = 0
        """What of them is in place now, less what was before."""
        self.origin_bytes = 0
        """What was in place when the fetch began."""
        self.connections_used = 0

    @property
    def now_s(self) -> float:
        """Seconds of the clock that all measure by."""
        return self._now()

    async def hold(self, size_bytes: int) -> None:
        """Wait until a chunk may pass the rate limit."""
        if self._kit.limiter is not None:
            await self._kit.limiter.take(size_bytes)

    def count(self, came_bytes: int, kept_bytes: int) -> None:
        """Take note of a chunk."""
        self.wire_bytes += came_bytes
        self.kept_bytes += kept_bytes
        self._unreported += kept_bytes
        if self._unreported >= REPORT_BYTES:
            self.report()

    def report(self) -> None:
        """Tell on what came."""
        if self._unreported:
            self._kit.on_bytes(self._unreported)
            self._unreported = 0

    def settle(self, bytes_in_place: int) -> None:
        """Tell on what is missing, or too much, for all reports to add up to what is in the part file."""
        kept_bytes = bytes_in_place - self.origin_bytes
        self._unreported += kept_bytes - self.kept_bytes
        self.kept_bytes = kept_bytes
        self.report()

    def crew_changed(self) -> None:
        """Begin a stretch anew."""
        self._since_s, self._since_bytes = self._now(), self.kept_bytes

    def end_stretch(self, connections: int, *, is_steady: bool) -> bool:
        """Report a stretch that is long enough, begin the next, and tell whether there was one."""
        self.connections_used = max(self.connections_used, connections)
        seconds = self._now() - self._since_s
        if seconds < STRETCH_S:
            return False
        if is_steady and self._kit.on_stretch is not None:
            self._kit.on_stretch(connections, self.kept_bytes - self._since_bytes, seconds)
        self.crew_changed()
        return True


async def receive(
    opened: Opened, segment: Segment, writer: SegmentWriter, *, bound: int, pace: Pace, on_batch: Callable[[], None]
) -> None:
    """Bring the body of an answer into the part file.

    Args:
        bound: most bytes of a body of unknown length, -1 for any number.
        on_batch: called whenever a batch was handed on.

    Raises:
        SizeMismatch: more came than was announced, or than ``bound``.
        RemoteError: the body broke; what came is written.
        XferError: of the sink.

    Cancellation: what came is written.
    """
    length = opened.content_length
    announced_end = segment.whole_end if length is None else segment.start + length
    try:
        async for chunk in opened.chunks():
            await pace.hold(len(chunk))
            _take(chunk, segment, writer, pace)
            if 0 <= bound < segment.position:
                raise SizeMismatch(f"more than the {bound} listed bytes of a file came")
            if writer.is_due:
                await writer.flush()
                on_batch()
            if segment.left <= 0 and segment.end < announced_end:
                break  # the rest is another's, or announced beyond the end of the file (FIL 3)
    finally:
        await writer.finish()
        on_batch()


def _take(chunk: Buffer, segment: Segment, writer: SegmentWriter, pace: Pace) -> None:
    size = len(chunk)
    kept = min(size, segment.left)
    if kept < size:
        if segment.end == segment.whole_end:
            raise SizeMismatch("more bytes of a file came than were announced")
        chunk = memoryview(chunk)[:kept]
    pace.count(size, kept)
    segment.advance(kept, pace.now_s)
    if kept:
        writer.add(chunk)
