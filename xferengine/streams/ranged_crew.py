"""The connections that fetch one version of one file: how many there are, what each does next, what a break means."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.abc

from xferengine.errors import Disposition, RemoteError, Throttled
from xferengine.streams.ranged_ask import Asker, Version
from xferengine.streams.ranged_ledger import SEGMENT_MIN_BYTES, UNBOUNDED, Ledger, Segment
from xferengine.streams.ranged_receive import Pace
from xferengine.streams.ranged_saver import Saver
from xferengine.streams.ranged_shapes import FetchKit, RangesIgnored
from xferengine.streams.ranged_writer import BATCH_BYTES, Prefix, SegmentWriter

_LOOK_S = 0.25
"""How often a connection without work looks for a slow one to help."""
_STRIKES = 4
_FORGIVE_BYTES = 1 << 20
"""After so many bytes earlier breaks are forgotten."""
_CATCH_UP_BYTES = 16 << 20


class Crew:
    """Fetches a version; used once.

    Args:
        version: changed in place as answers come.
        connections: how many there should be now.
        pace: counts over all versions.
    """

    def __init__(self, version: Version, connections: Callable[[], int], pace: Pace, kit: FetchKit) -> None:
        self._version = version
        self._ledger, self._facts = version.ledger, version.facts
        self._connections = connections
        self._pace = pace
        self._kit = kit
        self._now = kit.clock.monotonic
        self.prefix = Prefix(wanted=kit.hash)
        self.asker = Asker(version, pace, on_first=self._hire)
        self.saver = Saver(version.sink, version.ledger, version.facts, kit)
        self._workers = self._idle = 0
        self._ceiling = UNBOUNDED
        self._changed = anyio.Event()
        self._strikes, self._strikes_at = 0, pace.wire_bytes
        self._errors: list[Exception] = []
        self._tg: anyio.abc.TaskGroup = anyio.create_task_group()

    async def run(self) -> None:
        """Fetch what is missing, and digest everything.

        Raises:
            RangesIgnored: what comes cannot be joined with what is written.
            RemoteChanged: there is another version of the file now.
            SizeMismatch: more bytes came than were announced.
            RemoteError: a refusal, or breaks that do not end.
            XferError: of the sink, or of ``save``.

        Cancellation: what came is written; nothing runs in a thread any more.
        """
        try:
            async with self._tg:
                self._start(self._follow)
                self._hire()
        except BaseExceptionGroup:
            if self._errors:
                raise self._errors[0] from self._errors[0].__cause__
            raise

    def _start(self, run: Callable[[], Awaitable[None]]) -> None:
        async def guarded() -> None:
            try:
                await run()
            except Exception as error:
                self._errors.append(error)
                raise

        self._tg.start_soon(guarded)

    # how many there are

    @property
    def _is_over(self) -> bool:
        return self._ledger.is_complete and not self._ledger.active

    @property
    def _target(self) -> int:
        if not self._facts.can_range or not self._facts.is_known:
            return 1
        return max(1, min(self._connections(), self._ceiling))

    def _hire(self) -> None:
        """Start workers while more are wanted, and make room for them."""
        if self._is_over:
            return
        target = self._target
        if target > 1:
            target = min(target, -(-self._ledger.left // SEGMENT_MIN_BYTES))
        missing = target - self._workers
        if missing <= 0:
            return
        self._ledger.trim(self._ledger.share(target, self._kit.segment_bytes))
        self._workers += missing
        self._pace.crew_changed()
        for _ in range(missing):
            self._start(self._work)

    async def _work(self) -> None:
        try:
            while (segment := await self._next()) is not None:
                await self._serve(segment)
        finally:
            self._workers -= 1
            self._pace.crew_changed()
            self._signal()

    async def _next(self) -> Segment | None:
        """Return what to fetch; None for a worker that is not needed any more."""
        while not self._is_over:
            target = self._target
            if self._workers - self._idle > target:
                return None
            segment = self._ledger.take(self._share(target), self._now())
            if segment is None and self._facts.can_range:
                segment = self._ledger.steal(self._now(), self.asker.open_s)
            if segment is not None:
                return segment
            self._idle += 1
            self._pace.crew_changed()
            with anyio.move_on_after(_LOOK_S):
                await self._changed.wait()
            self._idle -= 1
        return None

    def _share(self, target: int) -> int:
        if self._facts.is_known or not self._facts.can_range:
            return self._ledger.share(target, self._kit.segment_bytes)
        wanted, listed = self._connections(), self._version.listed
        if wanted <= 1 or listed < 2 * SEGMENT_MIN_BYTES:
            return UNBOUNDED
        return Ledger(listed).share(wanted, self._kit.segment_bytes)

    def _signal(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # one segment

    async def _serve(self, segment: Segment) -> None:
        start = segment.position
        try:
            with anyio.CancelScope() as scope:
                segment.drop = scope.cancel
                await self.asker.ask(segment, self._writer(segment), on_batch=self._tick)
        except RangesIgnored:
            if not self._keep_going_whole(segment):
                raise
        except RemoteError as error:
            if error.disposition is not Disposition.RETRY or not self._facts.is_known or not self._facts.can_range:
                raise
            if segment.left > 0:
                self._endure(error, came_bytes=segment.position - start)
        finally:
            self._ledger.release(segment)
            self._signal()
        self._hire()

    def _writer(self, segment: Segment) -> SegmentWriter:
        return SegmentWriter(segment, self._ledger, self._version.sink, self.prefix, self._kit.threads)

    def _keep_going_whole(self, refused: Segment) -> bool:
        """Let the connection that brings the whole file go on alone, if there is one."""
        self._facts.can_range, self._facts.ranges_ignored = False, True
        for segment in self._ledger.active:
            covers = segment.start == 0 and segment.whole_end == self._ledger.size
            runs = segment.left > 0 or segment.end == segment.whole_end
            if segment is not refused and covers and runs:
                segment.end = segment.whole_end
                return True
        return False

    def _endure(self, error: RemoteError, *, came_bytes: int) -> None:
        """Go on after a break, with one connection less where it brought nothing.

        Raises:
            RemoteError: the error itself, when breaks do not end or nobody else is left.
        """
        is_alone = self._workers - self._idle <= 1
        if self._pace.wire_bytes - self._strikes_at >= _FORGIVE_BYTES:
            self._strikes = 0
        self._strikes, self._strikes_at = self._strikes + 1, self._pace.wire_bytes
        if self._strikes > _STRIKES or (is_alone and isinstance(error, Throttled)):
            raise error
        if not came_bytes and not is_alone:
            self._ceiling = self._workers - self._idle - 1

    # beside the workers

    def _tick(self) -> None:
        """Look, once per batch, at what is due."""
        if self.saver.is_due:
            self.saver.begin()
            self._start(self.saver.save)
        if self._pace.end_stretch(self._workers, is_steady=not self._idle):
            self._hire()
        if self.prefix.lag(self._ledger.prefix) >= BATCH_BYTES:
            self._signal()

    async def _follow(self) -> None:
        """Digest what was not digested from memory: what an earlier run left, and what arrived out of order."""
        while True:
            lag = self.prefix.lag(self._ledger.prefix)
            if lag and (lag >= BATCH_BYTES or self._is_over):
                end = min(self._ledger.prefix, self.prefix.digested + _CATCH_UP_BYTES)
                await self._kit.threads.run(self.prefix.catch_up, self._version.sink, end)
            elif self._is_over:
                return
            else:
                await self._changed.wait()
