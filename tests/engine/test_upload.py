"""The whole path: folder → plan → bundles → build → archive → verified report."""

from __future__ import annotations

from pathlib import Path

from engine_kit import SMALL, Job, all_uids, archived, make_cohort, settings_for, spec_for

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.server import open_emulator
from xferengine.jobs.plan import PlanView, RunOptions
from xferengine.jobs.runner import run_job
from xferengine.model.events import PlanReady, UnitDone


async def test_a_cohort_ends_verified_in_the_archive(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "in", SMALL)
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        job = Job(emulator, spec_for(emulator, tmp_path / "in"), settings_for(emulator, tmp_path / "state"))
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert summary.totals.verified == len(cohort)
        assert sorted(uid for uids in archived(emulator).values() for uid in uids) == all_uids(cohort)
        assert len(archived(emulator)) == SMALL.sessions
        assert all(line.verified_by == "uid" for line in job.report.studies)
        assert any(isinstance(event, PlanReady) for event in job.events)
        assert sum(event.files for event in job.events if isinstance(event, UnitDone)) == len(cohort)


async def test_the_same_command_again_sends_nothing(tmp_path: Path) -> None:
    make_cohort(tmp_path / "in", SMALL)
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        job = Job(emulator, spec_for(emulator, tmp_path / "in"), settings_for(emulator, tmp_path / "state"))
        await job.run()
        before = emulator.bytes_in
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0)
        assert emulator.bytes_in == before


async def test_a_session_that_somebody_removed_since_is_named_and_not_quietly_sent_again(tmp_path: Path) -> None:
    make_cohort(tmp_path / "in", SMALL)
    plans: list[PlanView] = []

    async def look(plan: PlanView) -> bool:
        plans.append(plan)
        return True

    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        settings = settings_for(emulator, tmp_path / "state")
        port, spec = emulator.port, spec_for(emulator, tmp_path / "in")
        assert (await Job(emulator, spec, settings).run()).exit_code == 0
    async with open_emulator(EmulatorConfig(projects=("P",), port=port)) as emulator:
        report = await run_job(spec, settings, confirm=look, options=RunOptions(dry_run=True))
    assert report.summary.exit_code == 0
    assert "3 sessions that this job archived are no longer in project P" in plans[0].notes[0]
