"""Full disks here and there, bodies that are too large, a second run, a cancelled job."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec
import pytest
from engine_kit import FAST_RETRY, SMALL_POOL, in_prearchive
from trouble_kit import failure, job_for, once, open_site, stored, tiny_cohort, uids_of

from xferengine.errors import DiskFull, LockedByOther
from xferengine.jobs import outcome
from xferengine.jobs.admin import cancel_job, list_jobs, remote_rows
from xferengine.manifest import writer
from xferengine.model.events import AttemptFailed, UnitDone, UnitStarted


async def test_a_server_disk_that_is_full_for_a_while_costs_time_only(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in", instances=6)
    async with open_site(faults=("disk-full:nth=4,times=12",)) as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert len(emulator.faults.hits) == 12
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)


async def test_a_server_disk_that_stays_full_ends_the_job_and_it_goes_on_later(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in", instances=6)
    async with open_site(faults=("disk-full:nth=4,times=0",)) as emulator:
        retry = msgspec.structs.replace(FAST_RETRY, give_up_after_s=0.2)
        job = job_for(emulator, tmp_path, settings={"retry": retry})
        summary = await job.run()
        assert summary.exit_code in {3, 5}, summary
        assert summary.failures
        assert summary.totals.verified == 0
        emulator.faults.clear()
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)


async def test_a_proxy_that_takes_only_small_bodies_halves_the_bundles(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in", sessions=1, instances=12)
    pool = msgspec.structs.replace(SMALL_POOL, bundle_bytes=1_000_000, bundle_files_max=12)
    async with open_site(faults=("too-large:path=services/import,limit_bytes=8000",)) as emulator:
        job = job_for(emulator, tmp_path, settings={"pool": pool})
        summary = await job.run()
        assert emulator.faults.hits
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)
        assert any(isinstance(event, AttemptFailed) and event.error == "BodyTooLarge" for event in job.events)
        more = tiny_cohort(tmp_path / "more", sessions=1, instances=12, first=7)
        next_job = job_for(emulator, tmp_path, tmp_path / "more", settings={"pool": pool})
        assert (await next_job.run()).exit_code == 0
        assert not any(isinstance(event, AttemptFailed) for event in next_job.events), "the limit was not remembered"
        assert stored(emulator) == sorted(uids_of(cohort) + uids_of(more))


async def test_a_single_file_that_no_proxy_takes_is_named_and_the_rest_arrives(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    (big,) = tiny_cohort(tmp_path / "in", sessions=1, series=1, instances=1, instance_bytes=60_000, first=1, seed=5)
    async with open_site(faults=("too-large:path=services/import,limit_bytes=20000",)) as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3), summary
        assert failure(summary, big.path).error == "BodyTooLarge"
        kept = [file for file in cohort if file.path != big.path]
        assert stored(emulator) == uids_of(kept)


@pytest.mark.parametrize("code", ["SQLITE_FULL", "SQLITE_IOERR_WRITE"])
async def test_a_full_disk_under_the_state_folder_ends_the_job_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)
        with monkeypatch.context() as full:

            def fill() -> None:
                full.setattr(writer.Writer, "_apply", _fail(code))

            assert await _code_of(job.run, once(UnitDone, fill)) == outcome.DISK
        summary = await job.run(resume_job=list_jobs(tmp_path / "state")[0].id)
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)


def _fail(code: str) -> Callable[..., None]:
    def apply(*_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = code
        raise error

    return apply


async def _code_of(run: Callable[..., object], hook: object) -> int:
    """The exit code, whether the error is in the summary or, as the manifest cannot be written, raised."""
    try:
        summary = await run(hook)  # type: ignore[misc]
    except DiskFull as error:
        return outcome.code_of(error)
    return summary.exit_code


async def test_a_second_run_of_a_job_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    async with open_site(faults=("stall-reading:path=services/import,nth=1,times=1,delay_s=0.3",)) as emulator:
        first, second = job_for(emulator, tmp_path), job_for(emulator, tmp_path)
        started = anyio.Event()
        async with anyio.create_task_group() as tg:

            async def run_second() -> None:
                await started.wait()
                with pytest.raises(LockedByOther) as refused:
                    await second.run()
                assert outcome.code_of(refused.value) == outcome.LOCKED

            tg.start_soon(run_second)
            summary = await first.run(once(UnitStarted, started.set))
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert list_jobs(tmp_path / "state")[0].state == "done"
        assert stored(emulator) == uids_of(cohort)


@pytest.mark.parametrize("discard", [False, True])
async def test_a_cancelled_job_names_every_row_it_left(tmp_path: Path, discard: bool) -> None:
    tiny_cohort(tmp_path / "in", instances=6)
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)
        async with anyio.create_task_group() as tg:
            await job.run(once(UnitDone, tg.cancel_scope.cancel, 2))
        (row,) = list_jobs(tmp_path / "state")
        there = {entry.url for entry in emulator.world.rows.values()}
        assert there
        left = await cancel_job(job.settings, row.id, discard)
        assert {uri.removeprefix("/data") for uri in left} == (set() if discard else there)
        assert bool(emulator.world.rows) is not discard
        assert bool(in_prearchive(emulator)) is not discard
        assert list_jobs(tmp_path / "state")[0].state == "cancelled"
        assert len(await remote_rows(job.settings, row.id)) == (0 if discard else len(there))


async def test_the_same_command_after_a_cancelled_job_is_a_new_job(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in", instances=6)
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)
        async with anyio.create_task_group() as tg:
            await job.run(once(UnitDone, tg.cancel_scope.cancel))
        await cancel_job(job.settings, list_jobs(tmp_path / "state")[0].id, True)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert len(list_jobs(tmp_path / "state")) == 2
        assert stored(emulator) == uids_of(cohort)


async def test_an_instance_that_the_server_never_reads_is_named_and_the_rest_arrives(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in", instances=6)
    bad = cohort[1]
    async with open_site(faults=(f"torn-entry:path={bad.sop_uid}",)) as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3), summary
        assert failure(summary, bad.path).error == "UnreadableEntry"
        assert summary.totals.verified == len(cohort) - 1


async def test_an_instance_that_the_server_reads_at_the_fourth_try_is_not_lost(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in", sessions=1, instances=6)
    async with open_site(faults=("disk-full:nth=2,times=3",)) as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)


async def test_a_session_of_one_file_that_cannot_be_sent_is_named(tmp_path: Path) -> None:
    tiny_cohort(tmp_path / "in")
    (big,) = tiny_cohort(tmp_path / "in" / "big", sessions=1, instances=1, instance_bytes=60_000, first=7)
    async with open_site(faults=("too-large:path=services/import,limit_bytes=20000",)) as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3), summary
        assert failure(summary, big.path).error == "BodyTooLarge"
        assert "each of them is named" in failure(summary, big.study_uid).detail
        assert len(emulator.world.experiments_of("P")) == 2
