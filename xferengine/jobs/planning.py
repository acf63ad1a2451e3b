"""From a spec to a plan in the manifest: scan, duplicates, targets, view."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from xferengine.errors import BadInput
from xferengine.jobs.extras import assign_extras
from xferengine.jobs.mapfile import StudyMap, read_map
from xferengine.jobs.plan import SHOWN, PlanStudy, PlanTotals, PlanView
from xferengine.jobs.selection import Selection
from xferengine.jobs.spec import UploadSpec
from xferengine.jobs.targets import Targets, assign_all, settle_duplicates
from xferengine.manifest import intake, overview, studies
from xferengine.manifest.rows import StudyRow
from xferengine.manifest.store import Manifest
from xferengine.model.events import Emit, ScanProgress
from xferengine.model.states import StudyState
from xferengine.store.reader import SourceReader
from xferengine.store.scan import ScanConfig, open_scan


class Planner:
    """Fills the manifest of one upload job."""

    def __init__(self, spec: UploadSpec, manifest: Manifest, reader: SourceReader, emit: Emit) -> None:
        self._spec = spec
        self._manifest = manifest
        self._reader = reader
        self._emit = emit
        study_map: StudyMap | None = read_map(Path(spec.map_file)) if spec.map_file else None
        self._targets = Targets(spec, study_map)
        self._selection = Selection(spec)

    async def scan(self, workers: int) -> None:
        """Scan the input into the manifest; the scan counts as ended only when every batch is durable.

        Raises:
            BadInput: a PATH is missing, or nothing at all is in them.
        """
        run = int(await self._manifest.read(lambda con: overview.get_meta(con, "scan_run", "0"))) + 1
        config = ScanConfig(
            paths=self._spec.paths,
            keywords=tuple(sorted({*self._targets.keywords, *self._selection.keywords})),
            workers=workers,
            min_age_s=self._spec.min_age_s,
        )
        files = dicom = size = problems = 0
        async with open_scan(config) as batches:
            async for batch in batches:
                chosen = self._selection.apply(batch)
                await self._manifest.write(lambda con, b=chosen: intake.insert_batch(con, b, run))
                files += len(batch.files) + len(batch.problems) + len(batch.others)
                dicom += len(chosen.files)
                size += sum(f.source.size for f in chosen.files)
                problems += len(batch.problems)
                self._emit(ScanProgress(files=files, dicom=dicom, bytes=size, problems=problems))
        if not files:
            raise BadInput(f"nothing to send: no files in {', '.join(self._spec.paths)}")
        if not dicom and not problems:
            raise BadInput(f"nothing to send: no DICOM among {files} files in {', '.join(self._spec.paths)}")

        def finish(con: sqlite3.Connection) -> None:
            intake.missing_since(con, run)
            overview.set_meta(con, "scan_run", str(run))

        await self._manifest.write(finish)

    async def resolve(self, *, planned: bool = False) -> None:
        """Settle duplicates, give every study its labels, refuse clashes and studies that are still being written.

        Args:
            planned: the labels came from a plan file and stay as they are.
        """
        await settle_duplicates(self._manifest, self._reader)
        may_add = self._spec.overwrite != "none" or self._spec.dest == "prearchive"
        await self._manifest.write(lambda con: _name_late_files(con, may_add=may_add))
        await self._manifest.write(studies.reopen_grown)
        if not planned:
            await assign_all(self._manifest, self._targets)
        await self._manifest.write(intake.count_studies)
        await self._manifest.write(_hold_young)
        await self._manifest.write(_refuse_empty)
        if self._spec.extras:
            await assign_extras(self._manifest)

    async def view(self, job_id: str, notes: list[str]) -> PlanView:
        """Return the plan as a table can show it."""
        return await self._manifest.read(lambda con: plan_view(con, job_id, notes))


def _hold_young(con: sqlite3.Connection) -> None:
    """``--min-age``: one young file holds its whole study back."""
    con.execute(
        "UPDATE study SET state='refused', error='TooYoung', detail='some of its files are younger than --min-age:"
        " run the same command again later' WHERE state='planned' AND study_uid IN"
        " (SELECT study_uid FROM problem WHERE kind='too-young')"
    )


def _name_late_files(con: sqlite3.Connection, *, may_add: bool) -> None:
    """Files that came to a session which is just being archived, or is archived and may not be added to: named."""
    con.execute(
        "UPDATE file SET state='failed',"
        " note='Conflict: its session is just being archived; run the same command again'"
        " WHERE state='planned' AND study_id IN (SELECT id FROM study WHERE state IN ('archiving','archived'))"
    )
    if may_add:
        return
    con.execute(
        "UPDATE file SET state='failed',"
        " note='Conflict: its session is archived already; --overwrite append adds to it'"
        " WHERE state='planned' AND study_id IN (SELECT id FROM study WHERE state IN ('verified','unverified'))"
    )


def _refuse_empty(con: sqlite3.Connection) -> None:
    """A study that has no file left to send is not begun."""
    con.execute(
        "UPDATE study SET state='refused', error='BadInput', detail='none of its files can be sent; each is named'"
        " WHERE state='planned' AND row_uri='' AND NOT EXISTS"
        " (SELECT 1 FROM file WHERE file.study_id=study.id AND file.state NOT IN ('failed','duplicate'))"
    )


def plan_view(con: sqlite3.Connection, job_id: str, notes: list[str]) -> PlanView:
    """Build the view of the manifest's plan."""
    experiments, files, size = overview.to_send(con)
    states = overview.states(con)
    duplicates = con.execute("SELECT count(*) FROM file WHERE state='duplicate'").fetchone()[0]
    rows = [
        studies.study_row(row)
        for row in con.execute("SELECT * FROM study ORDER BY project, subject, session, id LIMIT ?", (SHOWN,))
    ]
    return PlanView(
        job=job_id,
        totals=PlanTotals(
            experiments=experiments,
            files=files,
            bytes=size,
            refused=states.get("refused", 0),
            skipped=duplicates,
        ),
        studies=tuple(_plan_study(con, study) for study in rows),
        problems=tuple(overview.problems(con, SHOWN)),
        problem_count=overview.count(con, "problem"),
        others_count=overview.count(con, "other"),
        notes=tuple(notes),
    )


def _plan_study(con: sqlite3.Connection, study: StudyRow) -> PlanStudy:
    verdict = "refused" if study.state in {StudyState.REFUSED, StudyState.FAILED} else "send"
    return PlanStudy(
        study_uid=study.study_uid,
        project=study.project,
        subject=study.subject,
        session=study.session,
        files=study.files,
        bytes=study.bytes,
        series=studies.series_count(con, study.id),
        paths=tuple(studies.folders(con, study.id)),
        verdict="done" if study.state.is_good else verdict,
        why=study.detail,
    )
