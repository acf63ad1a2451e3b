"""``--extras``, ``--no-wait``, and files that come later."""

from __future__ import annotations

from pathlib import Path

from engine_kit import CohortShape, Job, all_uids, archived, make_cohort, settings_for, spec_for

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.server import open_emulator

TWO = CohortShape(sessions=2, series=1, instances=3, instance_bytes=4000)


async def test_files_beside_one_session_go_into_its_resource_and_others_are_left(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "in", TWO)
    folder = cohort[0].path.parent
    (folder / "notes #1 ü.txt").write_text("one")
    (folder / "deep").mkdir()
    (folder / "deep" / "empty").write_bytes(b"")
    (folder / "x_catalog.xml").write_text("<a/>")
    (tmp_path / "in" / "between.txt").write_text("whose?")
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        spec = spec_for(emulator, tmp_path / "in", extras="NOTES")
        job = Job(emulator, spec, settings_for(emulator, tmp_path / "state"))
        summary = await job.run()
        assert summary.totals.verified == len(cohort)
        assert [(f.ref.rsplit("/", 1)[-1], f.error) for f in summary.failures] == [("x_catalog.xml", "BadInput")]
        assert summary.exit_code == 3
        stored = sorted(p.name for p in (emulator.world.data_dir / "archive").rglob("NOTES/**/*") if p.is_file())
        assert [name for name in stored if not name.endswith("_catalog.xml")] == ["empty", "notes #1 ü.txt"]


async def test_no_wait_ends_as_sent_and_resume_verifies(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "in", TWO)
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        spec = spec_for(emulator, tmp_path / "in", wait=False)
        job = Job(emulator, spec, settings_for(emulator, tmp_path / "state"))
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("sent", 0)
        summary = await job.run(resume_job=summary.job)
        assert (summary.state, summary.exit_code) == ("done", 0)
        assert summary.totals.verified == len(cohort)


async def test_a_file_that_comes_after_its_session_was_archived_is_named_and_append_adds_it(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "in", TWO)
    late = cohort[1].path
    aside = tmp_path / "aside"
    late.rename(aside)
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        settings = settings_for(emulator, tmp_path / "state")
        job = Job(emulator, spec_for(emulator, tmp_path / "in"), settings)
        assert (await job.run()).exit_code == 0
        aside.rename(late)
        summary = await job.run()
        assert summary.exit_code == 3
        assert [(f.ref, f.error) for f in summary.failures] == [(str(late), "Conflict")]
        adding = Job(emulator, spec_for(emulator, tmp_path / "in", overwrite="append"), settings)
        summary = await adding.run()
        assert summary.exit_code == 0, summary
        assert sorted(uid for uids in archived(emulator).values() for uid in uids) == all_uids(cohort)
