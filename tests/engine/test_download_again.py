"""Downloads that are stopped, run again, asked for what is not there, or meet a server that is broken in one place."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from download_kit import Job, download_spec, local_path, on_disk, settings_for, wanted_bytes

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.seed import SeededFile, SeedPlace, SeedShape, put_file, seed_project
from xferengine.emulator.server import Emulator, open_emulator
from xferengine.jobs import runner
from xferengine.kit.clock import SystemClock
from xferengine.model.events import FilesDone, ItemChanged, ListingProgress, Notice, PlanReady, UnitDone
from xferengine.schedule.stop import StopKind, StopReason
from xferengine.store.names import FolderTraits
from xferengine.store.target import open_target

SHAPE = SeedShape(sessions=3, scans=2, files=4, file_bytes=3000)
PLACE = SeedPlace("P", "P_S001", "P_E001", scan="1")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with open_emulator(EmulatorConfig(data_dir=tmp_path / "server", projects=("P", "Q"))) as emulator:
        yield emulator


@pytest.fixture
def seeded(server: Emulator) -> list[SeededFile]:
    return seed_project(server, "P", SHAPE)


def job_for(server: Emulator, tmp_path: Path, *remotes: str, **changes: Any) -> Job:
    return Job(
        server, download_spec(server, tmp_path / "out", *remotes, **changes), settings_for(server, tmp_path / "s")
    )


@pytest.fixture
def stop_on(monkeypatch: pytest.MonkeyPatch):
    """Make the next run of a job stop, as a signal does, at the first event of a kind."""
    lives: list[Any] = []
    real = runner.Life

    def made(**values: Any) -> Any:
        lives.append(real(**values))
        return lives[-1]

    monkeypatch.setattr(runner, "Life", made)

    def hook(kind: type) -> Any:
        def see(event: object) -> None:
            if isinstance(event, kind):
                lives[-1].stop.request(StopReason(kind=StopKind.SIGNAL, signum=15))

        return see

    return hook


async def test_a_finished_job_that_is_stopped_while_it_lists_again_is_interrupted(server, seeded, tmp_path, stop_on):
    job = job_for(server, tmp_path)
    await job.run()

    summary = await job.run(stop_on(ListingProgress))

    assert (summary.state, summary.exit_code) == ("interrupted", 143)
    again = await job.run()
    assert (again.state, again.exit_code, again.totals.skipped) == ("done", 0, len(seeded))


async def test_what_a_listing_that_was_cut_found_and_is_gone_since_is_no_failure(server, seeded, tmp_path, stop_on):
    extra = put_file(server, PLACE, "DICOM", "late.dcm", b"late")
    job = job_for(server, tmp_path)
    await job.run(stop_on(ListingProgress))
    resource = next(r for r in server.world.resources.values() if "late.dcm" in server.world.entries(r))
    server.world.drop_entries(resource, ["late.dcm"])
    extra.disk_path.unlink(missing_ok=True)

    summary = await job.run()

    assert (summary.state, summary.exit_code) == ("done", 0)
    assert on_disk(tmp_path / "out") == wanted_bytes(seeded)


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        (":P/P_S001/P_E001/scans/99", "P/P_S001/P_E001/scans/99"),
        (":P/P_S001/P_E001/NOPE", "P/P_S001/P_E001/resources/NOPE"),
        (":P/P_S001/P_E001/scans/1/DICOM/files/nope.dcm", "P/P_S001/P_E001/scans/1/resources/DICOM/files/nope.dcm"),
        (":P/resources/NOPE", "P/resources/NOPE"),
        (":P/P_S001/resources/NOPE", "P/P_S001/resources/NOPE"),
    ],
)
async def test_what_was_asked_for_and_is_not_there_is_named(server, seeded, tmp_path, remote, shown):
    summary = await job_for(server, tmp_path, remote, ":P/P_S002").run()

    assert summary.exit_code == 3
    assert [(f.ref, f.error) for f in summary.failures] == [(shown, "NotFound")]
    assert on_disk(tmp_path / "out") == wanted_bytes(f for f in seeded if f.subject == "P_S002")


async def test_a_filter_that_leaves_nothing_is_no_failure(server, seeded, tmp_path):
    summary = await job_for(server, tmp_path, ":P/P_S001/P_E001/scans/1", exclude=("file=*",)).run()

    assert (summary.state, summary.exit_code) == ("done", 0)


async def test_one_project_that_is_broken_is_named_and_the_others_come(server, seeded, tmp_path):
    other = seed_project(server, "Q", SeedShape(sessions=1, scans=1, files=2))
    server.faults.add("early-error", match="projects/P/experiments", times=0, status=500)

    summary = await job_for(server, tmp_path, ":*").run()

    assert summary.exit_code == 3
    assert [f.ref for f in summary.failures] == ["P"]
    assert set(on_disk(tmp_path / "out")) == {f"Q/{local_path(file)}" for file in other}


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_one_experiment_that_cannot_be_listed_stops_no_other(server, seeded, tmp_path, status):
    accession = seeded[0].accession
    server.faults.add("early-error", match=f"experiments/{accession}/files", times=0, status=status)

    summary = await job_for(server, tmp_path).run()

    assert summary.exit_code == 3
    assert [f.ref for f in summary.failures] == [accession]
    assert on_disk(tmp_path / "out") == wanted_bytes(f for f in seeded if f.accession != accession)
    server.faults.clear()
    assert (await job_for(server, tmp_path).run()).exit_code == 0
    assert on_disk(tmp_path / "out") == wanted_bytes(seeded)


async def test_a_page_instead_of_a_listing_is_that_items_failure(server, seeded, tmp_path):
    server.faults.add("html-page", match=f"experiments/{seeded[0].accession}/files", times=0)

    summary = await job_for(server, tmp_path).run()

    assert summary.exit_code == 3
    assert on_disk(tmp_path / "out") == wanted_bytes(f for f in seeded if f.accession != seeded[0].accession)


@pytest.mark.parametrize("status", [500, 403])
async def test_digests_that_cannot_be_had_are_no_reason_to_fail(server, tmp_path, status):
    files = seed_project(server, "P", SeedShape(sessions=1, scans=1, files=3, digests=False))
    server.faults.add("early-error", match="refresh/catalog", times=0, status=status)
    job = job_for(server, tmp_path, ask_refresh=True)

    summary = await job.run()

    assert (summary.state, summary.exit_code) == ("done", 0)
    assert on_disk(tmp_path / "out") == wanted_bytes(files)
    assert any(isinstance(e, Notice) and "digests" in e.text for e in job.events)


async def test_read_back_goes_on_with_what_an_earlier_run_brought(server, tmp_path):
    seed_project(server, "P", SeedShape(sessions=1, scans=1, files=6, digests=False))
    await job_for(server, tmp_path).run()
    job = job_for(server, tmp_path, verify="read-back")

    summary = await job.run()

    assert summary.exit_code == 0
    assert any(isinstance(e, Notice) and "6 of 6 files" in e.text for e in job.events)


async def test_sizes_that_no_disk_has_are_no_bug(server, seeded, tmp_path):
    for n in range(12):
        put_file(server, PLACE, "DICOM", f"huge{n}.dcm", b"x", size=10**18 - 1)

    summary = await job_for(server, tmp_path).run()

    assert summary.exit_code == 11  # that much is not free
    assert on_disk(tmp_path / "out") == {}


async def test_a_locked_folder_is_said_whatever_failed_before(server, seeded, tmp_path):
    seeded[0].disk_path.unlink()
    job = job_for(server, tmp_path)
    assert (await job.run()).exit_code == 3

    with open_target(tmp_path / "out", "other"):
        summary = await job.run()

    assert summary.exit_code == 6


async def test_what_part_files_hold_needs_no_room_again(server, tmp_path, monkeypatch):
    big = put_file(server, PLACE, "RAW", "big.bin", bytes(range(256)) * 20_000)
    settings = settings_for(server, tmp_path / "s")
    pool = msgspec.structs.replace(settings.pool, max_bytes=400_000, grace_s=0.01, ranges_from_bytes=1_000_000)
    server.faults.add("stall-sending", match=r"\.bin", times=0, after_bytes=500_000, delay_s=0.3)
    job = Job(server, download_spec(server, tmp_path / "out"), msgspec.structs.replace(settings, pool=pool))
    assert (await job.run()).exit_code == 10
    server.faults.clear()
    (part,) = [path for path in (tmp_path / "out").rglob("*") if path.name.isdigit()]
    room = big.size - part.stat().st_size
    assert 0 < part.stat().st_size < big.size
    monkeypatch.setattr("xferengine.store.target.Target.free_bytes", lambda self: room)
    job.settings = settings

    assert (await job.run()).exit_code == 0
    assert on_disk(tmp_path / "out") == wanted_bytes([big])


async def test_files_are_counted_once(server, seeded, tmp_path):
    job = job_for(server, tmp_path)
    await job.run()
    plan = next(e for e in job.events if isinstance(e, PlanReady))
    counted = [e for e in job.events if isinstance(e, FilesDone | UnitDone)]
    assert sum(e.files for e in counted) == plan.files == len(seeded)
    assert sum(e.bytes for e in counted) == plan.bytes
    ended = [e.item for e in job.events if isinstance(e, ItemChanged) and e.state == "done"]
    assert {f.accession for f in seeded} <= set(ended)


async def test_the_hour_is_watched_while_a_server_is_listed(server, seeded, tmp_path, monkeypatch):
    """A listing that took longer than ``--until`` made it mean tomorrow."""

    class Night(SystemClock):
        at = datetime(2024, 5, 1, 5, 50, tzinfo=UTC)

        def now(self) -> datetime:
            Night.at += timedelta(minutes=6)
            return Night.at

        async def sleep(self, seconds: float) -> None:
            await super().sleep(min(seconds, 0.001))

    monkeypatch.setattr(runner, "SystemClock", Night)
    server.faults.add("gateway-timeout", match="/files", times=0, delay_s=0.05)
    settings = settings_for(server, tmp_path / "s")
    local = Night.at.astimezone() + timedelta(minutes=10)
    until = f"{local.hour:02}:{local.minute:02}"
    settings = msgspec.structs.replace(settings, pool=msgspec.structs.replace(settings.pool, until=until))

    summary = await Job(server, download_spec(server, tmp_path / "out"), settings).run()

    assert (summary.state, summary.exit_code) == ("interrupted", 10)


async def test_a_report_of_a_download_is_private_and_complete(server, seeded, tmp_path):
    seeded[0].disk_path.unlink()
    job = job_for(server, tmp_path)
    summary = await job.run()
    folder = Path(summary.report).parent
    assert [p.name for p in folder.iterdir() if p.stat().st_mode & 0o077] == []
    document = json.loads((folder / "report.json").read_text())
    assert document["files"] == [
        {
            "item": "P/P_S001/P_E001",
            "path": local_path(seeded[0]),
            "state": "failed",
            "error": "NotFound",
            "detail": "the server lists this file and does not have it",
        }
    ]


async def test_two_sessions_that_a_disk_takes_for_one_are_not_mixed(server, tmp_path, monkeypatch):
    """Each had its own list of names: on such a disk the second replaced the files of the first."""
    traits = FolderTraits(ignores_case=True)
    monkeypatch.setattr("xferengine.store.target.probe_traits", lambda disk, folder: traits)
    put_file(server, SeedPlace("P", "P_S001", "scan_a", scan="1"), "DICOM", "x.dcm", b"one")
    put_file(server, SeedPlace("P", "P_S002", "SCAN_A", scan="1"), "DICOM", "x.dcm", b"two")

    summary = await job_for(server, tmp_path).run()

    assert summary.exit_code == 3
    assert [f.error for f in summary.failures] == ["NameClash"]
    assert len(on_disk(tmp_path / "out")) == 1


async def test_a_scan_that_is_deleted_between_listing_and_zip_fails_alone(server, seeded, tmp_path):
    job = job_for(server, tmp_path)
    gone = [f for f in seeded if f.experiment == "P_E001" and f.child_id == "1"]

    def drop(event: object) -> None:
        if isinstance(event, PlanReady):
            for file in gone:
                file.disk_path.unlink()

    summary = await job.run(drop)

    assert summary.exit_code == 3
    assert {f.error for f in summary.failures} == {"NotFound"}
    assert len(summary.failures) == len(gone)
    assert on_disk(tmp_path / "out") == wanted_bytes(f for f in seeded if f not in gone)


async def test_remotes_that_overlap_bring_every_file_once(server, seeded, tmp_path):
    remotes = (":P/P_S001", ":P/P_S001/P_E001", ":P/P_S001/P_E001/scans/1", ":P", ":P/P_S002/P_E002/scans/2/DICOM")
    job = job_for(server, tmp_path, *remotes)

    summary = await job.run()

    assert (summary.exit_code, summary.totals.files) == (0, len(seeded))
    assert on_disk(tmp_path / "out") == wanted_bytes(seeded)


async def test_an_experiment_that_is_gone_in_the_next_run_leaves_its_files_and_no_failure(server, seeded, tmp_path):
    job = job_for(server, tmp_path)
    await job.run()
    server.faults.add("early-error", match=f"{seeded[0].accession}/", times=0, status=404)
    assert (await job.run()).exit_code == 3  # listed in the table, and not there
    server.faults.clear()
    job.spec = msgspec.structs.replace(job.spec, exclude=("experiment=P_E001",))

    summary = await job.run()

    assert summary.exit_code == 0
    assert summary.totals.skipped == len([f for f in seeded if f.experiment != "P_E001"])
    assert on_disk(tmp_path / "out") == wanted_bytes(seeded)


async def test_a_run_that_is_stopped_before_it_reads_back_is_interrupted_and_goes_on(server, tmp_path, stop_on):
    seed_project(server, "P", SeedShape(sessions=1, scans=1, files=6, digests=False))
    job = job_for(server, tmp_path, verify="read-back")

    summary = await job.run(stop_on(FilesDone))

    assert (summary.state, summary.exit_code) == ("interrupted", 143)
    again = await job.run()
    assert (again.state, again.exit_code) == ("done", 0)
    assert any(isinstance(e, Notice) and "6 of 6 files" in e.text for e in job.events)
