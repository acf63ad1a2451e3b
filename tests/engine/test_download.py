"""Downloads against the emulator: everything arrives, what is there is left alone, what differs is replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from download_kit import Job, download_spec, local_path, on_disk, settings_for, wanted_bytes

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.seed import SeededFile, SeedPlace, SeedShape, put_file, seed_project
from xferengine.emulator.server import Emulator, open_emulator
from xferengine.errors import SettingsError
from xferengine.jobs.plan import RunOptions
from xferengine.jobs.runner import run_job

SHAPE = SeedShape(sessions=3, scans=2, files=5, file_bytes=3000)
PLACE = SeedPlace("P", "P_S001", "P_E001", scan="1")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with open_emulator(EmulatorConfig(data_dir=tmp_path / "server", projects=("P", "Q"))) as emulator:
        yield emulator


@pytest.fixture
def seeded(server: Emulator) -> list[SeededFile]:
    return seed_project(server, "P", SHAPE)


def job_for(server: Emulator, tmp_path: Path, *remotes: str, **changes) -> Job:
    return Job(
        server, download_spec(server, tmp_path / "out", *remotes, **changes), settings_for(server, tmp_path / "s")
    )


async def test_a_project_arrives_byte_for_byte(server, tmp_path):
    files = seed_project(server, "P", SeedShape(sessions=20, scans=2, files=4, file_bytes=1500, awkward=True))

    summary = await job_for(server, tmp_path).run()

    assert (summary.state, summary.exit_code) == ("done", 0)
    assert on_disk(tmp_path / "out") == wanted_bytes(files)
    assert summary.totals.verified == summary.totals.files == len(files)
    assert not (tmp_path / "out" / ".xferengine").exists()


@pytest.mark.parametrize(
    ("remote", "taken"),
    [
        (":P/P_S001", lambda f: f.subject == "P_S001"),
        (":P/P_S002/P_E002", lambda f: f.experiment == "P_E002"),
        (":P/P_S002/P_E002/scans/2", lambda f: f.experiment == "P_E002" and f.child_id == "2"),
        (":P/P_S002/P_E002/scans/2/DICOM", lambda f: f.experiment == "P_E002" and f.child_id == "2"),
        (":P/P_S001/P_E001/scans/1/resources/DICOM/files/00002.dcm", lambda f: f.disk_path.name == "00002.dcm"
         and f.experiment == "P_E001" and f.child_id == "1"),
    ],
)  # fmt: skip
async def test_a_part_of_a_project(server, seeded, tmp_path, remote, taken):
    summary = await job_for(server, tmp_path, remote).run()

    assert summary.exit_code == 0
    assert on_disk(tmp_path / "out") == wanted_bytes(f for f in seeded if taken(f))


async def test_accession_ids_work_as_labels_do(server, seeded, tmp_path):
    accession = seeded[0].accession

    await job_for(server, tmp_path, f":P/P_S001/{accession}").run()

    assert on_disk(tmp_path / "out") == wanted_bytes(f for f in seeded if f.accession == accession)


async def test_own_resources_of_project_and_subject(server, seeded, tmp_path):
    own = [
        put_file(server, SeedPlace("P"), "PROTOCOL", "a/b.txt", b"project"),
        put_file(server, SeedPlace("P", "P_S001"), "CONSENT", "c.txt", b"subject"),
    ]

    await job_for(server, tmp_path, ":P/resources/PROTOCOL", ":P/P_S001/resources/CONSENT").run()

    assert on_disk(tmp_path / "out") == wanted_bytes(own)


async def test_several_projects_lie_apart(server, seeded, tmp_path):
    other = seed_project(server, "Q", SeedShape(sessions=1, scans=1, files=1))

    summary = await job_for(server, tmp_path, ":P", ":Q").run()

    expected = {f"{f.project}/{local_path(f)}" for f in (*seeded, *other)}
    assert summary.exit_code == 0
    assert set(on_disk(tmp_path / "out")) == expected


async def test_of_all_projects_a_shared_session_lies_under_its_own(server, seeded, tmp_path):
    other = seed_project(server, "Q", SeedShape(sessions=1, scans=1, files=2))
    record = server.world.experiment(other[0].accession)
    record.shares["P"] = "SHARED"
    server.world.save(record)

    summary = await job_for(server, tmp_path, ":*").run()

    assert summary.exit_code == 0
    assert set(on_disk(tmp_path / "out")) == {f"{f.project}/{local_path(f)}" for f in (*seeded, *other)}


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({"include": ("experiment=*2",)}, lambda f: f.experiment == "P_E002"),
        ({"exclude": ("subject=P_S001",)}, lambda f: f.subject != "P_S001"),
        ({"include": ("scan=2",)}, lambda f: f.child_id == "2"),
        ({"include": ("file=*3.dcm",)}, lambda f: f.path.endswith("3.dcm")),
        ({"exclude": ("resource=DICOM",)}, lambda f: False),
    ],
)
async def test_filters(server, seeded, tmp_path, changes, taken):
    await job_for(server, tmp_path, **changes).run()

    assert on_disk(tmp_path / "out") == wanted_bytes(f for f in seeded if taken(f))


async def test_an_unknown_filter_is_refused_before_anything(server, tmp_path):
    with pytest.raises(SettingsError, match="keys are"):
        await job_for(server, tmp_path, include=("colour=red",)).run()


async def test_the_same_command_again_moves_nothing(server, seeded, tmp_path):
    job = job_for(server, tmp_path)
    await job.run()
    before = server.bytes_out

    summary = await job.run()

    assert summary.exit_code == 0
    assert summary.totals.skipped == len(seeded)
    assert server.bytes_out - before < 100_000  # listings only


async def test_another_job_finds_files_by_their_digest(server, seeded, tmp_path):
    await job_for(server, tmp_path).run()

    summary = await job_for(server, tmp_path, exclude=("experiment=none",)).run()

    assert summary.totals.skipped == len(seeded)


async def test_a_file_that_differs_is_replaced_and_nothing_is_copied(server, seeded, tmp_path):
    job = job_for(server, tmp_path)
    await job.run()
    damaged = tmp_path / "out" / local_path(seeded[0])
    damaged.write_bytes(b"x" * seeded[0].size)
    (tmp_path / "out" / local_path(seeded[1])).unlink()
    (tmp_path / "out" / "mine.txt").write_bytes(b"mine")

    summary = await job.run()

    assert summary.exit_code == 0
    assert on_disk(tmp_path / "out") == {**wanted_bytes(seeded), "mine.txt": b"mine"}
    assert summary.totals.skipped == len(seeded) - 2


async def test_a_dry_run_moves_nothing(server, seeded, tmp_path):
    summary = await job_for(server, tmp_path).run(dry_run=True)

    assert (summary.state, summary.exit_code) == ("planned", 0)
    assert on_disk(tmp_path / "out") == {}


async def test_a_dry_run_that_was_shown_is_no_refusal(server, seeded, tmp_path):
    job = job_for(server, tmp_path)

    async def show(plan) -> bool:
        return False  # nothing is to be done after a dry run, as the terminal's view says

    report = await run_job(job.spec, job.settings, confirm=show, options=RunOptions(dry_run=True))

    assert (report.summary.state, report.summary.exit_code) == ("planned", 0)


async def test_a_site_without_digests(server, tmp_path):
    files = seed_project(server, "P", SeedShape(sessions=1, scans=2, files=4, file_bytes=2000, digests=False))

    summary = await job_for(server, tmp_path).run()

    assert (summary.state, summary.exit_code) == ("done", 0)
    assert on_disk(tmp_path / "out") == wanted_bytes(files)


async def test_read_back_reads_every_file_twice(server, tmp_path):
    files = seed_project(server, "P", SeedShape(sessions=1, scans=1, files=20, file_bytes=5000, digests=False))
    job = job_for(server, tmp_path, verify="read-back")
    before = server.bytes_out

    summary = await job.run()

    assert summary.exit_code == 0
    assert server.bytes_out - before > 2 * 20 * 5000
    assert on_disk(tmp_path / "out") == wanted_bytes(files)
    assert any("20 of 20 files" in getattr(event, "text", "") for event in job.events)


async def test_asking_for_digests(server, tmp_path):
    seed_project(server, "P", SeedShape(sessions=1, scans=1, files=3, digests=False))

    job = job_for(server, tmp_path, ask_refresh=True)
    summary = await job.run()

    assert summary.exit_code == 0
    assert all(item.counts == {"verified": 3} for item in job.report.items if item.files)


async def test_large_files_come_in_ranges(server, tmp_path):
    big = put_file(server, PLACE, "RAW", "big.bin", bytes(range(256)) * 20_000)
    settings = settings_for(server, tmp_path / "s")
    pool = settings.pool
    settings = msgspec.structs.replace(settings, pool=msgspec.structs.replace(pool, ranges_from_bytes=1_000_000))

    summary = await Job(server, download_spec(server, tmp_path / "out"), settings).run()

    assert summary.exit_code == 0
    assert on_disk(tmp_path / "out") == wanted_bytes([big])
