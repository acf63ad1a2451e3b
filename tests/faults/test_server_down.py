"""A server that goes away: for a while, and for longer than the job waits."""

from __future__ import annotations

from pathlib import Path

import msgspec
from engine_kit import FAST_RETRY, SMALL, Job, all_uids, archived, make_cohort, settings_for, spec_for

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.server import open_emulator


async def test_a_server_that_answers_nothing_for_a_while_costs_no_session(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "in", SMALL)
    away = "reset-before-body:path=.,nth=12,times=60"
    async with open_emulator(EmulatorConfig(projects=("P",), faults=(away,))) as emulator:
        retry = msgspec.structs.replace(FAST_RETRY, give_up_after_s=30.0, attempts=3, budget=1000)
        job = Job(
            emulator, spec_for(emulator, tmp_path / "in"), settings_for(emulator, tmp_path / "state", retry=retry)
        )
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert sorted(uid for uids in archived(emulator).values() for uid in uids) == all_uids(cohort)


async def test_a_server_that_stays_away_ends_the_job_with_5_and_no_session_counts_as_failed(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "in", SMALL)
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        retry = msgspec.structs.replace(FAST_RETRY, give_up_after_s=0.3)
        job = Job(
            emulator, spec_for(emulator, tmp_path / "in"), settings_for(emulator, tmp_path / "state", retry=retry)
        )
        emulator.faults.add("reset-before-body", match=".", nth=12, times=0)
        summary = await job.run()
        assert summary.exit_code == 5, summary
        assert not {line.state for line in job.report.studies} & {"failed", "refused"}
        emulator.faults.clear()
        summary = await job.run(resume_job=summary.job)
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert summary.totals.verified == len(cohort)
