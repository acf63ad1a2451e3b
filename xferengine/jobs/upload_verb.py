"""``upload`` as a job: scan, plan, ask, send."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio

from xferengine.errors import XferError
from xferengine.jobs import outcome
from xferengine.jobs.assemble import open_engine
from xferengine.jobs.engine import Engine
from xferengine.jobs.plan import PlanView
from xferengine.jobs.planfile import load_plan, write_plan
from xferengine.jobs.planning import Planner
from xferengine.jobs.preflight import Preflight
from xferengine.jobs.report import write_reports
from xferengine.jobs.spec import JobReport, UploadSpec
from xferengine.jobs.stopping import cancel_on_stop
from xferengine.jobs.studyreport import iter_study_reports
from xferengine.jobs.upload import UploadRun
from xferengine.jobs.verb import Life, Outcome
from xferengine.manifest import overview, studies
from xferengine.model.events import PlanReady, Summary
from xferengine.schedule.stop import StopReason
from xferengine.store.reader import SourceReader

REPORTED = 10_000
"""Sessions that a JobReport carries in memory; its files hold all."""
_GOOD = frozenset({"verified", "unverified", "ready"})


class UploadVerb:
    """Sends DICOM sessions."""

    name = "upload"

    def __init__(self, spec: UploadSpec) -> None:
        self._spec = spec
        self._is_planned = False

    async def work(self, life: Life) -> None:
        """Scan, plan, ask and send; see ``Verb``."""
        scanned = int(await life.manifest.read(lambda con: overview.get_meta(con, "scan_run", "0")))
        if life.options.retry or not life.options.resume_job:
            await life.manifest.write(lambda con: studies.reopen(con, refused=True))
            if self._spec.overwrite == "append" or self._spec.dest == "prearchive":
                await life.manifest.write(studies.retry_files)
        with closing(SourceReader()) as reader:
            # What is wrong with the spec is said first, then what the server says, and only then the input is read.
            planner = Planner(self._spec, life.manifest, reader, life.emit)
            async with open_engine(life, self._spec, reader) as engine:
                await self._plan(life, planner, fresh=scanned == 0)
                if life.stop.is_feeding:
                    await self._serve(life, engine, planner)

    async def _plan(self, life: Life, planner: Planner, *, fresh: bool) -> None:
        """Scan, unless a plan file is given or an interrupted job goes on behind its finished scan."""
        planned = bool(life.options.plan_in)
        if planned and fresh:
            await load_plan(life.manifest, Path(life.options.plan_in))
        elif fresh or not (life.options.resume_job or planned):
            async with anyio.create_task_group() as tg:
                tg.start_soon(cancel_on_stop, life.stop, tg.cancel_scope)
                await planner.scan(life.settings.scan_workers)
                tg.cancel_scope.cancel()
            if not life.stop.is_feeding:
                return
        await planner.resolve(planned=planned)
        self._is_planned = True

    async def _serve(self, life: Life, engine: Engine, planner: Planner) -> None:
        preflight = Preflight(engine)
        await preflight.check()
        view = await planner.view(life.job_id, preflight.notes)
        life.emit(_plan_ready(view))
        engine.work.begin(view.totals.files, view.totals.bytes)
        if life.options.plan_out:
            target = Path(life.options.plan_out)
            await life.manifest.read(lambda con: write_plan(con, self._spec, target))
        agreed = await life.ask(view, is_empty=not view.totals.experiments)
        if agreed and not life.options.dry_run and life.stop.is_feeding:
            await life.drain(UploadRun(engine).run)

    def outcome(self, con: sqlite3.Connection, reason: StopReason | None, error: XferError | None) -> Outcome:
        """Read how the job stands; see ``Verb``."""
        state, code = outcome.judge(con, self._spec, reason, error, is_planned=self._is_planned)
        return Outcome(
            state=state,
            code=code,
            totals=overview.totals(con),
            failures=tuple(overview.failures(con)),
            unverified=tuple(overview.unverified(con)),
            done=sum(count for name, count in overview.states(con).items() if name in _GOOD),
        )

    def report(self, folder: Path, summary: Summary) -> JobReport:
        """Write the report; see ``Verb``."""
        write_reports(folder, summary, lambda: iter_study_reports(folder))
        shown = tuple(report for report, _ in zip(iter_study_reports(folder), range(REPORTED), strict=False))
        return JobReport(summary=summary, studies=shown)


def _plan_ready(view: PlanView) -> PlanReady:
    totals = view.totals
    return PlanReady(
        experiments=totals.experiments,
        files=totals.files,
        bytes=totals.bytes,
        refused=totals.refused,
        skipped=totals.skipped,
    )
