"""``download`` as a job: list, compare with the folder, move, verify."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import anyio

from xferengine.errors import XferError
from xferengine.jobs import outcome
from xferengine.jobs.core import Core, open_core
from xferengine.jobs.deliveries import Deliveries
from xferengine.jobs.download_desk import Desk, ref_of, state_of
from xferengine.jobs.download_move import move_items
from xferengine.jobs.download_plan import DownloadPlanner, plan_view
from xferengine.jobs.itemreport import FileLine, write_item_reports
from xferengine.jobs.plan import FilesPlan
from xferengine.jobs.readback import ReadBack, recheck_stale
from xferengine.jobs.remote_selection import RemoteSelection
from xferengine.jobs.spec import DownloadSpec, ItemReport, JobReport
from xferengine.jobs.stopping import cancel_on_stop
from xferengine.jobs.verb import Life, Outcome
from xferengine.manifest import incoming, overview, transfers
from xferengine.manifest.schema import connect, mapped
from xferengine.model.events import ItemChanged, PlanReady, Summary
from xferengine.model.remote import RemotePath, parse_remote
from xferengine.schedule.stop import StopReason
from xferengine.store.target import Target, open_target

logger = logging.getLogger(__name__)

REPORTED = 10_000
_UNITS, _WASTED = "units_done", "wasted_bytes"


class DownloadVerb:
    """Brings files of an archive to a folder."""

    name = "download"

    def __init__(self, spec: DownloadSpec) -> None:
        self._spec = spec
        self._remotes = [parse_remote(text) for text in spec.remotes]
        self._selection = RemoteSelection(spec.include, spec.exclude, spec.since)
        self._is_planned = False
        """All was listed in this run: the manifest tells how the job stands."""
        self._is_read_back = spec.verify != "read-back"
        """What was to be read a second time was."""

    async def work(self, life: Life) -> None:
        """List, compare and move; see ``Verb``."""
        with open_target(Path(self._spec.target), life.job_id) as target:
            async with open_core(life) as core:
                async with anyio.create_task_group() as tg:
                    tg.start_soon(cancel_on_stop, life.stop, tg.cancel_scope)
                    await self._plan(core, target)
                    tg.cancel_scope.cancel()
                if life.stop.is_feeding:
                    await self._serve(life, core, target)

    async def _plan(self, core: Core, target: Target) -> None:
        planner = DownloadPlanner(
            core,
            target,
            self._selection,
            with_project=_spans_projects(self._remotes),
            asks_refresh=self._spec.ask_refresh,
        )
        await planner.plan(self._remotes)
        await core.manifest.write(lambda con: overview.set_meta(con, "began", "1"))
        await recheck_stale(core)
        self._is_planned = True

    async def _serve(self, life: Life, core: Core, target: Target) -> None:
        view = await core.manifest.read(lambda con: plan_view(con, life.job_id, self._spec.target, ()))
        life.emit(_plan_ready(view))
        agreed = await life.ask(view, is_empty=not view.totals.files)
        if not agreed or life.options.dry_run or not life.stop.is_feeding:
            return
        await core.threads.run(target.check_space, view.totals.bytes)
        await life.drain(lambda: self._move(core, target))

    async def _move(self, core: Core, target: Target) -> None:
        spec = self._spec
        desk = Desk(
            core,
            target,
            Deliveries(core, target),
            core.routes,
            hashing=spec.verify == "read-back",
            ignores_digests=spec.verify == "none",
        )
        wanted = [row[0] for row in await core.manifest.read(incoming.wanted)]
        try:
            await move_items(desk, wanted)
            if spec.verify == "read-back" and core.stop.is_feeding:
                await ReadBack(core, desk.reader, target, sample=spec.sample).run()
                self._is_read_back = core.stop.is_feeding
        finally:
            with anyio.CancelScope(shield=True):
                await self._settle(core, desk)
                await self._sweep(core, target)

    async def _sweep(self, core: Core, target: Target) -> None:
        """Take away part files that no later run can go on with: all but those whose progress is known."""
        known = await core.manifest.read(incoming.parts_to_keep)

        def drop() -> None:
            for key in target.leftovers():
                if key not in known:
                    target.drop_part(key)

        await core.threads.run(drop)

    async def _settle(self, core: Core, desk: Desk) -> None:
        """Write where every item stands, and what it took."""

        def write(con: sqlite3.Connection) -> list[tuple[str, str]]:
            changed: list[tuple[str, str]] = []
            for row in list(transfers.items(con, "planned", "partial", "done")):
                state = state_of(transfers.counts(con, row.id))
                transfers.set_item(con, row.id, state)
                changed.append((ref_of(row), state))
            _add(con, _UNITS, desk.units_done)
            _add(con, _WASTED, desk.wasted_bytes + desk.reader.wasted_bytes)
            return changed

        for ref, state in await core.manifest.write(write):
            if state != "planned":
                core.emit(ItemChanged(item=ref, state=state))

    def outcome(self, con: sqlite3.Connection, reason: StopReason | None, error: XferError | None) -> Outcome:
        """Read how the job stands; see ``Verb``."""
        states = transfers.states(con)
        totals = incoming.totals(con, units=_count(con, _UNITS), bytes_resent=_count(con, _WASTED))
        named = ("failed", "refused") if self._spec.stale_ok else incoming.NAMED
        failures = incoming.failures(con, named)
        unproven = incoming.unproven_items(con)
        codes = [outcome.code_of(error)] if error is not None else []
        is_whole = self._is_planned and self._is_read_back and not incoming.has_planned(con)
        if reason is not None and not is_whole:
            codes.append(outcome.stop_code(reason))
        if error is None and incoming.found_nothing(con):
            codes.append(outcome.LOGIN)
        if totals.failed or (totals.stale and not self._spec.stale_ok):
            codes.append(outcome.PARTIAL)
        if unproven and self._spec.verify != "none":
            codes.append(outcome.PARTIAL)
        if incoming.has_broken(con):
            codes.append(outcome.INTEGRITY)
        code = outcome.worst(codes)
        if not self._is_planned and codes[0:1] in ([outcome.LOCKED], [outcome.USAGE]):
            code = codes[0]  # nothing was begun: what earlier runs left says nothing about this one
        return Outcome(
            state=self._state(code, totals.files + totals.skipped, bool(unproven)),
            code=code,
            totals=totals,
            failures=tuple(failures),
            unverified=tuple(unproven),
            done=states.get("done", 0),
        )

    def _state(self, code: int, good: int, unproven: bool) -> str:
        if code > 128 or code == outcome.BUDGET:
            return "interrupted"
        if code != outcome.OK:
            return "incomplete" if good else "failed"
        return "done-unverified" if unproven or self._spec.verify == "none" else "done"

    def report(self, folder: Path, summary: Summary) -> JobReport:
        """Write the report; see ``Verb``."""
        lines = _Lines(folder)
        write_item_reports(folder, summary, lines)
        shown = tuple(item for item, _ in zip(lines.items(), range(REPORTED), strict=False))
        return JobReport(summary=summary, items=shown)


class _Lines:
    """Opens the manifest for a report."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "manifest.db"

    def items(self) -> Iterator[ItemReport]:
        with mapped(self._path):
            con = connect(self._path, readonly=True)
            try:
                for row in transfers.items(con):
                    counts = transfers.counts(con, row.id)
                    size = con.execute(
                        "SELECT CAST(total(max(size, 0)) AS INTEGER) FROM entry WHERE item_id=?", (row.id,)
                    ).fetchone()[0]
                    yield ItemReport(
                        item=row.shown,
                        id=row.ref.experiment_id or row.ref.subject_id,
                        state=row.state,
                        files=sum(counts.values()),
                        bytes=size,
                        counts=counts,
                        error=row.error,
                        detail=row.detail,
                    )
            finally:
                con.close()

    def files(self) -> Iterator[FileLine]:
        with mapped(self._path):
            con = connect(self._path, readonly=True)
            try:
                for item, path, state, note in incoming.named_files(con):
                    kind, _, detail = note.partition(": ")
                    yield FileLine(item=item, path=path, state=state, error=kind, detail=detail)
            finally:
                con.close()


def _spans_projects(remotes: list[RemotePath]) -> bool:
    projects = {remote.project for remote in remotes}
    return len(projects) > 1 or "*" in projects


def _plan_ready(view: FilesPlan) -> PlanReady:
    totals = view.totals
    return PlanReady(
        experiments=totals.experiments,
        files=totals.files,
        bytes=totals.bytes,
        refused=totals.refused,
        skipped=totals.skipped,
    )


def _count(con: sqlite3.Connection, key: str) -> int:
    return int(overview.get_meta(con, key, "0"))


def _add(con: sqlite3.Connection, key: str, more: int) -> None:
    overview.set_meta(con, key, str(_count(con, key) + more))
