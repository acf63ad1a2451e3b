"""What a person may ask for: plans, dry runs, overwriting, other ends than the archive, other ways to look."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_kit import in_prearchive
from trouble_kit import failure, imports, job_for, of_study, open_site, stored, tiny_cohort, uids_of

from xferengine.jobs.plan import PlanView, RunOptions
from xferengine.jobs.planfile import spec_of_plan
from xferengine.jobs.runner import run_job
from xferengine.model.events import Summary


async def test_a_dry_run_shows_the_plan_and_sends_nothing(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)
        shown: list[PlanView] = []

        async def look(view: PlanView) -> bool:
            shown.append(view)
            return True

        report = await run_job(job.spec, job.settings, confirm=look, options=RunOptions(dry_run=True))
        assert isinstance(report.summary, Summary)
        assert (report.summary.state, report.summary.exit_code) == ("planned", 0)
        assert (shown[0].totals.experiments, shown[0].totals.files) == (2, len(cohort))
        assert imports(emulator) == 0
        assert not emulator.world.rows
        assert not [s for s in emulator.requests.recent if s.method not in {"GET", "DELETE"}]
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0)
        assert stored(emulator) == uids_of(cohort)


async def test_a_declined_plan_sends_nothing(tmp_path: Path) -> None:
    tiny_cohort(tmp_path / "in")
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)

        async def decline(_: PlanView) -> bool:
            return False

        report = await run_job(job.spec, job.settings, confirm=decline)
        assert isinstance(report.summary, Summary)
        assert (report.summary.state, report.summary.exit_code) == ("interrupted", 130)
        assert imports(emulator) == 0
        assert not emulator.world.rows


async def test_a_plan_file_is_run_exactly_as_it_stands(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    plan = tmp_path / "plan.jsonl"
    async with open_site() as emulator:
        await job_for(emulator, tmp_path).run(dry_run=True, plan_out=str(plan))
        assert plan.stat().st_mode & 0o777 == 0o600
        tiny_cohort(tmp_path / "in", sessions=1, first=8)  # came later: not part of the plan
        text = plan.read_text().replace('"session":"SUBJ001', '"session":"CHOSEN')
        plan.write_text(text)
        assert spec_of_plan(plan) == job_for(emulator, tmp_path).spec
        other = job_for(emulator, tmp_path / "elsewhere", *map(Path, spec_of_plan(plan).paths))
        summary = await other.run(plan_in=str(plan))
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)
        assert {e.label[:6] for e in emulator.world.experiments_of("P")} == {"CHOSEN", "SUBJ00"}


async def test_a_plan_with_a_file_that_has_changed_since_names_it(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    plan = tmp_path / "plan.jsonl"
    async with open_site() as emulator:
        await job_for(emulator, tmp_path).run(dry_run=True, plan_out=str(plan))
        changed = of_study(cohort, 0)[0].path
        changed.write_bytes(changed.read_bytes() + b"\0\0")
        other = job_for(emulator, tmp_path / "elsewhere", *map(Path, spec_of_plan(plan).paths))
        summary = await other.run(plan_in=str(plan))
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert failure(summary, changed).error == "SourceChanged"
        assert stored(emulator) == uids_of(of_study(cohort, 1))


async def test_append_sends_only_what_is_not_there(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in", instances=4)
    early = [file for file in cohort if file.instance_number <= 2]
    async with open_site() as emulator:
        for file in early:
            target = tmp_path / "early" / file.path.relative_to(tmp_path / "in")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.path.read_bytes())
        assert (await job_for(emulator, tmp_path, tmp_path / "early").run()).exit_code == 0
        before = emulator.bytes_in
        summary = await job_for(emulator, tmp_path, overwrite="append").run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)
        late = sum(file.size for file in cohort if file not in early)
        assert late < emulator.bytes_in - before < late * 1.5
        again = emulator.bytes_in
        summary = await job_for(emulator, tmp_path / "new", tmp_path / "in", overwrite="append").run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert emulator.bytes_in == again


async def test_append_does_not_vouch_for_content_it_cannot_prove(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    async with open_site(checksums=False) as emulator:
        assert (await job_for(emulator, tmp_path).run()).exit_code == 0
        summary = await job_for(emulator, tmp_path, overwrite="append").run()
        assert (summary.state, summary.exit_code) == ("done-unverified", 0), summary
        assert summary.totals.skipped == len(cohort)
        assert sorted(summary.unverified) == sorted({file.study_uid for file in cohort})


async def test_delete_replaces_files_and_removes_nothing(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    changed = cohort[0]
    async with open_site() as emulator:
        assert (await job_for(emulator, tmp_path).run()).exit_code == 0
        content = changed.path.read_bytes()
        changed.path.write_bytes(content[:-2] + b"\7\7")
        cohort[1].path.unlink()
        summary = await job_for(emulator, tmp_path, overwrite="delete").run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)
        (held,) = (emulator.world.data_dir / "archive").rglob(f"{changed.sop_uid}.dcm")
        assert held.read_bytes() == changed.path.read_bytes()


@pytest.mark.parametrize("code", [0, 4])
async def test_dest_prearchive_ends_ready_also_where_the_project_archives_by_itself(tmp_path: Path, code: int) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    async with open_site(default_prearchive_code=code) as emulator:
        job = job_for(emulator, tmp_path, dest="prearchive")
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert in_prearchive(emulator) == uids_of(cohort)
        assert stored(emulator) == []
        assert {row.status for row in emulator.world.rows.values()} == {"READY"}
        assert not emulator.world.experiments_of("P")
        assert all(line.url.startswith(f"{emulator.url}/data/prearchive/") for line in job.report.studies)


@pytest.mark.parametrize("code", [0, 4, 5])
async def test_the_archive_is_reached_whatever_the_project_does_by_itself(tmp_path: Path, code: int) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    async with open_site(default_prearchive_code=code) as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)


async def test_append_to_a_project_that_replaces_by_itself_needs_a_word(tmp_path: Path) -> None:
    tiny_cohort(tmp_path / "in")
    async with open_site(default_prearchive_code=5) as emulator:
        summary = await job_for(emulator, tmp_path, overwrite="append").run()
        assert summary.exit_code == 8
        assert summary.failures[0].error == "GuardStopped"
        assert imports(emulator) == 0
        assert (await job_for(emulator, tmp_path, overwrite="append", accept_overwrite=True).run()).exit_code == 0


@pytest.mark.parametrize("verify", ["count", "none"])
async def test_less_verification_is_said_in_the_state(tmp_path: Path, verify: str) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path, verify=verify)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done-unverified", 0), summary
        assert sorted(summary.unverified) == sorted({file.study_uid for file in cohort})
        assert {line.verified_by for line in job.report.studies} == {"count" if verify == "count" else ""}
        assert stored(emulator) == uids_of(cohort)


@pytest.mark.parametrize("name", ["subject=SUBJ001", "modality=CT", "file=IM000001"])
async def test_include_and_exclude_part_the_cohort(tmp_path: Path, name: str) -> None:
    cohort = tiny_cohort(tmp_path / "in", sessions=3)
    async with open_site() as emulator:
        kept = job_for(emulator, tmp_path, include=(name,))
        assert (await kept.run()).exit_code == 0
        part = stored(emulator)
        assert 0 < len(part) < len(cohort)
        rest = job_for(emulator, tmp_path, exclude=(name,), overwrite="append")
        summary = await rest.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)
