"""``upload-files`` as a job: find the resource, walk, compare, ask, send, compare again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import msgspec

from xferengine.errors import XferError
from xferengine.jobs import files_outcome
from xferengine.jobs.core import Core, open_core
from xferengine.jobs.files_look import Look
from xferengine.jobs.files_send import Place, ResourceRun
from xferengine.jobs.files_target import Target, check_marks, find_target, parse_target
from xferengine.jobs.files_walk import Walk, file_selection
from xferengine.jobs.itemreport import write_item_reports
from xferengine.jobs.spec import FilesSpec, JobReport
from xferengine.jobs.stopping import cancel_on_stop
from xferengine.jobs.verb import Life, Outcome
from xferengine.manifest import outgoing, overview, transfers
from xferengine.model.events import PlanReady, Summary
from xferengine.model.items import Level
from xferengine.model.remote import RemotePath
from xferengine.schedule.stop import StopReason
from xferengine.store.reader import SourceReader
from xferengine.xnat.resources import ResourceMarks

WALKS = "walks"
"""Key of the number of the last walk."""
WALKED = "walked"
"""Key of the number of the last walk that came to its end."""


class FilesVerb:
    """Sends files into one resource."""

    name = "upload-files"

    def __init__(self, spec: FilesSpec) -> None:
        self._spec = spec
        self._marks = ResourceMarks(content=spec.content, format=spec.format, tags=spec.tags)

    async def work(self, life: Life) -> None:
        """Find, walk, compare, ask and send; see ``Verb``."""
        remote = parse_target(self._spec.remote)
        file_selection(self._spec)
        await life.manifest.write(outgoing.prepare)
        # What is wrong with the spec is said first, then what the server says, and only then the input is read.
        with closing(SourceReader()) as reader:
            async with open_core(life) as core:
                found = await self._plan(life, core, reader, remote)
                if found is not None and life.stop.is_feeding:
                    await self._serve(life, core, reader, target=found[0], place=found[1])

    async def _plan(
        self, life: Life, core: Core, reader: SourceReader, remote: RemotePath
    ) -> tuple[Target, Place] | None:
        """Find out what is to be sent; None when a stop was asked for meanwhile."""
        found: tuple[Target, Place] | None = None
        async with anyio.create_task_group() as tg:
            tg.start_soon(cancel_on_stop, life.stop, tg.cancel_scope)
            target = await find_target(core, remote)
            check_marks(target.ref, self._marks)
            place = await self._take_up(life, target)
            await self._walk(life, reader, place)
            await Look(core, reader, place.target_id).look(target.ref, first=True)
            found = target, place
            tg.cancel_scope.cancel()
        return found

    async def _take_up(self, life: Life, target: Target) -> Place:
        ref = target.ref
        holder = ref.item
        is_child = holder.level in {Level.SCAN, Level.ASSESSOR, Level.RECONSTRUCTION}
        owner = msgspec.structs.replace(holder, level=Level.EXPERIMENT) if is_child else holder

        def write(con: sqlite3.Connection) -> Place:
            item_id = transfers.add_item(con, owner, 0)
            child = (holder.child_id, holder.child_type, holder.direction)
            target_id = outgoing.open_target(con, item_id, ref.label or ref.id, str(holder.level), child)
            outgoing.set_number(con, target_id, ref.id)
            overview.set_meta(con, files_outcome.SHOWN, target.shown)
            return Place(item_id=item_id, target_id=target_id)

        return await life.manifest.write(write)

    async def _walk(self, life: Life, reader: SourceReader, place: Place) -> None:
        """Walk, unless an interrupted job goes on behind its finished walk."""
        done = await life.manifest.read(lambda con: overview.get_meta(con, WALKED))
        if done and life.options.resume_job and not life.options.retry:
            return
        run = 1 + int(await life.manifest.read(lambda con: overview.get_meta(con, WALKS, "0")))
        await life.manifest.write(outgoing.begin_anew)
        await life.manifest.write(lambda con: overview.set_meta(con, WALKS, str(run)))
        await Walk(self._spec, life.manifest, reader, life.emit).run(place.item_id, place.target_id, run)
        await life.manifest.write(lambda con: overview.set_meta(con, WALKED, str(run)))

    async def _serve(self, life: Life, core: Core, reader: SourceReader, *, target: Target, place: Place) -> None:
        view = await life.manifest.read(lambda con: files_outcome.plan_view(con, life.job_id, target))
        totals = view.totals
        life.emit(
            PlanReady(
                experiments=totals.experiments,
                files=totals.files,
                bytes=totals.bytes,
                refused=view.problem_count,
                skipped=totals.skipped,
            )
        )
        agreed = await life.ask(view, is_empty=not totals.files)
        if agreed and not life.options.dry_run and life.stop.is_feeding:
            await life.drain(ResourceRun(core, reader, target, place=place, marks=self._marks).run)

    def outcome(self, con: sqlite3.Connection, reason: StopReason | None, error: XferError | None) -> Outcome:
        """Read how the job stands; see ``Verb``."""
        return files_outcome.outcome_of(con, reason, error)

    def report(self, folder: Path, summary: Summary) -> JobReport:
        """Write the report; see ``Verb``."""
        lines = files_outcome.FilesLines(folder)
        write_item_reports(folder, summary, lines)
        return JobReport(summary=summary, items=tuple(lines.items()))
