"""Looking at a resource after requests to it: what they brought, what is repaired without sending, the last count."""

from __future__ import annotations

from xferengine.errors import AccessDenied, Disposition, RemoteError
from xferengine.jobs.core import Core
from xferengine.jobs.files_look import Look
from xferengine.jobs.files_trouble import FilesTrouble
from xferengine.manifest import outgoing_units, overview
from xferengine.manifest.outgoing_units import OutUnit
from xferengine.model.events import Notice
from xferengine.model.items import ResourceRef
from xferengine.xnat.faults import ConcurrentWrite

STATS_DUE = "stats_due"
"""Key of the fact that the server's counters are behind the catalog."""
_POLLS = 8
"""How many times ``settle_s`` a server is given to show what became of a request whose answer is lost."""
_WORTH = 8
"""A server reads that many bytes of its disk in the time in which one is sent: it has to read the whole resource."""


class Settlement:
    """Looks at one resource after requests to it.

    Args:
        core: the server.
        look: compares.
        trouble: knows how the last request ended, and hears of progress.
    """

    def __init__(self, core: Core, look: Look, trouble: FilesTrouble) -> None:
        self._core = core
        self._look = look
        self._trouble = trouble

    async def prove(self, ref: ResourceRef, unit: OutUnit) -> None:
        """Look after the first unit: without the right to edit, everything is a 200 and nothing is stored (FIL 1.4).

        Raises:
            AccessDenied: nothing is there.
        """
        await self._look.look(ref)
        if not await self._core.manifest.read(lambda con: outgoing_units.listed(con, unit)):
            raise AccessDenied("the server answers 200 and stores nothing: this account may not write there")

    async def adopt(self, ref: ResourceRef, unit: OutUnit) -> None:
        """Have the server enter the files of a unit that it took whole, and could not enter (FIL 4.3).

        Only where nothing of ours may lie torn beside them: a refresh enters all that it finds. Whether it did is for
        the next look to say: it also answers 200 when it did nothing.

        Raises:
            XferError: fatal ones.

        Source: POST /data/services/refresh/catalog?options=append,checksum, FIL 4.2.
        """
        core = self._core
        settled = ConcurrentWrite.__name__
        if not ref.id or self._look.listed_bytes > _WORTH * unit.bytes:
            return
        if await core.manifest.read(lambda con: outgoing_units.holds_doubt(con, settled)):
            return
        try:
            async with core.lanes.commit.slot():
                await core.client.files.refresh(ref, "append", "checksum")
        except RemoteError as error:
            if error.disposition is Disposition.FATAL:
                raise
            core.emit(Notice(level="info", text=f"the server did not enter what it was sent: {error.message}"))

    async def poll(self, ref: ResourceRef, unit: OutUnit) -> None:
        """Look until the files of a unit are there, or long enough: the server may still be working on it."""
        core, retry = self._core, self._core.settings.retry
        pause = retry.poll_s
        until = core.clock.monotonic() + (0.0 if self._trouble.is_over else retry.settle_s * _POLLS)
        is_late = self._trouble.is_over
        while core.stop.is_feeding:
            await self._look.look(ref, is_patient=not is_late)
            open_files = await core.manifest.read(lambda con: outgoing_units.unsettled(con, unit))
            if open_files < len(unit.files):
                self._trouble.progressed()
            if not open_files or is_late:
                return
            await core.clock.sleep(pause)
            pause = min(pause * 1.5, 20 * retry.poll_s)
            is_late = core.clock.monotonic() >= until

    async def recount(self, ref: ResourceRef) -> None:
        """Let the server count anew; that it cannot is no failure: the files are there."""
        core = self._core
        if not ref.id or not await core.manifest.read(lambda con: overview.get_meta(con, STATS_DUE)):
            return
        try:
            async with core.lanes.commit.slot():
                await core.client.files.refresh(ref, "populateStats")
        except RemoteError as error:
            if error.disposition is Disposition.FATAL:
                raise
            core.emit(Notice(level="warning", text=f"the server did not count the resource anew: {error.message}"))
            return
        await core.manifest.write(lambda con: overview.set_meta(con, STATS_DUE, ""))
