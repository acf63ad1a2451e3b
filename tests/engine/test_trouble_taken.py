"""Labels and studies that are taken: in the archive, in the prearchive, before the run and in the middle of it."""

from __future__ import annotations

from pathlib import Path

import anyio
import msgspec
import pydicom
import pytest
from engine_kit import SMALL_POOL, in_prearchive
from trouble_kit import failure, imports, job_for, of_study, once, open_site, stored, tiny_cohort, uids_of

from xferengine.emulator.cohort import CohortFile
from xferengine.emulator.server import Emulator
from xferengine.jobs.admin import list_jobs
from xferengine.jobs.labels import study_hash
from xferengine.model.events import Event, PlanReady, StudyChanged, UnitDone, UnitStarted
from xferengine.settings.slices import PoolConfig


def label_of(file: CohortFile) -> str:
    """The session label that the default template gives."""
    return f"{file.subject}_{pydicom.dcmread(file.path).StudyDate}_{study_hash(file.study_uid)}"


def sent_for(emulator: Emulator, label: str) -> int:
    return len(emulator.requests.matching(f"services/import.*EXPT_LABEL={label}"))


async def test_a_session_in_the_archive_is_refused_and_nothing_is_sent_for_it(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    taken = of_study(cohort, 0)
    async with open_site() as emulator:
        assert (await job_for(emulator, tmp_path, taken[0].path.parent).run()).exit_code == 0
        sent = sent_for(emulator, label_of(taken[0]))
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        found = failure(summary, taken[0].study_uid)
        assert found.error == "Conflict"
        assert "--overwrite append" in found.detail
        assert sent_for(emulator, label_of(taken[0])) == sent
        assert stored(emulator) == uids_of(cohort)


async def test_a_session_archived_between_plan_and_send_is_refused_and_nothing_is_sent_for_it(
    tmp_path: Path,
) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    taken = of_study(cohort, 0)
    async with open_site() as emulator:

        def archive() -> None:
            subject = emulator.world.add_subject("P", taken[0].subject)
            emulator.world.add_experiment("P", subject.id, label_of(taken[0]), "xnat:mrSessionData")

        summary = await job_for(emulator, tmp_path).run(once(PlanReady, archive))
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert failure(summary, taken[0].study_uid).error == "Conflict"
        assert sent_for(emulator, label_of(taken[0])) == 0
        assert stored(emulator) == uids_of(of_study(cohort, 1))


@pytest.mark.parametrize("same", ["study", "label"])
async def test_a_session_of_another_sender_in_the_prearchive_is_refused(tmp_path: Path, same: str) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    taken = of_study(cohort, 0)[0]
    async with open_site() as emulator:
        if same == "study":
            emulator.core.inject_foreign_row("P", taken.study_uid, "other_label")
        else:
            emulator.core.inject_foreign_row("P", "1.2.3", label_of(taken).upper())
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert "another sender" in failure(summary, taken.study_uid).detail
        assert sent_for(emulator, label_of(taken)) == 0
        assert stored(emulator) == uids_of(of_study(cohort, 1))


async def test_existing_row_join_adds_to_the_session_of_another_sender(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    taken = of_study(cohort, 0)[0]
    async with open_site() as emulator:
        emulator.core.inject_foreign_row("P", taken.study_uid, label_of(taken))
        summary = await job_for(emulator, tmp_path, existing_row="join").run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)


async def test_existing_row_wait_goes_on_when_the_other_session_is_gone(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    taken = of_study(cohort, 0)[0]
    async with open_site() as emulator:
        row = emulator.core.inject_foreign_row("P", taken.study_uid, label_of(taken))
        job = job_for(emulator, tmp_path, existing_row="wait")
        async with anyio.create_task_group() as tg:
            archived = anyio.Event()

            def listen(event: Event) -> None:
                if isinstance(event, StudyChanged) and event.state == "verified":
                    archived.set()

            async def other_sender() -> None:
                await archived.wait()
                assert sent_for(emulator, label_of(taken)) == 0
                emulator.core.table.forget(row)

            tg.start_soon(other_sender)
            summary = await job.run(listen)
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)


async def test_a_row_of_another_sender_that_appears_at_the_first_bundle_is_seen(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    taken = of_study(cohort, 0)[0]
    async with open_site() as emulator:

        def appear() -> None:
            emulator.core.inject_foreign_row("P", taken.study_uid, label_of(taken))

        first = once(StudyChanged, appear)
        summary = await job_for(emulator, tmp_path, settings={"pool": _one_study()}).run(first)
        assert (summary.state, summary.exit_code) == ("incomplete", 3), summary
        assert "another sender" in failure(summary, taken.study_uid).detail
        assert stored(emulator) == uids_of(of_study(cohort, 1))
        assert set(in_prearchive(emulator)) <= set(uids_of(of_study(cohort, 0)))


def _one_study() -> PoolConfig:
    return msgspec.structs.replace(SMALL_POOL, studies_in_flight=1)


@pytest.mark.parametrize("label", ["", "OTHER_LABEL"])
async def test_a_row_of_another_sender_that_appears_mid_run_does_not_mix_with_ours(tmp_path: Path, label: str) -> None:
    """Another study under our label, or our study under another label: neither is joined by what we send."""
    cohort = tiny_cohort(tmp_path / "in", instances=6)
    fault = f"foreign-row:nth=3,times=1{',label=' + label if label else ''}"
    async with open_site(faults=(fault,)) as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert emulator.faults.hits
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)


async def test_killed_before_the_first_answer_the_next_run_adopts_its_own_row(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    async with open_site(faults=("stall-reading:path=services/import,delay_s=30",)) as emulator:
        job = job_for(emulator, tmp_path)
        async with anyio.create_task_group() as tg:

            def kill() -> None:
                tg.cancel_scope.cancel()

            await job.run(once(UnitStarted, kill))
        assert not stored(emulator)
        emulator.faults.clear()
        (row,) = list_jobs(tmp_path / "state")
        ours = of_study(cohort, 0)[0]
        emulator.core.inject_foreign_row("P", ours.study_uid, label_of(ours)).source = f"xferengine-{row.id}"
        summary = await job.run(resume_job=row.id)
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)
        assert not emulator.world.rows


async def test_a_conflict_at_archive_time_leaves_the_session_in_the_prearchive_and_says_so(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    taken = of_study(cohort, 0)
    async with open_site() as emulator:

        def archive() -> None:
            subject = emulator.world.add_subject("P", "SOMEBODY")
            emulator.world.add_experiment("P", subject.id, label_of(taken[0]), "xnat:mrSessionData")

        job = job_for(emulator, tmp_path, settings={"pool": _one_study()})
        summary = await job.run(once(UnitDone, archive))
        assert (summary.state, summary.exit_code) == ("incomplete", 3), summary
        assert failure(summary, taken[0].study_uid).error == "Conflict"
        assert in_prearchive(emulator) == uids_of(taken)
        assert stored(emulator) == uids_of(of_study(cohort, 1))
        (line,) = [line for line in job.report.studies if line.study_uid == taken[0].study_uid]
        assert line.url.startswith(f"{emulator.url}/data/prearchive/projects/P/")
        again = await job.run(resume_job=summary.job)
        assert again.exit_code == 3
        before = imports(emulator)
        again = await job.run(resume_job=summary.job, retry=True)
        assert again.exit_code == 3
        assert imports(emulator) == before


async def test_delete_does_not_merge_another_study_into_a_session_without_being_told(tmp_path: Path) -> None:
    tiny_cohort(tmp_path / "one", sessions=1)
    tiny_cohort(tmp_path / "two", sessions=1, seed=2)
    async with open_site() as emulator:
        first = job_for(emulator, tmp_path, tmp_path / "one", subject="S", session="E")
        assert (await first.run()).exit_code == 0
        before = emulator.bytes_in
        second = job_for(emulator, tmp_path, tmp_path / "two", subject="S", session="E", overwrite="delete")
        summary = await second.run()
        assert summary.exit_code == 3
        assert "another study" in summary.failures[0].detail
        assert emulator.bytes_in == before
