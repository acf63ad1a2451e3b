"""The moving part of a download: items, largest first; their units by whatever route the cost model finds best."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio
import msgspec

from xferengine.errors import BudgetReached, Disposition, XferError
from xferengine.jobs.download_desk import Desk, Loaded, conclude, load, ref_of
from xferengine.jobs.zip_fetch import ZipFetch, ZipJob, ZipResult, tell_slot
from xferengine.jobs.zip_names import MemberNames
from xferengine.jobs.zip_relief import Relief
from xferengine.manifest import transfers
from xferengine.manifest.transfers import EntryRow, ResourceRow
from xferengine.model.events import AttemptFailed, ItemChanged, Notice, UnitDone, UnitStarted
from xferengine.model.items import ItemRef, Level, ResourceRef
from xferengine.schedule.grouping import ResourceNeed, Scope, UnitPlan, plan_wave
from xferengine.schedule.retry import Action
from xferengine.schedule.routes import Route
from xferengine.xnat.paths import is_addressable

logger = logging.getLogger(__name__)

ITEMS_AT_ONCE = 12
PULLERS = 32
"""Single requests of one unit that may wait for a slot at the same time."""
ZIP_ROUNDS = 2
"""After so many broken archives the rest is fetched file by file."""


async def move_items(desk: Desk, item_ids: Sequence[int]) -> None:
    """Move items, so many at once, until all are done or feeding stops.

    Raises:
        XferError: (in a group) the job cannot go on.

    Cancellation: what was handed on is made final; the rest stays planned.
    """
    waiting = iter(item_ids)

    async def mover() -> None:
        for item_id in waiting:
            if not desk.core.stop.is_feeding:
                return
            loaded = await desk.core.manifest.read(lambda con, wanted=item_id: load(con, wanted))
            await ItemMover(desk, loaded).run()
            enders.start_soon(conclude, desk, loaded.row)

    async with anyio.create_task_group() as tg:
        tg.start_soon(desk.deliveries.run)
        async with anyio.create_task_group() as enders:
            try:
                async with anyio.create_task_group() as movers:
                    for _ in range(min(ITEMS_AT_ONCE, len(item_ids))):
                        movers.start_soon(mover)
            finally:
                desk.deliveries.close()


class ItemMover:
    """Moves one item."""

    def __init__(self, desk: Desk, loaded: Loaded) -> None:
        self._desk = desk
        self._core = desk.core
        self._row = loaded.row
        self._ref = ref_of(loaded.row)
        self._resources = loaded.resources
        entries = loaded.entries
        if desk.ignores_digests:
            entries = [msgspec.structs.replace(entry, digest="") for entry in entries]
        self._todo = {entry.id: entry for entry in entries}
        self._by_resource: dict[int, list[int]] = {}
        for entry in entries:
            self._by_resource.setdefault(entry.resource_id, []).append(entry.id)
        self._doubts: dict[int, XferError] = {}
        self._zip_errors: list[XferError] = []
        self._unknown = self._unsafe = 0

    async def run(self) -> None:
        """Move everything that is wanted; what cannot be had is recorded."""
        core = self._core
        core.emit(ItemChanged(item=self._ref, state="moving"))
        for number in range(1, ZIP_ROUNDS + 1):
            if not self._todo or not core.stop.is_feeding or self._desk.avoids_archives:
                break
            self._zip_errors.clear()
            await self._run_waves()
            if self._todo and self._zip_errors:
                await self._pause(number)
        if self._todo and core.stop.is_feeding:
            await self._singly(self._unit(Route.GET), list(self._todo.values()))
        self._tell_strange_members()

    async def _pause(self, number: int) -> None:
        worst = max(self._zip_errors, key=lambda error: error.disposition is Disposition.FATAL)
        decision = self._core.retry.decide(worst, number)
        if decision.action is Action.STOP:
            raise worst
        if decision.action is Action.RETRY:
            await self._core.clock.sleep(decision.wait_s)

    def _needs(self) -> list[ResourceNeed]:
        wanted: dict[int, list[EntryRow]] = {}
        for entry in self._todo.values():
            wanted.setdefault(entry.resource_id, []).append(entry)
        big_from = self._desk.model.ranges_from_bytes
        needs: list[ResourceNeed] = []
        for row in self._resources.values():
            entries = wanted.get(row.id, [])
            holder = row.ref.item
            needs.append(
                ResourceNeed(
                    key=row.id,
                    scan=holder.child_id if holder.level is Level.SCAN else "",
                    in_all=row.in_all,
                    wanted_files=len(entries),
                    wanted_bytes=sum(max(entry.size, 0) for entry in entries),
                    total_files=max(row.files, len(entries)),
                    total_bytes=row.bytes,
                    big=tuple((entry.id, entry.size) for entry in entries if entry.size >= big_from),
                )
            )
        return needs

    async def _run_waves(self) -> None:
        """Plan a few units at a time: what they teach about the server decides how the rest comes."""
        lane, rest = self._core.lanes.bulk, self._needs()
        running = 0
        has_ended = anyio.Event()

        async def run(plan: UnitPlan) -> None:
            nonlocal running
            await self._run_unit(plan)
            running -= 1
            has_ended.set()

        async with anyio.create_task_group() as tg:
            while rest and self._core.stop.is_feeding:
                slots = lane.statistics().limit
                wave = plan_wave(rest, self._desk.model, most=2 * slots)
                rest = wave.rest
                running += len(wave.units)
                for plan in wave.units:
                    tg.start_soon(run, plan)
                while rest and running >= slots:
                    has_ended = anyio.Event()
                    await has_ended.wait()

    async def _run_unit(self, plan: UnitPlan) -> None:
        if plan.scope is Scope.FILE:
            await self._singly(plan, [self._todo[key] for key in plan.keys if isinstance(key, int)])
            return
        ids = (row for key in plan.keys if isinstance(key, int) for row in self._by_resource.get(key, ()))
        entries = [self._todo[row] for row in ids if row in self._todo]
        if plan.route is Route.ZIP:
            await self._by_zip(plan, entries)
            return
        big_from = self._desk.model.ranges_from_bytes
        await self._singly(plan, [entry for entry in entries if entry.size < big_from])

    def _unit(self, route: Route) -> UnitPlan:
        entries = self._todo.values()
        size = sum(max(entry.size, 0) for entry in entries)
        return UnitPlan(
            route=route, scope=Scope.FILE, keys=(), files=len(entries), bytes=size, predicted_s=0.0, why="what is left"
        )

    def _begin(self, plan: UnitPlan) -> int:
        unit = next(self._desk.unit_ids)
        logger.info(
            "unit %d: %s %s, %d files, %d bytes, %.3f s expected: %s",
            unit, plan.route, plan.scope, plan.files, plan.bytes, plan.predicted_s,
            f"{plan.why} (a trial)" if plan.is_trial else plan.why,
        )  # fmt: skip
        self._core.emit(
            UnitStarted(
                unit=unit,
                study=self._ref,
                files=plan.files,
                bytes=plan.bytes,
                attempt=1,
                predicted_s=round(plan.predicted_s, 3),
            )
        )
        return unit

    def _end(self, unit: int, began: float) -> None:
        """Say that a unit is over; its files are counted as they become final."""
        self._desk.units_done += 1
        seconds = round(self._core.clock.monotonic() - began, 3)
        self._core.emit(UnitDone(unit=unit, study=self._ref, files=0, bytes=0, seconds=seconds))

    async def _by_zip(self, plan: UnitPlan, entries: Sequence[EntryRow]) -> None:
        core, desk = self._core, self._desk
        holder, everything, single = self._zip_place(plan)
        async with core.lanes.bulk.slot(0, cost_bytes=plan.bytes) as slot:
            if not core.stop.is_feeding or desk.avoids_archives:
                slot.unused()
                return
            unit = self._begin(plan)
            files = {entry.id: entry for entry in entries}
            job = ZipJob(
                unit=unit,
                holder=holder,
                everything=everything,
                deflated=plan.deflate,
                files=files,
                names=MemberNames(entries, self._resources, single=single),
                hashing=desk.hashing,
            )
            began = core.clock.monotonic()
            result = await self._with_relief(ZipFetch(core, desk.target, desk.deliveries, job), files, unit)
            tell_slot(slot, result.error)
        desk.note_archive(result.error)
        self._learn(plan, result, core.clock.monotonic() - began)
        if len(entries) == sum(row.files for row in self._resources.values() if self._is_carried(plan, row)):
            # Only then is a member that is no wanted file one that no listing names.
            self._unknown += result.unknown
        self._take(result, unit, began)

    async def _with_relief(self, archive: ZipFetch, files: dict[int, EntryRow], unit: int) -> ZipResult:
        """Run an archive, with help when it turns out to be slow."""

        async def fetch(entry: EntryRow) -> XferError | None:
            archive.let_end_early()
            return await self._desk.files.fetch(unit, self._resources[entry.resource_id], entry)

        relief = Relief(self._core, archive, files, fetch)
        results: list[ZipResult] = []
        async with anyio.create_task_group() as tg:
            tg.start_soon(relief.run)
            results.append(await archive.run())
            relief.stop()
        result = results[0]
        if relief.done:
            result.carried = len(result.delivered), result.wire_bytes
        for row, error in relief.done.items():
            if error is None:
                result.delivered.add(row)
            elif not isinstance(error, BudgetReached):
                self._doubts[row] = error
        return result

    def _zip_place(self, plan: UnitPlan) -> tuple[ItemRef | ResourceRef, bool, ResourceRow | None]:
        if plan.scope is Scope.EXPERIMENT:
            return self._row.ref, True, None
        first = next(self._resources[key] for key in plan.keys if isinstance(key, int))
        if plan.scope is Scope.SCAN:
            return first.ref.item, False, None
        return first.ref, False, first

    def _learn(self, plan: UnitPlan, result: ZipResult, seconds: float) -> None:
        carried = [row for row in self._resources.values() if self._is_carried(plan, row)]
        files, size = sum(row.files for row in carried), sum(row.bytes for row in carried)
        if result.carried is not None:
            files, size = result.carried
        self._desk.model.observe(
            Route.ZIP,
            files=files,
            bytes=size,
            seconds=seconds,
            first_byte_s=result.first_byte_s,
            ok=result.error is None,
            deflate=plan.deflate,
            wire_bytes=result.wire_bytes,
        )

    def _is_carried(self, plan: UnitPlan, row: ResourceRow) -> bool:
        if plan.scope is Scope.EXPERIMENT:
            return row.in_all
        if plan.scope is Scope.SCAN:
            return row.ref.item.level is Level.SCAN and row.ref.item.child_id == plan.scan
        return row.id in plan.keys

    def _take(self, result: ZipResult, unit: int, began: float) -> None:
        """Cross off what came; what did not stays for the next round."""
        came = 0
        for row in result.delivered:
            entry = self._todo.pop(row, None)
            came += max(entry.size, 0) if entry is not None else 0
        self._doubts.update(result.doubtful)
        self._unsafe += result.unsafe
        if result.error is None or isinstance(result.error, BudgetReached):
            self._core.retry.succeeded()
            self._end(unit, began)
            return
        self._desk.wasted_bytes += max(result.wire_bytes - came, 0)
        self._zip_errors.append(result.error)
        self._core.emit(
            AttemptFailed(
                unit=unit,
                study=self._ref,
                attempt=1,
                error=result.error.kind,
                detail=result.error.message,
                wait_s=0.0,
            )
        )

    async def _singly(self, plan: UnitPlan, entries: Sequence[EntryRow]) -> None:
        await self._unaddressable(entries)
        entries = [entry for entry in entries if entry.id in self._todo]
        if not entries:
            return
        core, desk = self._core, self._desk
        unit = self._begin(plan)
        began = core.clock.monotonic()
        failed: list[tuple[int, str, str]] = []
        waiting = iter(entries)

        async def pull() -> None:
            for entry in waiting:
                if not core.stop.is_feeding:
                    return
                resource = self._resources[entry.resource_id]
                error = await desk.files.fetch(unit, resource, entry, doubt=self._doubts.pop(entry.id, None))
                if isinstance(error, BudgetReached):
                    return  # it stays planned
                self._todo.pop(entry.id, None)
                if error is not None:
                    failed.append((entry.id, "failed", f"{error.kind}: {error.message}"))

        async with anyio.create_task_group() as tg:
            for _ in range(min(PULLERS, len(entries))):
                tg.start_soon(pull)
        if failed:
            await core.manifest.write(lambda con: transfers.set_entries(con, failed))
        self._end(unit, began)

    async def _unaddressable(self, entries: Sequence[EntryRow]) -> None:
        """Bring files whose names no URL can carry by one archive of their resource, not by one archive each."""
        by_resource: dict[int, list[EntryRow]] = {}
        for entry in entries:
            if not is_addressable(entry.path):
                by_resource.setdefault(entry.resource_id, []).append(entry)
        for key, several in by_resource.items():
            if len(several) < 2:
                continue
            plan = UnitPlan(
                route=Route.ZIP,
                scope=Scope.RESOURCE,
                keys=(key,),
                files=len(several),
                bytes=sum(max(entry.size, 0) for entry in several),
                predicted_s=0.0,
                why="names that no URL can carry",
            )
            await self._by_zip(plan, several)

    def _tell_strange_members(self) -> None:
        if self._unsafe:
            self._core.emit(
                Notice(
                    level="warning",
                    text=f"{self._ref}: an archive of the server held {self._unsafe} members whose names are unsafe or"
                    " that are links; nothing was written for them",
                )
            )
        elif self._unknown:
            self._core.emit(
                Notice(
                    level="warning",
                    text=f"{self._ref}: an archive of the server held {self._unknown} files that no listing names;"
                    " they were left out",
                )
            )
