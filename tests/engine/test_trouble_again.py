"""The same command again after a person has put something right, or after more has arrived in the folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

from engine_kit import in_prearchive
from trouble_kit import failure, job_for, of_study, open_site, rewrite, stored, tiny_cohort, uids_of


async def test_a_repaired_file_is_no_problem_any_more(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    good = cohort[1].path.read_bytes()
    cohort[1].path.write_bytes(good[:-40])
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path, dest="prearchive")
        assert (await job.run()).exit_code == 3
        cohort[1].path.write_bytes(good)
        summary = await job.run()
        assert (summary.state, summary.exit_code, summary.failures) == ("done", 0, ())
        assert summary.totals.files == len(cohort)


async def test_a_broken_file_that_was_removed_is_no_problem_any_more(tmp_path: Path) -> None:
    tiny_cohort(tmp_path / "in")
    bad = tmp_path / "in" / "cut"
    bad.write_bytes(b"\0" * 128 + b"DICM\2\0\0\0UL\4\0")
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)
        summary = await job.run()
        assert failure(summary, bad).error == "cut-header"
        bad.unlink()
        summary = await job.run()
        assert (summary.state, summary.exit_code, summary.failures) == ("done", 0, ())


async def test_a_corrected_patient_id_is_taken(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    rewrite(cohort[1].path, PatientID="SOMEBODY")
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)
        assert (await job.run()).exit_code == 3
        rewrite(cohort[1].path, PatientID=cohort[1].subject)
        summary = await job.run()
        assert (summary.state, summary.exit_code, summary.failures) == ("done", 0, ())
        assert stored(emulator) == uids_of(cohort)


async def test_new_files_of_an_archived_session_are_refused_by_name_not_forgotten(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "all")
    late = of_study(cohort, 0)[-1]
    early = tmp_path / "in"
    (tmp_path / "all").rename(early)
    late_bytes = (early / late.path.relative_to(tmp_path / "all")).read_bytes()
    place = early / late.path.relative_to(tmp_path / "all")
    place.unlink()
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)
        assert (await job.run()).exit_code == 0
        place.write_bytes(late_bytes)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert "--overwrite append" in failure(summary, place).detail
        assert stored(emulator) == uids_of(cohort, without=(late,))


async def test_new_files_of_an_archived_session_are_added_with_append(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    late = of_study(cohort, 0)[-1]
    content = late.path.read_bytes()
    late.path.unlink()
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path, overwrite="append")
        assert (await job.run()).exit_code == 0
        late.path.write_bytes(content)
        before = emulator.bytes_in
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)
        assert emulator.bytes_in - before < 2 * len(content)


async def test_new_files_of_a_session_in_the_prearchive_are_added(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    late = of_study(cohort, 0)[-1]
    content = late.path.read_bytes()
    late.path.unlink()
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path, dest="prearchive")
        assert (await job.run()).exit_code == 0
        late.path.write_bytes(content)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert in_prearchive(emulator) == uids_of(cohort)


async def test_young_files_are_sent_when_they_are_old_enough(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    old = time.time() - 3600
    for file in cohort:
        os.utime(file.path, (old, old))
    young = of_study(cohort, 0)[1]
    os.utime(young.path)
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path, min_age_s=600.0)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert failure(summary, young.study_uid).error == "TooYoung"
        assert failure(summary, young.path).error == "too-young"
        assert stored(emulator) == uids_of(of_study(cohort, 1))
        os.utime(young.path, (old, old))
        summary = await job.run()
        assert (summary.state, summary.exit_code, summary.failures) == ("done", 0, ())
        assert stored(emulator) == uids_of(cohort)
