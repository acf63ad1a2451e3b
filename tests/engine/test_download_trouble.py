"""Downloads in trouble: whatever the server or the way does, what lies in the folder in the end is right or named."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from download_kit import Job, download_spec, local_path, on_disk, settings_for, wanted_bytes

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.seed import SeededFile, SeedPlace, SeedShape, put_file, seed_project
from xferengine.emulator.server import Emulator, open_emulator
from xferengine.jobs import download_move
from xferengine.schedule.grouping import Scope, UnitPlan, Wave
from xferengine.schedule.routes import Route
from xferengine.settings.slices import TimeoutConfig

SHAPE = SeedShape(sessions=2, scans=2, files=6, file_bytes=30_000)
PLACE = SeedPlace("P", "P_S001", "P_E001", scan="1")
QUICK = TimeoutConfig(receive_stall_s=0.3, think_listing_s=0.5, think_commit_s=0.5)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with open_emulator(EmulatorConfig(data_dir=tmp_path / "server", projects=("P", "Q"))) as emulator:
        yield emulator


@pytest.fixture
def seeded(server: Emulator) -> list[SeededFile]:
    return seed_project(server, "P", SHAPE)


def job_for(server: Emulator, tmp_path: Path, *remotes: str, **changes: Any) -> Job:
    settings = msgspec.structs.replace(settings_for(server, tmp_path / "s"), timeouts=QUICK)
    return Job(server, download_spec(server, tmp_path / "out", *remotes, **changes), settings)


@pytest.fixture
def singly(monkeypatch: pytest.MonkeyPatch) -> None:
    """All files by single requests."""

    def plan(needs, model, *, most):
        units = [
            UnitPlan(
                route=Route.GET, scope=Scope.RESOURCE, keys=(need.key,), files=need.wanted_files,
                bytes=need.wanted_bytes, predicted_s=0.0, why="test",
            )
            for need in needs
            if need.wanted_files
        ]  # fmt: skip
        return Wave(units=units, rest=[])

    monkeypatch.setattr(download_move, "plan_wave", plan)


def in_ranges(job: Job) -> Job:
    pool = msgspec.structs.replace(job.settings.pool, ranges_from_bytes=1000)
    job.settings = msgspec.structs.replace(job.settings, pool=pool)
    return job


TIMES = {"drop-login": 2}
"""A request that is asked for a login again right after one for the third time is refused."""
BROKEN = [
    ("reset-in-answer", {"after_bytes": 20_000}),
    ("cut-answer", {"after_bytes": 7}),
    ("cut-answer", {"after_bytes": 100_000}),
    ("end-answer", {"after_bytes": 50_000}),
    ("flip-byte", {"after_bytes": 10_000}),
    ("stall-sending", {"after_bytes": 10_000, "delay_s": 5.0}),
    ("html-page", {}),
    ("login-page", {}),
    ("drop-login", {}),
    ("unavailable", {"retry_after_s": 0.01}),
    ("bad-gateway", {}),
    ("early-error", {"status": 500}),
    ("reset-before-body", {}),
]


@pytest.mark.parametrize(("kind", "options"), BROKEN, ids=lambda value: str(value))
async def test_broken_archives_are_mended(server, seeded, tmp_path, kind, options):
    server.faults.add(kind, match="format=zip", times=TIMES.get(kind, 3), **options)

    summary = await job_for(server, tmp_path).run()

    assert (summary.state, summary.exit_code) == ("done", 0)
    assert on_disk(tmp_path / "out") == wanted_bytes(seeded)


@pytest.mark.parametrize(("kind", "options"), BROKEN, ids=lambda value: str(value))
async def test_broken_single_files_are_mended(server, seeded, singly, tmp_path, kind, options):
    server.faults.add(
        kind, match=r"\.dcm", times=3, **{**options, "after_bytes": options.get("after_bytes", 0) % 30_000}
    )

    summary = await job_for(server, tmp_path).run()

    assert (summary.state, summary.exit_code) == ("done", 0)
    assert on_disk(tmp_path / "out") == wanted_bytes(seeded)


@pytest.mark.parametrize(
    ("kind", "options"),
    [*BROKEN, ("ignore-range", {}), ("strip-range", {}), ("shift-range", {})],
    ids=lambda value: str(value),
)
async def test_broken_ranges_are_mended(server, tmp_path, singly, kind, options):
    big = [put_file(server, PLACE, "RAW", f"{n}.bin", bytes(range(256)) * 12_000 + b"%d" % n) for n in range(2)]
    server.faults.add(kind, match=r"\.bin", times=TIMES.get(kind, 3), **options)

    summary = await in_ranges(job_for(server, tmp_path)).run()

    assert (summary.state, summary.exit_code) == ("done", 0)
    assert on_disk(tmp_path / "out") == wanted_bytes(big)


@pytest.mark.parametrize("status", [500, 504])
async def test_a_server_that_makes_no_archives_is_asked_for_files(server, seeded, tmp_path, status):
    server.faults.add("early-error", match="format=zip", times=0, status=status)
    job = job_for(server, tmp_path)

    summary = await job.run()

    assert (summary.state, summary.exit_code) == ("done", 0)
    assert on_disk(tmp_path / "out") == wanted_bytes(seeded)
    assert not [event for event in job.events if type(event).__name__ == "Paused"]


@pytest.mark.parametrize("catalog_of_copy", [False, True])
@pytest.mark.parametrize("size", [5_000, 3_000_000])
async def test_a_file_the_server_has_only_compressed(server, singly, tmp_path, size, catalog_of_copy):
    """The catalog may speak of the file, then that is stored, or of the copy, then that is."""
    data = bytes(range(256)) * (size // 256)
    packed = gzip.compress(data)
    if catalog_of_copy:
        digest, listed = hashlib.md5(packed).hexdigest(), len(packed)
        file = put_file(server, PLACE, "NIFTI", "vol.nii", data, digest=digest, size=listed)
    else:
        file = put_file(server, PLACE, "NIFTI", "vol.nii", data)
    file.disk_path.with_name("vol.nii.gz").write_bytes(packed)
    file.disk_path.unlink()

    summary = await job_for(server, tmp_path).run()

    assert (summary.state, summary.exit_code) == ("done", 0)
    assert on_disk(tmp_path / "out") == {local_path(file): packed if catalog_of_copy else data}


async def test_no_part_files_are_left_of_files_that_failed(server, seeded, tmp_path):
    put_file(server, PLACE, "RAW", "gone.bin", bytes(3_000_000), on_disk=False)
    server.faults.add("cut-answer", match=r"RAW|resources/\d+/files/.*bin", times=0, after_bytes=5)

    summary = await job_for(server, tmp_path).run()

    assert summary.exit_code == 3
    assert not (tmp_path / "out" / ".xferengine").exists()


@pytest.mark.parametrize("big", [False, True])
async def test_a_byte_limit_cuts_and_the_next_run_goes_on(server, tmp_path, big):
    if big:
        files = [put_file(server, PLACE, "RAW", "big.bin", bytes(range(256)) * 60_000)]
    else:
        files = seed_project(server, "P", SeedShape(sessions=1, scans=1, files=60, file_bytes=200_000))
    job = in_ranges(job_for(server, tmp_path)) if big else job_for(server, tmp_path)
    pool = msgspec.structs.replace(job.settings.pool, max_bytes=4_000_000, ranges_from_bytes=1_000_000)
    job.settings = msgspec.structs.replace(job.settings, pool=pool)

    summaries = [await job.run() for _ in range(8)]

    first = summaries[0]
    assert (first.state, first.exit_code) == ("interrupted", 10)
    assert summaries[-1].exit_code == 0
    assert on_disk(tmp_path / "out") == wanted_bytes(files)
    assert server.bytes_out < 3 * sum(file.size for file in files)


async def test_a_listing_that_was_cut_in_good_order_is_asked_for_again(server, seeded, tmp_path):
    server.faults.add("end-answer", match="all=true.*json", times=2, after_bytes=300)
    server.faults.add("cut-answer", match="subjects.*json", times=1, after_bytes=20)

    summary = await job_for(server, tmp_path).run()

    assert (summary.state, summary.exit_code) == ("done", 0)
    assert on_disk(tmp_path / "out") == wanted_bytes(seeded)


async def test_a_slow_archive_is_helped_from_its_end(server, tmp_path):
    files = seed_project(server, "P", SeedShape(sessions=1, scans=1, files=60, file_bytes=50_000))
    server.faults.add("stall-sending", match="files.*format=zip", times=1, after_bytes=400_000, delay_s=30.0)
    job = Job(server, download_spec(server, tmp_path / "out"), settings_for(server, tmp_path / "s"))

    with anyio.fail_after(20):
        summary = await job.run()

    assert (summary.state, summary.exit_code) == ("done", 0)
    assert on_disk(tmp_path / "out") == wanted_bytes(files)
    assert len(server.requests.matching(r"\.dcm$|\.dcm\?$")) > 40


HOSTILE = [
    ("member-renamed", {"label": "../../{name}"}),
    ("member-renamed", {"label": "/etc/{name}"}),
    ("member-renamed", {"label": "C:\\{name}"}),
    ("member-extra", {"label": "../../../evil"}),
    ("member-extra", {"label": "P_E001/scans/1-T1/resources/DICOM/files/extra.dcm"}),
    ("member-link", {"label": "/etc/passwd"}),
    ("member-missing", {}),
    ("member-twice", {}),
    ("member-crc", {}),
    ("member-longer", {"limit_bytes": 1000}),
]


@pytest.mark.parametrize(("kind", "options"), HOSTILE, ids=lambda value: str(value))
async def test_hostile_members_write_nothing_outside(server, seeded, tmp_path, kind, options):
    server.faults.add(kind, match="00003", times=0, **options)

    summary = await job_for(server, tmp_path).run()

    assert summary.exit_code == 0
    assert on_disk(tmp_path / "out") == wanted_bytes(seeded)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "s", "server"]


async def test_a_listed_file_that_is_gone_is_named(server, seeded, tmp_path):
    seeded[3].disk_path.unlink()

    summary = await job_for(server, tmp_path).run()

    assert summary.exit_code == 3
    assert [(f.ref, f.error) for f in summary.failures] == [(local_path(seeded[3]), "NotFound")]
    assert on_disk(tmp_path / "out") == wanted_bytes([*seeded[:3], *seeded[4:]])


@pytest.mark.parametrize("stale_ok", [False, True])
async def test_a_wrong_digest_in_the_catalog_is_a_stale_catalog(server, seeded, tmp_path, stale_ok):
    stale = put_file(server, PLACE, "DICOM", "stale.dcm", b"new content", digest="0" * 32)
    job = job_for(server, tmp_path, stale_ok=stale_ok)

    summary = await job.run()

    assert summary.exit_code == (0 if stale_ok else 3)
    assert on_disk(tmp_path / "out") == wanted_bytes([*seeded, stale])
    assert summary.totals.stale == 1
    if not stale_ok:
        assert [f.error for f in summary.failures] == ["CatalogStale"]


async def test_a_stale_file_is_not_fetched_again_while_it_stands(server, seeded, tmp_path):
    stale = put_file(server, PLACE, "DICOM", "stale.dcm", b"new content" * 3000, digest="0" * 32)
    job = job_for(server, tmp_path)
    await job.run()
    before = server.bytes_out

    summary = await job.run()
    assert summary.exit_code == 3
    assert server.bytes_out - before < 30_000

    stale.disk_path.write_bytes(b"newer content")

    os.utime(stale.disk_path, (2_000_000_000, 2_000_000_000))
    await job.run()
    assert (tmp_path / "out" / local_path(stale)).read_bytes() == b"newer content"


async def test_a_byte_flipped_on_the_servers_disk_is_seen(server, seeded, tmp_path):
    path = seeded[0].disk_path
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)

    summary = await job_for(server, tmp_path).run()

    assert summary.exit_code == 3  # both reads agree: by all that can be told the catalog is out of date
    assert [f.error for f in summary.failures] == ["CatalogStale"]


async def test_a_file_that_is_something_else_each_time_is_an_integrity_failure(server, seeded, tmp_path):
    stale = put_file(server, PLACE, "DICOM", "odd.dcm", b"content" * 1000, digest="0" * 32)
    server.faults.add("flip-byte", match=r"odd\.dcm($|\?(?!format))", times=0, after_bytes=50)

    summary = await job_for(server, tmp_path).run()

    assert summary.exit_code == 9
    assert [(f.ref, f.error) for f in summary.failures] == [(local_path(stale), "DigestMismatch")]
    assert on_disk(tmp_path / "out") == wanted_bytes(seeded)


async def test_a_name_that_no_folder_can_hold_is_named_and_the_rest_comes(server, seeded, tmp_path):
    put_file(server, PLACE, "DICOM", "../../evil.dcm", b"x", on_disk=False)
    put_file(server, PLACE, "DICOM", "a\\b.dcm", b"x", on_disk=False)
    put_file(server, PLACE, "DICOM", "00001.dcm/inside", b"x", on_disk=False)

    summary = await job_for(server, tmp_path).run()

    assert summary.exit_code == 3
    assert sorted(f.error for f in summary.failures) == ["NameClash", "UnsafePath", "UnsafePath"]
    assert on_disk(tmp_path / "out") == wanted_bytes(seeded)


async def test_an_unknown_experiment_is_not_its_parent(server, seeded, tmp_path):
    job = job_for(server, tmp_path, ":P/P_S001/NOPE")

    summary = await job.run()

    assert summary.exit_code == 7
    assert on_disk(tmp_path / "out") == {}


async def test_one_unknown_of_several_is_named(server, seeded, tmp_path):
    summary = await job_for(server, tmp_path, ":P/P_S001/NOPE", ":P/P_S002").run()

    assert summary.exit_code == 3
    assert [f.error for f in summary.failures] == ["NotFound"]
    assert on_disk(tmp_path / "out") == wanted_bytes(f for f in seeded if f.subject == "P_S002")


async def test_a_redirect_to_another_host_is_not_followed(server, seeded, tmp_path):
    server.faults.add("redirect", match="format=zip", times=0, location="http://127.0.0.1:9/x")
    server.faults.add("redirect", match=r"\.dcm", times=0, location="http://127.0.0.1:9/x")

    summary = await job_for(server, tmp_path).run()

    assert summary.exit_code in {3, 7}
    assert on_disk(tmp_path / "out") == {}


async def test_a_folder_in_the_place_of_a_file_is_named(server, seeded, tmp_path):
    (tmp_path / "out" / local_path(seeded[0])).mkdir(parents=True)

    summary = await job_for(server, tmp_path).run()

    assert summary.exit_code == 3
    assert [f.ref for f in summary.failures] == [local_path(seeded[0])]


async def test_a_link_that_leaves_the_folder_is_not_written_through(server, seeded, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "P_E001").symlink_to(outside)

    summary = await job_for(server, tmp_path).run()

    assert summary.exit_code == 3
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("ranged", [False, True])
async def test_a_file_that_changes_while_it_is_read(server, singly, tmp_path, ranged):
    """Its catalog is not touched: two reads of the new bytes agree, and no mixture of both is ever kept."""
    big = put_file(server, PLACE, "RAW", "big.bin", bytes(range(256)) * 20_000)
    server.faults.add("file-changes", match="big", times=1, after_bytes=2_000_000)
    job = job_for(server, tmp_path)

    summary = await (in_ranges(job) if ranged else job).run()

    there = on_disk(tmp_path / "out")
    assert summary.exit_code in {3, 9}
    assert there.get(local_path(big), big.disk_path.read_bytes()) == big.disk_path.read_bytes()
    assert (summary.exit_code == 3) == bool(there)


async def test_a_file_where_a_folder_is_needed_is_said_before_the_first_byte(server, seeded, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "P_E001").write_bytes(b"mine")
    before = server.bytes_out

    summary = await job_for(server, tmp_path, ":P/P_S001").run()

    assert summary.exit_code == 3
    assert {f.error for f in summary.failures} == {"BadInput"}
    assert server.bytes_out - before < 30_000
    assert on_disk(tmp_path / "out") == {"P_E001": b"mine"}


async def test_a_bad_line_brings_everything(server, tmp_path, singly):
    files = seed_project(server, "P", SeedShape(sessions=2, scans=2, files=200, file_bytes=500))
    server.faults.add("cut-answer", match=r"\.dcm", times=0, rate=0.2, after_bytes=10)
    server.faults.add("unavailable", match=r"\.dcm", times=0, rate=0.05, retry_after_s=0.0)
    job = job_for(server, tmp_path)
    retry = msgspec.structs.replace(job.settings.retry, budget=100, attempts=12)
    job.settings = msgspec.structs.replace(job.settings, retry=retry)

    summary = await job.run()

    assert (summary.state, summary.exit_code) == ("done", 0), summary.failures[:3]
    assert on_disk(tmp_path / "out") == wanted_bytes(files)


@pytest.mark.parametrize("remote", [":P/P_S001/P_E001/scans/77", ":P/P_S001/P_E001/scans/1/NOPE"])
async def test_nothing_of_what_was_named_is_there(server, seeded, tmp_path, remote):
    summary = await job_for(server, tmp_path, remote).run()

    assert (summary.state, summary.exit_code) == ("failed", 7)
    assert [f.error for f in summary.failures] == ["NotFound"]
