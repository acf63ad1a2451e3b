"""Site scripts and filters: what the server refuses is counted, what it rewrites or renames is still verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from engine_kit import SMALL_POOL
from trouble_kit import job_for, of_study, open_site, stored, tiny_cohort, uids_of

from xferengine.emulator.dicom import read_header
from xferengine.emulator.scripts import Script
from xferengine.emulator.server import Emulator
from xferengine.model.events import Notice
from xferengine.settings.slices import PoolConfig


@pytest.mark.parametrize("allow", [False, True])
async def test_instances_that_a_filter_drops_are_counted_and_named(tmp_path: Path, allow: bool) -> None:
    cohort = tiny_cohort(tmp_path / "in", series=2)
    dropped = tuple(file for file in cohort if file.series_number == 2)
    async with open_site(script=Script(reject_series="2")) as emulator:
        job = job_for(emulator, tmp_path, allow_refused=allow)
        summary = await job.run()
        assert summary.exit_code == (0 if allow else 3), summary
        assert summary.state == ("done" if allow else "incomplete")
        assert (summary.totals.refused, summary.totals.verified) == (len(dropped), len(cohort) - len(dropped))
        named = {line.ref for line in summary.failures if line.error == "RefusedByServer"}
        assert named == {str(file.path) for file in dropped}
        assert stored(emulator) == uids_of(cohort, without=dropped)
        again = await job.run()
        assert (again.exit_code, again.totals.refused) == (summary.exit_code, len(dropped))
        assert stored(emulator) == uids_of(cohort, without=dropped)


async def test_a_study_of_which_the_server_keeps_nothing_is_named_and_the_rest_arrives(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    gone = [file for file in cohort if file.modality == "MR"]
    async with open_site(script=Script(reject_modality="MR")) as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("incomplete", 3)
        assert summary.totals.refused == len(gone)
        assert any(line.ref == gone[0].study_uid for line in summary.failures)
        assert stored(emulator) == uids_of(cohort, without=tuple(gone))
        assert not emulator.world.rows


async def test_one_instance_of_a_series_that_is_dropped_each_time(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in", instances=8)
    script = Script(reject_every=3)
    dropped = tuple(f for f in cohort if script.rejects(read_header(f.path.read_bytes(), complete=True)))
    assert 0 < len(dropped) < len(cohort)
    async with open_site(script=script) as emulator:
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.exit_code, summary.totals.refused) == (3, len(dropped))
        assert stored(emulator) == uids_of(cohort, without=dropped)


@pytest.mark.parametrize("bundles", [1, 100])
async def test_rewritten_headers_are_verified_by_uid(tmp_path: Path, bundles: int) -> None:
    cohort = tiny_cohort(tmp_path / "in", series=2)
    async with open_site(script=Script(rewrite=True)) as emulator:
        job = job_for(emulator, tmp_path, settings={"pool": _bundles_of(bundles)})
        summary = await job.run()
        assert (summary.state, summary.exit_code, summary.totals.verified) == ("done", 0, len(cohort)), summary
        assert {line.verified_by for line in job.report.studies} == {"uid"}
        assert summary.totals.bytes_resent == 0
        assert any(isinstance(e, Notice) and "rewrites headers" in e.text for e in job.events)
        assert stored(emulator) == uids_of(cohort)


def _bundles_of(files: int) -> PoolConfig:
    return msgspec.structs.replace(SMALL_POOL, bundle_bytes=1_000_000, bundle_files_max=files)


@pytest.mark.parametrize("when", ["import", "archive"])
async def test_remapped_uids_are_verified_by_name_and_it_is_said(tmp_path: Path, when: Any) -> None:
    cohort = tiny_cohort(tmp_path / "in", series=2)
    async with open_site(script=Script(remap_uids=when)) as emulator:
        job = job_for(emulator, tmp_path)
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert summary.totals.verified == len(cohort)
        assert {line.verified_by for line in job.report.studies} == {"name"}
        for study in {file.study_uid for file in cohort}:
            notices = [e.text for e in job.events if isinstance(e, Notice) and study in e.text]
            assert any("UIDs; verified by entry name" in text for text in notices)
        assert len(stored(emulator)) == len(set(stored(emulator))) == len(cohort)


async def test_an_instance_lost_in_archiving_is_named(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    lost = of_study(cohort, 0)[1]
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)

        def lose(event: object) -> None:
            if getattr(event, "state", "") == "archived" and getattr(event, "study", "") == lost.study_uid:
                _forget(emulator, lost.sop_uid)

        summary = await job.run(lose)
        assert (summary.state, summary.exit_code) == ("incomplete", 3), summary
        assert any(str(lost.path) == line.ref for line in summary.failures)
        assert summary.totals.verified == len(cohort) - 1


def _forget(emulator: Emulator, uid: str) -> None:
    """A project script removes an instance while the session is archived."""
    world = emulator.world
    for resource in list(world.resources.values()):
        names = [entry.uri for entry in world.entries(resource).values() if entry.uid == uid]
        if names:
            world.drop_entries(resource, names)
