"""Bringing files into one resource: one writer, bundle after bundle, then a fresh listing; three rounds at most.

hold the resource · make it, once
up to three times: send what is new, then what replaces something · list · judge
count files and bytes on the server anew, once
"""

from __future__ import annotations

import sqlite3

import anyio
import msgspec

from xferengine.errors import AccessDenied, Disposition, RemoteError, XferError
from xferengine.jobs.core import Core
from xferengine.jobs.files_bundle import PLAIN_FROM_BYTES, ResourceSender, Sent
from xferengine.jobs.files_look import Look
from xferengine.jobs.files_target import Target, ensure_resource
from xferengine.jobs.files_trouble import FilesTrouble
from xferengine.manifest import outgoing, outgoing_units, overview, transfers
from xferengine.manifest.outgoing_units import OutUnit, UnitEnd
from xferengine.model.events import BytesMoved, ItemChanged, Notice, UnitDone, UnitStarted
from xferengine.model.items import ItemRef, ResourceRef
from xferengine.schedule.sizer import Sizer, SizerState
from xferengine.store.reader import SourceReader
from xferengine.xnat.resources import ResourceMarks

ROUNDS = 3
_FILES_FACTOR = 16
"""A bundle of a resource may have so many times the files of an import: each bundle costs the server a whole catalog
(FIL 4.3), each instance of an import its own work."""
_SMALLEST_BYTES = 1 << 20
"""Bundles of tiny files are not made smaller than this: it is nothing to a network."""
_POLLS = 8
"""How many times ``settle_s`` a server is given to show what became of a request whose answer is lost."""
SHIELD_S = 10.0
"""How long a record of interrupted work may hold up a cancellation."""
STATS_DUE = "stats_due"
"""Key of the fact that the server's counters are behind the catalog."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of the holder and of the resource in the manifest."""

    item_id: int
    target_id: int


def item_name(item: ItemRef) -> str:
    """Return what events call an item: an id, never a label."""
    return item.experiment_id or item.subject_id or item.project


