"""One request for a segment: what the answer must be before a byte of it reaches the part file."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from xferengine.errors import ReadInterrupted
from xferengine.streams.ranged_head import Head, check_same, read_head
from xferengine.streams.ranged_ledger import UNBOUNDED, Ledger, Segment
from xferengine.streams.ranged_receive import Pace, receive
from xferengine.streams.ranged_shapes import Facts, OpenPart, PartSink, RangesIgnored
from xferengine.streams.ranged_writer import SegmentWriter


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a file, on its way; ledger and facts change as answers come."""

    open_part: OpenPart
    sink: PartSink
    ledger: Ledger
    facts: Facts
    listed: int
    """Bytes that a listing gave it, -1 where it gave none."""


class Asker:
    """Makes the requests for a version.

    Args:
        on_first: called when the first answer has told size and date, before its body is read.

    Attributes:
        open_s: what the last request took to its first byte.
    """

    def __init__(self, version: Version, pace: Pace, *, on_first: Callable[[], None]) -> None:
        self._version = version
        self._ledger, self._facts = version.ledger, version.facts
        self._pace = pace
        self._on_first = on_first
        self.open_s = 0.0

    async def ask(self, segment: Segment, writer: SegmentWriter, *, on_batch: Callable[[], None]) -> None:
        """Bring a segment.

        Raises:
            RangesIgnored: the answer is another part, or whole where it must not be.
            RemoteChanged: it is of another version.
            SizeMismatch: it is longer than announced.
            RemoteError: it was refused, or broke; what came is written.
            XferError: of the sink.

        Cancellation: what came is written.
        """
        first, last = (None, None) if segment.end == UNBOUNDED else (segment.start, segment.end - 1)
        async with self._version.open_part(first, last, self._facts.last_modified) as opened:
            self.open_s = self._pace.now_s - segment.opened_s
            segment.moved_s = self._pace.now_s
            head = read_head(opened, first=first, last=last)
            if self._facts.is_known:
                if head.is_whole:
                    raise RangesIgnored("a range from the first byte was answered with the whole file")
                check_same(head, size=self._ledger.size, last_modified=self._facts.last_modified)
            else:
                self._learn(head, segment, asked_whole=first is None)
            bound = self._version.listed if self._ledger.size < 0 else -1
            await receive(opened, segment, writer, bound=bound, pace=self._pace, on_batch=on_batch)
        if self._ledger.size < 0:
            segment.end = self._ledger.size = segment.position
        elif segment.left > 0:
            raise ReadInterrupted("an answer ended before its last byte")

    def _learn(self, head: Head, segment: Segment, *, asked_whole: bool) -> None:
        """Take what the first answer says."""
        facts = self._facts
        if not head.is_whole and not head.last_modified:
            raise RangesIgnored("a part of a file came without a date")
        facts.is_known, facts.last_modified = True, head.last_modified
        self._ledger.size = head.size
        facts.ranges_ignored |= head.is_whole and not asked_whole
        facts.can_range &= bool(head.last_modified) and head.size >= 0 and not facts.ranges_ignored
        if head.is_whole:
            segment.end = head.size if head.size >= 0 else UNBOUNDED
        else:
            segment.end = min(segment.end, head.size)
        segment.whole_end = segment.end
        self._on_first()

    async def look_again(self) -> None:
        """Ask whether the file is still the one that was fetched: the last answer may have run on into another version.

        Raises:
            RemoteChanged: it is not.
            RemoteError: there is no telling.
        """
        last, facts = self._ledger.size - 1, self._facts
        if not facts.can_range or last < 0:
            return
        async with self._version.open_part(last, last, facts.last_modified) as opened:
            try:
                head = read_head(opened, first=last, last=last)
                check_same(head, size=last + 1, last_modified=facts.last_modified)
            except RangesIgnored:
                facts.ranges_ignored = True
