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
    """

    def __init__(self, core: Core, sizer: Sizer, name: str) -> None:
        self._core = core
        self._name = name
        self._sizer = sizer
        self._failures = 0
        self._most = 0
        self.is_over = True

    def files_max(self, wanted: int) -> int:
        """Return how many files the next bundle may have."""
        return min(wanted, self._most) if self._most else wanted

    def succeeded(self) -> None:
        """A request went well: bundles may grow again."""
        self._failures = 0
        self._most = self._most * 4 if 0 < self._most < 1 << 20 else 0

    def progressed(self) -> None:
        """A request that seemed lost did bring files: what fails next is no failure in a row."""
        self._failures = 0

    async def settle(self, unit: OutUnit, sent: Sent) -> bool:
        """Take note of a failure and wait as long as it asks for; return whether the listing must be looked at.

        Raises:
            XferError: the job cannot go on.
        """
        error = sent.error
        assert error is not None
        self._core.emit(
            AttemptFailed(unit=unit.id, study=self._name, attempt=1, error=error.kind, detail=error.message, wait_s=0.0)
        )
        if isinstance(error, LocalError) and error.disposition is not Disposition.FATAL:
            await self._local(unit, sent, error)
            return False
        is_lost = error.disposition is Disposition.LOOK
        await self._end(unit, sent, state="doubtful" if is_lost else self._state(unit, sent))
        if error.disposition is Disposition.FATAL:
            raise error
        self.is_over = is_lost and error.status is not None and error.status not in _GATEWAY
        if isinstance(error, BodyTooLarge):
            return await self._too_large(unit, error)
        self._sizer.observe(unit.bytes, len(unit.files), seconds=0.0, ok=False)
        if isinstance(error, Rejected):
            await self._isolate(unit, error)
        elif not await self._gave_up(unit, error):
            await self._wait(unit, error)
        return is_lost

    async def _isolate(self, unit: OutUnit, error: Rejected) -> None:
        """Something in the bundle is refused: halve it, until it is a single file."""
        if len(unit.files) > 1:
            self._most = max(1, len(unit.files) // 2)
        else:
            await self._fail(unit, error)

    async def _gave_up(self, unit: OutUnit, error: XferError) -> bool:
        """Give a single file up that the server fails on each time; return whether that was done."""
        if not self.is_over:
            return False
        if len(unit.files) > 1:
            self._most = max(1, len(unit.files) // 2) if self._failures else self._most
            return False
        if self._failures + 1 < self._core.settings.retry.attempts:
            return False
        self._failures = 0
        await self._fail(unit, error)
        return True

    async def _wait(self, unit: OutUnit, error: RemoteError | LocalError) -> None:
        core = self._core
        self._failures += 1
        may_shrink = self.is_over and len(unit.files) > 1  # then the next one is another, smaller request
        attempt = min(self._failures, core.settings.retry.attempts - 1) if may_shrink else self._failures
        decision = core.retry.decide(error, max(attempt, 1))
        if decision.action in {Action.RETRY, Action.LOOK, Action.REAUTH}:
            await core.clock.sleep(decision.wait_s)
        elif means_down(error) and core.breaker.is_open:
            await core.clock.sleep(core.settings.retry.settle_s)  # the lane holds the next request
        else:
            raise error

    async def _too_large(self, unit: OutUnit, error: XferError) -> bool:
        self._sizer.on_body_too_large(unit.bytes)
        self._core.sizer.on_body_too_large(unit.bytes)
        if len(unit.files) == 1:
            await self._fail(unit, error)
        return False

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
        await self._core.manifest.write(lambda con: outgoing.fail(con, [file.id], note))

    async def _end(self, unit: OutUnit, sent: Sent, *, state: str) -> None:
        error = sent.error
        assert error is not None
        outcome = "ambiguous" if error.disposition is Disposition.LOOK else error.kind
        md5s = tuple((file.id, md5) for file in unit.files if (md5 := sent.md5s.get(file.source.shown)))
        end = UnitEnd(
            outcome=outcome, bytes_sent=sent.bytes_sent, state=state, md5s=md5s, detail=f"{error.kind}: {error.message}"
        )
        await self._core.manifest.write(lambda con: outgoing_units.end_unit(con, unit, end))

    def _state(self, unit: OutUnit, sent: Sent) -> str:
        """A body that began may have left torn files on the server's disk: only overwriting repairs them (FIL 1.4)."""
        return "replace" if sent.bytes_sent or unit.overwrite else "planned"
