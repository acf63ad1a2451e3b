"""``run_job``: one job from its spec to its report. Nesting is lifetime: manifest → login → pool, closed in reverse."""

from __future__ import annotations

import time

import anyio
import msgspec

from xferengine.errors import DiskFull, ManifestError, XferError
from xferengine.jobs import outcome
from xferengine.jobs.engine import leaves
from xferengine.jobs.plan import Confirm, RunOptions
from xferengine.jobs.spec import AnySpec, JobReport
from xferengine.jobs.stopping import listen
from xferengine.jobs.studyreport import SERVER
from xferengine.jobs.verb import Life, Outcome, Verb
from xferengine.jobs.verbs import verb_of
from xferengine.kit.clock import SystemClock
from xferengine.kit.threads import run_blocking
from xferengine.manifest import overview, units
from xferengine.manifest.catalogue import Catalogue, JobRow, open_catalogue
from xferengine.manifest.store import open_manifest
from xferengine.model.events import Emit, Failure, JobStarted, Summary, ignore
from xferengine.schedule.stop import StopKind, StopReason, watch_until
from xferengine.settings.slices import Settings

REPORTED = 10_000
"""Sessions that a JobReport carries in memory; its files hold all."""
BEGAN = "began"
"""Key of the fact that an earlier run came as far as its work."""


async def run_job(
    spec: AnySpec,
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
        verb = verb_of(spec)
        job = _job_row(catalogue, spec, verb, options)
        async with open_manifest(catalogue.folder(job.id)) as manifest:
            catalogue.update(job.id, "running")
            life = Life(
                job_id=job.id,
                settings=settings,
                manifest=manifest,
                emit=emit,
                options=options,
                clock=SystemClock(),
                confirm=confirm,
            )
            report, end = await _Run(verb, spec, life).go()
            state = job.state if options.dry_run and job.state != "running" else end.state
            catalogue.update(job.id, state, experiments=end.totals.experiments, done=end.done, failed=len(end.failures))
            return report


def run_job_sync(spec: AnySpec, settings: Settings, *, emit: Emit = ignore) -> JobReport:
    """``run_job`` for scripts without an event loop."""

    async def main() -> JobReport:
        return await run_job(spec, settings, emit=emit)

    return anyio.run(main)


def _job_row(catalogue: Catalogue, spec: AnySpec, verb: Verb, options: RunOptions) -> JobRow:
    if options.resume_job:
        return catalogue.get(options.resume_job)
    return catalogue.find_or_add(
        identity=spec.identity(),
        verb=verb.name,
        server=spec.server_url,
        project=spec.project,
        spec=msgspec.json.encode(spec).decode(),
    )


class _Run:
    """One run of one job: what is the same for every verb."""

    def __init__(self, verb: Verb, spec: AnySpec, life: Life) -> None:
        self._verb = verb
        self._spec = spec
        self._life = life
        self._error: XferError | None = None

    async def go(self) -> tuple[JobReport, Outcome]:
        life = self._life
        began = time.monotonic()
        life.is_fresh = not await life.manifest.read(lambda con: overview.get_meta(con, BEGAN))
        life.emit(JobStarted(job=life.job_id, verb=self._verb.name, resumed=not life.is_fresh))
        try:
            async with anyio.create_task_group() as tg:
                if life.options.handle_signals:
                    tg.start_soon(listen, life.stop)
                tg.start_soon(self._watch_until)  # listing and scanning count: later the hour would be tomorrow's
                await self._work()
                tg.cancel_scope.cancel()
        except* XferError as group:
            self._error = _worst(group)
        return await self._finish(time.monotonic() - began)

    async def _watch_until(self) -> None:
        life = self._life
        await watch_until(life.settings.pool.until, life.stop, clock=life.clock)

    async def _work(self) -> None:
        manifest = self._life.manifest
        spec_json = msgspec.json.encode(self._spec).decode()
        await manifest.write(lambda con: overview.set_meta(con, "spec", spec_json))
        await manifest.write(lambda con: overview.set_meta(con, SERVER, self._life.settings.server.url))
        await manifest.write(units.recover)
        await self._verb.work(self._life)

    async def _finish(self, seconds: float) -> tuple[JobReport, Outcome]:
        """Write the reports and say how it ended; where nothing can be written, at least say it."""
        manifest = self._life.manifest
        end, summary = await self._summarize(seconds)
        try:
            await manifest.write(lambda con: overview.set_meta(con, "summary", msgspec.json.encode(summary).decode()))
            return await run_blocking(self._verb.report, manifest.folder, summary), end
        except (DiskFull, ManifestError) as error:
            if self._error is None:
                self._error = error
            end, summary = await self._summarize(seconds)
            return JobReport(summary=msgspec.structs.replace(summary, report="")), end

    async def _summarize(self, seconds: float) -> tuple[Outcome, Summary]:
        life, error = self._life, self._error
        reason = StopReason(kind=StopKind.CANCELLED) if life.declined else life.stop.reason
        end = await life.manifest.read(lambda con: self._verb.outcome(con, reason, error))
        if life.options.dry_run and error is None and end.code <= outcome.PARTIAL:
            end = msgspec.structs.replace(end, state="planned")
        failures = end.failures
        if error is not None:
            failures = (Failure(ref=error.ref or "", error=error.kind, detail=error.message), *failures)
        return end, Summary(
            job=life.job_id,
            verb=self._verb.name,
            state=end.state,
            exit_code=end.code,
            seconds=round(seconds, 3),
            totals=end.totals,
            failures=failures,
            unverified=end.unverified,
            report=str(life.manifest.folder / "report.txt"),
        )


def _worst(group: BaseExceptionGroup[XferError]) -> XferError:
    """Of several errors, the one whose exit code counts."""
    errors = [error for error in leaves(group) if isinstance(error, XferError)]
    code = outcome.worst([outcome.code_of(error) for error in errors])
    return next(error for error in errors if outcome.code_of(error) == code)
