"""After a request that failed: what its files are now, whether to look first, and how small the next bundle is."""

from __future__ import annotations

from xferengine.errors import (
    BodyTooLarge,
    Disposition,
    LocalError,
    Rejected,
    RemoteError,
    XferError,
)
from xferengine.jobs.core import Core
from xferengine.jobs.files_bundle import Sent, file_of
from xferengine.manifest import outgoing, outgoing_units
from xferengine.manifest.outgoing_units import OutUnit, UnitEnd
from xferengine.model.events import AttemptFailed
from xferengine.schedule.breaker import means_down
from xferengine.schedule.retry import Action
from xferengine.schedule.sizer import Sizer

_GATEWAY = frozenset({502, 504})
_HOPELESS = 3
"""So many single files in a row that the server fails on: it will fail on the others, too."""


class FilesTrouble:
    """Decides what follows failed requests to one resource.

    A server that fails on the same files again and again is given ever smaller bundles, so that in the end a single
    file it cannot take is given up, and not its neighbours.

    Args:
        core: the server.
        sizer: learns of failures.
        name: of the holder, for events.

    Attributes:
        is_over: of the last ``settle``: the server has answered, its work on the request has ended.
        hopeless: why nothing more is to be sent, as ``CLASS: sentence``; empty while there is hope.
    """

    def __init__(self, core: Core, sizer: Sizer, name: str) -> None:
        self._core = core
        self._name = name
        self._sizer = sizer
        self._failures = 0
        self._most = 0
        self._given_up = 0
        self.is_over = True
        self.hopeless = ""

    def files_max(self, wanted: int) -> int:
        """Return how many files the next bundle may have."""
        return min(wanted, self._most) if self._most else wanted

    def succeeded(self) -> None:
        """A request went well: bundles may grow again."""
        self._failures = self._given_up = 0
        self._most = self._most * 4 if 0 < self._most < 1 << 20 else 0

    def progressed(self) -> None:
        """A request that seemed lost did bring files: what fails next is no failure in a row."""
        self._failures = self._given_up = 0

    async def settle(self, unit: OutUnit, sent: Sent) -> bool:
        """Take note of a failure and wait as long as it asks for; return whether the listing must be looked at.

        Raises:
            XferError: the job cannot go on.
        """
        error = sent.error
        assert error is not None
        if isinstance(error, LocalError) and error.disposition is not Disposition.FATAL:
            self._emit(unit, error)
            await self._local(unit, sent, error)
            return False
        is_lost = error.disposition is Disposition.LOOK
        await self._end(unit, sent, state="doubtful" if is_lost and sent.is_whole else self._state(unit, sent))
        self.is_over = is_lost and error.status is not None and error.status not in _GATEWAY
        if error.disposition is Disposition.FATAL or isinstance(error, (BodyTooLarge, Rejected)):
            self._emit(unit, error)
            await self._refused(unit, error)
            return False
        self._sizer.observe(unit.bytes, len(unit.files), seconds=0.0, ok=False)
        if await self._gave_up(unit, error):
            self._emit(unit, error)
            return False
        await self._wait(unit, error)
        return is_lost

    def _emit(self, unit: OutUnit, error: XferError, wait_s: float = 0.0) -> None:
        self._core.emit(
            AttemptFailed(
                unit=unit.id,
                study=self._name,
                attempt=max(self._failures, 1),
                error=error.kind,
                detail=error.message,
                wait_s=round(wait_s, 3),
            )
        )

    async def _refused(self, unit: OutUnit, error: RemoteError | LocalError) -> None:
        """What comes again for the same request: a smaller one may pass; a single file is given up."""
        if isinstance(error, BodyTooLarge):
            self._sizer.on_body_too_large(unit.bytes)
            self._core.sizer.on_body_too_large(unit.bytes)
        elif isinstance(error, Rejected):
            self._sizer.observe(unit.bytes, len(unit.files), seconds=0.0, ok=False)
            self._most = max(1, len(unit.files) // 2)
        else:
            raise error
        if len(unit.files) == 1:
            await self._fail(unit, error)

    async def _gave_up(self, unit: OutUnit, error: XferError) -> bool:
        """Give a single file up that the server fails on each time; return whether that was done."""
        if not self.is_over:
            return False
        attempts = self._core.settings.retry.attempts
        if len(unit.files) > 1:
            if self._failures:
                self._most = max(1, len(unit.files) // 2) if 2 * self._failures < attempts else 1
            return False
        if self._failures + 1 < (attempts if not self._given_up else 2):
            return False
        self._failures = 0
        self._given_up += 1
        await self._fail(unit, error)
        if self._given_up >= _HOPELESS:
            self.hopeless = f"{error.kind}: {error.message}; not tried: it was the same with {_HOPELESS} other files"
        return True

    async def _wait(self, unit: OutUnit, error: RemoteError | LocalError) -> None:
        core = self._core
        self._failures += 1
        may_shrink = self.is_over and len(unit.files) > 1  # then the next one is another, smaller request
        attempt = min(self._failures, core.settings.retry.attempts - 1) if may_shrink else self._failures
        decision = core.retry.decide(error, max(attempt, 1))
        wait_s = decision.wait_s
        is_final = decision.action not in {Action.RETRY, Action.LOOK, Action.REAUTH}
        if is_final and means_down(error) and core.breaker.is_open:
            is_final, wait_s = False, core.settings.retry.settle_s  # the lane holds the next request
        self._emit(unit, error, wait_s)
        if is_final:
            raise error
        await core.clock.sleep(wait_s)

    async def _fail(self, unit: OutUnit, error: XferError) -> None:
        note = f"{error.kind}: {error.message}"
        await self._core.manifest.write(lambda con: outgoing.fail(con, [file.id for file in unit.files], note))

    async def _local(self, unit: OutUnit, sent: Sent, error: LocalError) -> None:
        """A file that changed or cannot be read is given up; the others go again, over what came of the torn body."""
        file = file_of(unit.files, error)
        if file is None:
            raise error
        await self._end(unit, sent, state=self._state(unit, sent))
        note = f"{error.kind}: {error.message}"
        if sent.bytes_sent:
            note += "; a part of it may lie on the server, listed nowhere, until it is sent again"
        await self._core.manifest.write(lambda con: outgoing.fail(con, [file.id], note))

    async def _end(self, unit: OutUnit, sent: Sent, *, state: str) -> None:
        error = sent.error
        assert error is not None
        # What was lost on the way was sent in vain; of what arrived whole, only what has to go again.
        outcome = "ambiguous" if error.disposition is Disposition.LOOK and sent.is_whole else error.kind
        md5s = tuple((file.id, md5) for file in unit.files if (md5 := sent.md5s.get(file.source.shown)))
        end = UnitEnd(
            outcome=outcome, bytes_sent=sent.bytes_sent, state=state, md5s=md5s, detail=f"{error.kind}: {error.message}"
        )
        await self._core.manifest.write(lambda con: outgoing_units.end_unit(con, unit, end))

    def _state(self, unit: OutUnit, sent: Sent) -> str:
        """A body that began may have left torn files on the server's disk: only overwriting repairs them (FIL 1.4)."""
        return "replace" if sent.bytes_sent or unit.overwrite else "planned"