class ResourceRun:
    """Sends what the manifest holds for one resource.

    Args:
        core: the server.
        reader: of the local files.
        target: the resource, which may not exist yet.
        place: its rows.
        marks: of a resource that is made.
    """

    def __init__(
        self, core: Core, reader: SourceReader, target: Target, *, place: Place, marks: ResourceMarks | None = None
    ) -> None:
        self._core = core
        self._target = target
        self._place = place
        self._marks = marks
        self._sender = ResourceSender(core, reader)
        self._look = Look(core, reader, place.target_id)
        pool = core.settings.pool
        pool = msgspec.structs.replace(pool, bundle_files_max=pool.bundle_files_max * _FILES_FACTOR)
        self._sizer = Sizer(pool, SizerState(bound_bytes=core.sizer.bound_bytes))
        self._name = item_name(target.ref.item)
        self._trouble = FilesTrouble(core, self._sizer, self._name)
        self._files = self._bytes = 0
        self._is_proven = False
        """Something we sent was really stored: this account may write."""

    async def run(self) -> None:
        """Work until every file is verified or given up, or the stop signal ends the feeding.

        Raises:
            AccessDenied: the server answers 200 and stores nothing (FIL 1.4).
            XferError: the job cannot go on; what was reached is in the manifest.

        Cancellation: a unit in flight is recorded as interrupted, its files are sent again with overwrite.
        """
        self._core.emit(ItemChanged(item=self._name, state="moving"))
        try:
            await self._run()
        except XferError as error:
            await self._note("failed", error.kind, error.message)
            raise

    async def _run(self) -> None:
        core = self._core
        async with core.keys.hold(f"resource:{'/'.join(self._target.ref.segments)}"):
            if await self._has_work():
                ref, made = await ensure_resource(core, self._target.ref, self._marks)
                self._is_proven = made
                await core.manifest.write(lambda con: outgoing.set_number(con, self._place.target_id, ref.id))
                await self._rounds(ref)
            else:
                ref = self._target.ref
            if core.stop.is_feeding:
                await self._refresh(ref)
                await self._end()

    async def _rounds(self, ref: ResourceRef) -> None:
        for _ in range(ROUNDS):
            await self._send_all(ref)
            if not self._core.stop.is_feeding:
                return
            await self._look.look(ref)
            if not await self._has_work():
                return
        await self._core.manifest.write(lambda con: outgoing.give_up(con, self._place.target_id))

    async def _has_work(self) -> bool:
        tally = await self._core.manifest.read(outgoing.tally)
        return tally.count(*outgoing.OPEN) > 0

    async def _send_all(self, ref: ResourceRef) -> None:
        """Send units until none can be formed."""
        core = self._core
        while core.stop.is_feeding and (unit := await self._form()) is not None:
            sent = await self._attempt(ref, unit)
            if sent.error is None:
                await self._done(ref, unit, sent)
                continue
            must_look = await self._trouble.settle(unit, sent)
            if must_look:
                await self._poll(ref, unit)

    async def _form(self) -> OutUnit | None:
        core = self._core
        if not self._files:
            planned = await core.manifest.read(outgoing.tally)
            self._files, self._bytes = planned.count("planned", "replace"), planned.size("planned", "replace")
        # Of all, not of what is left: one writer has no tail to share, and small last bundles would only cost time.
        limits = self._sizer.bundle_limits(max(self._bytes, 1), max(self._files, 1), parallel=1)
        most = self._trouble.files_max(limits.files)
        size = max(limits.bytes, min(_SMALLEST_BYTES, self._sizer.bound_bytes))

        def form(con: sqlite3.Connection) -> OutUnit | None:
            overview.set_meta(con, STATS_DUE, "1")
            return outgoing_units.form(
                con, self._place.item_id, max_bytes=size, max_files=most, alone_bytes=PLAIN_FROM_BYTES
            )

        return await core.manifest.write(form)

    async def _attempt(self, ref: ResourceRef, unit: OutUnit) -> Sent:
        core = self._core
        predicted = self._sizer.predict(unit.bytes, len(unit.files))
        core.emit(
            UnitStarted(unit=unit.id, study=self._name, files=len(unit.files), bytes=unit.bytes, attempt=1,
                        predicted_s=round(predicted, 3))
        )  # fmt: skip
        moved = 0

        def on_bytes(count: int) -> None:
            nonlocal moved
            moved += count
            core.cap.count(count)
            core.emit(BytesMoved(unit=unit.id, bytes=count))

        try:
            return await self._sender.send(ref, unit.files, overwrite=unit.overwrite, on_bytes=on_bytes)
        except BaseException:
            end = UnitEnd(outcome="interrupted", bytes_sent=moved, state="replace")
            with anyio.move_on_after(SHIELD_S, shield=True):
                await core.manifest.write(lambda con: outgoing_units.end_unit(con, unit, end))
            raise

    async def _done(self, ref: ResourceRef, unit: OutUnit, sent: Sent) -> None:
        core = self._core
        md5s = tuple((file.id, md5) for file in unit.files if (md5 := sent.md5s.get(file.source.shown)))
        taken = tuple(file.id for file in unit.files if file.path in sent.taken)
        end = UnitEnd(outcome="done", bytes_sent=sent.bytes_sent, state="sent", taken=taken, md5s=md5s)
        await core.manifest.write(lambda con: outgoing_units.end_unit(con, unit, end))
        self._trouble.succeeded()
        core.retry.succeeded()
        self._sizer.observe(unit.bytes, len(unit.files), seconds=sent.seconds, ok=True)
        core.emit(
            UnitDone(unit=unit.id, study=self._name, files=len(unit.files), bytes=unit.bytes,
                     seconds=round(sent.seconds, 3))
        )  # fmt: skip
        if not self._is_proven and not sent.taken:
            await self._prove(ref, unit)
        self._is_proven = True

    async def _prove(self, ref: ResourceRef, unit: OutUnit) -> None:
        """After the first unit: without the right to edit, everything is a 200 and nothing is stored (FIL 1.4)."""
        await self._look.look(ref)
        states = await self._core.manifest.read(lambda con: outgoing_units.listed(con, unit))
        if not states:
            raise AccessDenied("the server answers 200 and stores nothing: this account may not write there")

    async def _poll(self, ref: ResourceRef, unit: OutUnit) -> None:
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

    async def _refresh(self, ref: ResourceRef) -> None:
        """Let the server count anew; that it cannot is no failure: the files are there."""
        core = self._core
        if not ref.id or not await core.manifest.read(lambda con: overview.get_meta(con, STATS_DUE)):
            return
        try:
            async with core.lanes.commit.slot():
                await core.client.resources.refresh_stats(ref)
        except RemoteError as error:
            if error.disposition is Disposition.FATAL:
                raise
            core.emit(Notice(level="warning", text=f"the server did not count the resource anew: {error.message}"))
            return
        await core.manifest.write(lambda con: overview.set_meta(con, STATS_DUE, ""))

    async def _end(self) -> None:
        tally = await self._core.manifest.read(outgoing.tally)
        bad = tally.count("failed", "refused")
        state = "done" if not bad else "partial" if tally.count("verified", "sized", "present") else "failed"
        if sized := tally.count("sized"):
            text = f"{sized:,} files are verified by their size only: the server keeps no digests"
            self._core.emit(Notice(level="warning", text=text))
        await self._note(state)

    async def _note(self, state: str, error: str = "", detail: str = "") -> None:
        item_id = self._place.item_id
        await self._core.manifest.write(lambda con: transfers.set_item(con, item_id, state, error, detail))
        self._core.emit(ItemChanged(item=self._name, state=state, detail=detail))
