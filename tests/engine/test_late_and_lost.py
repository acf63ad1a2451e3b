"""Answers that are lost with everything they answered, and files that come while their session is under way."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from pathlib import Path

import pytest
from engine_kit import CohortShape, Job, all_uids, archived, make_cohort, settings_for, spec_for

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.server import open_emulator
from xferengine.errors import Ambiguous
from xferengine.jobs.attempt import UnitSender
from xferengine.jobs.study_send import Sender
from xferengine.manifest.rows import UnitRow
from xferengine.manifest.store import open_manifest
from xferengine.schedule.stop import StopKind, StopReason
from xferengine.xnat.faults import UnreadableEntry
from xferengine.xnat.imports import Imports

ONE = CohortShape(sessions=1, series=1, instances=2, instance_bytes=4000)


async def test_a_lost_answer_of_the_only_bundle_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = make_cohort(tmp_path / "in", ONE)
    real, lost = Imports.send_bundle, [True, True]

    async def send(self: Imports, target, body):
        if lost:
            lost.pop()
            raise Ambiguous("no answer, and nothing was stored")
        return await real(self, target, body)

    monkeypatch.setattr(Imports, "send_bundle", send)
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        job = Job(emulator, spec_for(emulator, tmp_path / "in"), settings_for(emulator, tmp_path / "state"))
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert [uid for uids in archived(emulator).values() for uid in uids] == all_uids(cohort)


@pytest.mark.parametrize("state", ["sent", "built", "gated"])
async def test_a_file_that_comes_between_two_runs_is_not_left_out_of_its_session(tmp_path: Path, state: str) -> None:
    cohort = make_cohort(tmp_path / "in", ONE)
    aside = shutil.move(cohort[1].path, tmp_path / "aside")
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        emulator.faults.add("reset-before-body", match="services/archive", times=0)
        job = Job(emulator, spec_for(emulator, tmp_path / "in"), settings_for(emulator, tmp_path / "state"))
        first = await job.run()
        assert first.exit_code == 3
        emulator.faults.clear()

        def interrupted(con: sqlite3.Connection) -> None:
            con.execute("UPDATE study SET state=?, error='', detail='', ordered=0", (state,))

        async with open_manifest(tmp_path / "state" / "jobs" / first.job) as manifest:
            await manifest.write(interrupted)
        shutil.move(aside, cohort[1].path)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert summary.totals.verified == 2
        assert [uid for uids in archived(emulator).values() for uid in uids] == all_uids(cohort)


@pytest.mark.parametrize("state", ["archiving", "archived"])
async def test_a_file_that_comes_while_its_session_is_archived_is_named(tmp_path: Path, state: str) -> None:
    cohort = make_cohort(tmp_path / "in", ONE)
    aside = shutil.move(cohort[1].path, tmp_path / "aside")
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        job = Job(emulator, spec_for(emulator, tmp_path / "in"), settings_for(emulator, tmp_path / "state"))
        first = await job.run()
        async with open_manifest(tmp_path / "state" / "jobs" / first.job) as manifest:
            await manifest.write(lambda con: con.execute("UPDATE study SET state=?", (state,)))
        shutil.move(aside, cohort[1].path)
        summary = await job.run()
        assert summary.exit_code == 3
        assert [(f.ref, f.error) for f in summary.failures] == [(str(cohort[1].path), "Conflict")]
        assert (summary.totals.verified, summary.totals.refused) == (1, 0)


async def test_a_stop_before_the_last_tries_leaves_them_to_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = make_cohort(tmp_path / "in", dataclasses.replace(ONE, instances=6))
    real, stopped = Sender._pump_all, []

    async def pump_all(self: Sender, width: int) -> None:
        if self._trouble.is_single and not stopped:
            stopped.append(True)
            self._engine.stop.request(StopReason(kind=StopKind.SIGNAL, signum=2))
            return
        await real(self, width)

    attempt, named = UnitSender.attempt, []

    async def unreadable_twice(self: UnitSender, unit: UnitRow):
        if len(named) < 2 and len(unit.files) > 1:
            named.append(unit.files[1].entry_name)
            return UnreadableEntry(named[-1], status=400)
        return await attempt(self, unit)

    monkeypatch.setattr(Sender, "_pump_all", pump_all)
    monkeypatch.setattr(UnitSender, "attempt", unreadable_twice)
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        job = Job(emulator, spec_for(emulator, tmp_path / "in"), settings_for(emulator, tmp_path / "state"))
        summary = await job.run()
        assert stopped
        assert (summary.state, summary.exit_code) == ("interrupted", 130), summary
        summary = await job.run(resume_job=summary.job)
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert summary.totals.verified == len(cohort)
