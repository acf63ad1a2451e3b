"""``run_job``: one job from its spec to its report. Nesting is lifetime: manifest → login → pool, closed in reverse."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import anyio
import msgspec

from xferengine.errors import DiskFull, ManifestError, XferError
from xferengine.jobs import outcome
from xferengine.jobs.assemble import Parts, open_engine
from xferengine.jobs.engine import Engine, leaves
from xferengine.jobs.plan import Confirm, PlanView, RunOptions
from xferengine.jobs.planfile import load_plan, write_plan
from xferengine.jobs.planning import Planner
from xferengine.jobs.preflight import Preflight
from xferengine.jobs.report import write_reports
from xferengine.jobs.spec import JobReport, UploadSpec
from xferengine.jobs.stopping import cancel_after_grace, cancel_on_hard, cancel_on_stop, listen
from xferengine.jobs.studyreport import SERVER, iter_study_reports
from xferengine.jobs.upload import UploadRun
from xferengine.kit.clock import Clock, SystemClock
from xferengine.kit.threads import run_blocking
from xferengine.manifest import overview, studies, units
from xferengine.manifest.catalogue import Catalogue, JobRow, open_catalogue
from xferengine.manifest.store import Manifest, open_manifest
from xferengine.model.events import Emit, Failure, JobStarted, Notice, PlanReady, Summary, ignore
from xferengine.schedule.stop import StopKind, StopReason, StopSignal, watch_until
from xferengine.settings.slices import Settings
from xferengine.store.reader import SourceReader

REPORTED = 10_000
"""Sessions that a JobReport carries in memory; its files hold all."""


async def run_job(
    spec: UploadSpec,
    settings: Settings,
    *,
    emit: Emit = ignore,
    confirm: Confirm | None = None,
    options: RunOptions | None = None,
) -> JobReport:
    """Run a job, or continue the job of the same identity.

    Args:
        spec: what is to be done.
        settings: how to reach the server, limits, state folder, credentials.
        emit: receives events on the event loop.
        confirm: shown the plan before the first byte; None goes on without asking.
        options: dry run, plan files, resume, retry.

    Returns:
        The report; failures of files and sessions are in it, not raised.

    Raises:
        SettingsError, LockedByOther, ManifestError: before any work began.

    Cancellation: everything reached is in the manifest; running the same spec again continues.
    """
    options = options or RunOptions()
    with open_catalogue(settings.state_dir) as catalogue:
        job = _job_row(catalogue, spec, options)
        folder = catalogue.folder(job.id)
        async with open_manifest(folder) as manifest:
            catalogue.update(job.id, "running")
            run = _Run(job, spec, settings, manifest, emit, options)
            report = await run.go(confirm)
            summary = run.summary
            state = job.state if options.dry_run and job.state != "running" else summary.state
            done = summary.totals.experiments - run.open_or_bad
            catalogue.update(
                job.id, state, experiments=summary.totals.experiments, done=done, failed=len(summary.failures)
            )
            return report


def run_job_sync(spec: UploadSpec, settings: Settings, *, emit: Emit = ignore) -> JobReport:
    """``run_job`` for scripts without an event loop."""

    async def main() -> JobReport:
        return await run_job(spec, settings, emit=emit)

    return anyio.run(main)


def _job_row(catalogue: Catalogue, spec: UploadSpec, options: RunOptions) -> JobRow:
    if options.resume_job:
        return catalogue.get(options.resume_job)
    return catalogue.find_or_add(
        identity=spec.identity(),
        verb="upload",
        server=spec.server_url,
        project=spec.project,
        spec=msgspec.json.encode(spec).decode(),
    )


class _Run:
    """One run of one job."""

    def __init__(
        self, job: JobRow, spec: UploadSpec, settings: Settings, manifest: Manifest, emit: Emit, options: RunOptions
    ) -> None:
        self._job = job
        self._spec = spec
        self._settings = settings
        self._manifest = manifest
        self._emit = emit
        self._options = options
        self._clock: Clock = SystemClock()
        self._stop = StopSignal()
        self._error: XferError | None = None
        self._declined = False
        self.open_or_bad = 0
        self.summary: Summary

    async def go(self, confirm: Confirm | None) -> JobReport:
        began = time.monotonic()
        scanned = int(await self._manifest.read(lambda con: overview.get_meta(con, "scan_run", "0")))
        self._emit(JobStarted(job=self._job.id, verb="upload", resumed=scanned > 0))
        try:
            async with anyio.create_task_group() as tg:
                if self._options.handle_signals:
                    tg.start_soon(listen, self._stop)
                await self._work(confirm, fresh=scanned == 0)
                tg.cancel_scope.cancel()
        except* XferError as group:
            self._error = _worst(group)
        return await self._finish(time.monotonic() - began)

    async def _work(self, confirm: Confirm | None, *, fresh: bool) -> None:
        spec_json = msgspec.json.encode(self._spec).decode()
        await self._manifest.write(lambda con: overview.set_meta(con, "spec", spec_json))
        await self._manifest.write(lambda con: overview.set_meta(con, SERVER, self._settings.server.url))
        await self._manifest.write(units.recover)
        if self._options.retry or not self._options.resume_job:
            await self._manifest.write(lambda con: studies.reopen(con, refused=True))
            if self._spec.overwrite == "append" or self._spec.dest == "prearchive":
                await self._manifest.write(studies.retry_files)
        with closing(SourceReader()) as reader:
            # What is wrong with the spec is said first, then what the server says, and only then the input is read.
            planner = Planner(self._spec, self._manifest, reader, self._emit)
            async with open_engine(self._parts(reader)) as engine:
                await self._plan(planner, fresh=fresh)
                if self._stop.is_feeding:
                    await self._serve(engine, planner, confirm)

    def _parts(self, reader: SourceReader) -> Parts:
        return Parts(
            job_id=self._job.id,
            spec=self._spec,
            settings=self._settings,
            manifest=self._manifest,
            reader=reader,
            emit=self._emit,
            stop=self._stop,
            clock=self._clock,
        )

    async def _plan(self, planner: Planner, *, fresh: bool) -> None:
        """Scan, unless a plan file is given or an interrupted job goes on behind its finished scan."""
        planned = bool(self._options.plan_in)
        if planned and fresh:
            await load_plan(self._manifest, Path(self._options.plan_in))
        elif fresh or not (self._options.resume_job or planned):
            async with anyio.create_task_group() as tg:
                tg.start_soon(cancel_on_stop, self._stop, tg.cancel_scope)
                await planner.scan(self._settings.scan_workers)
                tg.cancel_scope.cancel()
            if not self._stop.is_feeding:
                return
        await planner.resolve(planned=planned)

    async def _serve(self, engine: Engine, planner: Planner, confirm: Confirm | None) -> None:
        preflight = Preflight(engine)
        await preflight.check()
        view = await planner.view(self._job.id, preflight.notes)
        self._emit(_plan_ready(view))
        engine.work.begin(view.totals.files, view.totals.bytes)
        if self._options.plan_out:
            target = Path(self._options.plan_out)
            await self._manifest.read(lambda con: write_plan(con, self._spec, target))
        agreed = await self._ask(confirm, view)
        if agreed and not self._options.dry_run and self._stop.is_feeding:
            await self._upload(engine)
        self._declined = not agreed

    async def _ask(self, confirm: Confirm | None, view: PlanView) -> bool:
        """Show the plan and ask; a signal ends the asking too."""
        if confirm is None or not (view.totals.experiments or self._options.dry_run):
            for note in view.notes:
                self._emit(Notice(level="warning", text=note))
            return True
        agreed = True
        async with anyio.create_task_group() as tg:
            tg.start_soon(cancel_on_stop, self._stop, tg.cancel_scope)
            agreed = await confirm(view)
            tg.cancel_scope.cancel()
        return agreed

    async def _upload(self, engine: Engine) -> None:
        pool = self._settings.pool
        async with anyio.create_task_group() as tg:
            scope = tg.cancel_scope
            tg.start_soon(cancel_on_hard, self._stop, scope)
            tg.start_soon(cancel_after_grace, self._stop, scope, self._emit, self._clock, pool.grace_s)
            if pool.until:
                tg.start_soon(self._watch_until)
            await UploadRun(engine).run()
            scope.cancel()

    async def _watch_until(self) -> None:
        await watch_until(self._settings.pool.until, self._stop, clock=self._clock)

    async def _finish(self, seconds: float) -> JobReport:
        """Write the reports and say how it ended; where nothing can be written, at least say it."""
        self.summary = await self._summarize(seconds)
        try:
            await self._manifest.write(
                lambda con: overview.set_meta(con, "summary", msgspec.json.encode(self.summary).decode())
            )
            return await run_blocking(self._report)
        except (DiskFull, ManifestError) as error:
            if self._error is None:
                self._error = error
            self.summary = msgspec.structs.replace(await self._summarize(seconds), report="")
            return JobReport(summary=self.summary)

    async def _summarize(self, seconds: float) -> Summary:
        reason = self._stop.reason
        if self._declined:
            reason = StopReason(kind=StopKind.CANCELLED)
        state, code = await self._manifest.read(lambda con: outcome.judge(con, self._spec, reason, self._error))
        if self._options.dry_run and self._error is None and code <= outcome.PARTIAL:
            state = "planned"
        totals = await self._manifest.read(overview.totals)
        failures = await self._manifest.read(overview.failures)
        if self._error is not None:
            failures.insert(0, Failure(ref=self._error.ref or "", error=self._error.kind, detail=self._error.message))
        by_state = await self._manifest.read(overview.states)
        self.open_or_bad = sum(n for s, n in by_state.items() if s not in {"verified", "unverified", "ready"})
        return Summary(
            job=self._job.id,
            verb="upload",
            state=state,
            exit_code=code,
            seconds=round(seconds, 3),
            totals=totals,
            failures=tuple(failures),
            unverified=tuple(await self._manifest.read(overview.unverified)),
            report=str(self._manifest.folder / "report.txt"),
        )

    def _report(self) -> JobReport:
        folder = self._manifest.folder
        write_reports(folder, self.summary, lambda: iter_study_reports(folder))
        shown = tuple(report for report, _ in zip(iter_study_reports(folder), range(REPORTED), strict=False))
        return JobReport(summary=self.summary, studies=shown)


def _plan_ready(view: PlanView) -> PlanReady:
    totals = view.totals
    return PlanReady(
        experiments=totals.experiments,
        files=totals.files,
        bytes=totals.bytes,
        refused=totals.refused,
        skipped=totals.skipped,
    )


def _worst(group: BaseExceptionGroup[XferError]) -> XferError:
    """Of several errors, the one whose exit code counts."""
    errors = [error for error in leaves(group) if isinstance(error, XferError)]
    code = outcome.worst([outcome.code_of(error) for error in errors])
    return next(error for error in errors if outcome.code_of(error) == code)
