"""Bringing files into one resource: one writer, bundle after bundle, then a fresh listing; three rounds at most.

hold the resource · make it, once
up to three times: send what is new, then what replaces something · list · judge
count files and bytes on the server anew, once
"""

from __future__ import annotations

import sqlite3

import anyio
import msgspec

from xferengine.errors import XferError
from xferengine.jobs.core import Core
from xferengine.jobs.files_bundle import PLAIN_FROM_BYTES, ResourceSender, Sent
from xferengine.jobs.files_look import Look
from xferengine.jobs.files_patience import persist
from xferengine.jobs.files_settle import STATS_DUE, Settlement
from xferengine.jobs.files_target import Target, ensure_resource, find_resource
from xferengine.jobs.files_trouble import FilesTrouble
from xferengine.manifest import outgoing, outgoing_units, overview, transfers
from xferengine.manifest.outgoing_units import OutUnit, UnitEnd
from xferengine.model.events import BytesMoved, ItemChanged, Notice, UnitDone, UnitStarted
from xferengine.model.items import ItemRef
from xferengine.store.reader import SourceReader
from xferengine.xnat.faults import ConcurrentWrite
from xferengine.xnat.resources import ResourceMarks

ROUNDS = 3
SHIELD_S = 10.0
"""How long a record of interrupted work may hold up a cancellation."""


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
        self._ref = target.ref
        self._place = place
        self._marks = marks
        self._sender = ResourceSender(core, reader)
        self._look = Look(core, reader, place.target_id)
        self._sizer = core.resource_sizer
        self._name = item_name(target.ref.item)
        self._trouble = FilesTrouble(core, self._sizer, self._name)
        self._settlement = Settlement(core, self._look, self._trouble)
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
        async with core.keys.hold(f"resource:{'/'.join(self._ref.segments)}"):
            if await self._has_work():
                self._ref, self._is_proven = await ensure_resource(core, self._ref, self._marks)
                await self._note_number()
                await self._rounds()
            if core.stop.is_feeding:
                await self._settlement.recount(self._ref)
                await self._end()

    async def _rounds(self) -> None:
        for _ in range(ROUNDS):
            await self._send_all()
            if not self._core.stop.is_feeding:
                return
            await self._look.look(self._ref)
            if not await self._has_work():
                return
        await self._core.manifest.write(lambda con: outgoing.give_up(con, self._place.target_id))

    async def _note_number(self) -> None:
        number = self._ref.id
        await self._core.manifest.write(lambda con: outgoing.set_number(con, self._place.target_id, number))

    async def _find(self) -> None:
        """Learn the id of a resource that its first file makes."""
        if not self._ref.id:
            ref = self._ref
            self._ref = await persist(self._core, lambda: find_resource(self._core, ref.item, ref.label))
            await self._note_number()

    async def _has_work(self) -> bool:
        tally = await self._core.manifest.read(outgoing.tally)
        return tally.count(*outgoing.OPEN) > 0

    async def _send_all(self) -> None:
        """Send units until none can be formed."""
        core = self._core
        while core.stop.is_feeding and (unit := await self._form()) is not None:
            sent = await self._attempt(unit)
            await self._find()
            if sent.error is None:
                await self._done(unit, sent)
                continue
            must_look = await self._trouble.settle(unit, sent)
            if why := self._trouble.hopeless:
                await core.manifest.write(lambda con, why=why: outgoing.give_up(con, self._place.target_id, why))
            if must_look:
                if sent.is_whole and isinstance(sent.error, ConcurrentWrite):
                    await self._settlement.adopt(self._ref, unit)
                await self._settlement.poll(self._ref, unit)

    async def _form(self) -> OutUnit | None:
        core = self._core
        if not self._files:
            planned = await core.manifest.read(outgoing.tally)
            self._files, self._bytes = planned.count("planned", "replace"), planned.size("planned", "replace")
        # Of all, not of what is left: one writer has no tail to share, and small last bundles would only cost time.
        limits = self._sizer.bundle_limits(max(self._bytes, 1), max(self._files, 1), parallel=1)
        most = self._trouble.files_max(limits.files)
        size = min(limits.bytes, core.sizer.bound_bytes)  # a proxy that refused an import refuses this

        def form(con: sqlite3.Connection) -> OutUnit | None:
            overview.set_meta(con, STATS_DUE, "1")
            return outgoing_units.form(
                con, self._place.item_id, max_bytes=size, max_files=most, alone_bytes=PLAIN_FROM_BYTES
            )

        return await core.manifest.write(form)

    async def _attempt(self, unit: OutUnit) -> Sent:
        core = self._core
        predicted = self._sizer.predict(unit.bytes, len(unit.files))
        core.emit(
            UnitStarted(unit=unit.id, study=self._name, files=len(unit.files), bytes=unit.bytes, attempt=1,
                        predicted_s=round(predicted, 3))
        )  # fmt: skip
        moved = rewound = 0

        def on_bytes(count: int) -> None:
            nonlocal moved, rewound
            moved += count
            rewound += max(-count, 0)
            core.cap.count(count)
            core.emit(BytesMoved(unit=unit.id, bytes=count))

        async def note(count: int) -> None:
            await core.manifest.write(lambda con: outgoing_units.note_sent(con, unit, rewound + count))

        try:
            sent = await self._sender.send(
                self._ref, unit.files, overwrite=unit.overwrite, on_bytes=on_bytes, note=note
            )
            if rewound:
                await core.manifest.write(lambda con: outgoing.count_again(con, rewound))
            return sent
        except BaseException:
            end = UnitEnd(outcome="interrupted", bytes_sent=rewound + moved, state="replace")
            with anyio.move_on_after(SHIELD_S, shield=True):
                await core.manifest.write(lambda con: outgoing_units.end_unit(con, unit, end))
            raise

    async def _done(self, unit: OutUnit, sent: Sent) -> None:
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
            await self._settlement.prove(self._ref, unit)
        self._is_proven = True

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
