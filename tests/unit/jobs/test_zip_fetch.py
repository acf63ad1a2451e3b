"""One archive on its way into part files: what is handed on, what is doubtful, in bounded memory, and when cut."""

from __future__ import annotations

import asyncio
import io
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest
from unit.jobs.download_bench import DICOM, Answered, Bench, FakeStream, listed, make_zip, open_bench

from xferengine.errors import ArchiveBroken, BadInput, DiskFull, NotFound, ReadInterrupted, SizeMismatch
from xferengine.jobs import zip_fetch
from xferengine.jobs.deliveries import Deliveries
from xferengine.jobs.doubts import DiffersInside
from xferengine.jobs.zip_box import Box, Step
from xferengine.jobs.zip_fetch import ZipFetch, ZipJob, ZipResult
from xferengine.jobs.zip_names import MemberNames
from xferengine.model.events import BytesMoved

PREFIX = "E/scans/1/resources/DICOM/files/"
FILES = {f"{n:03}": b"%d" % n * 5000 for n in range(20)}


async def job_of(bench: Bench, files: Mapping[str, bytes]) -> ZipJob:
    entries = await bench.plan(*(listed(path, data) for path, data in files.items()))
    row = await bench.resource()
    return ZipJob(
        unit=1,
        holder=DICOM,
        everything=False,
        deflated=False,
        files={entry.id: entry for entry in entries},
        names=MemberNames(entries, {row.id: row}),
        hashing=False,
    )


async def fetch(bench: Bench, job: ZipJob) -> ZipResult:
    taker = Deliveries(bench.core, bench.target)
    async with anyio.create_task_group() as tg:
        tg.start_soon(taker.run)
        try:
            return await ZipFetch(bench.core, bench.target, taker, job).run()
        finally:
            taker.close()
    raise AssertionError


def archive(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    return make_zip({f"{PREFIX}{path}": data for path, data in files.items()}, method=method)


def pieces(data: bytes, size: int = 10_000) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def by_path(job: ZipJob, rows: object) -> set[str]:
    return {job.files[row].path for row in rows}  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [7, 10_000, 1 << 20])
async def test_all_that_is_wanted_becomes_final(tmp_path: Path, method: int, size: int) -> None:
    files = dict(list(FILES.items())[:5]) if size < 100 else FILES
    async with open_bench(tmp_path) as bench:
        data = archive({**files, "other": b"x"}, method)
        bench.files.zips = [FakeStream(pieces(data, size))]
        job = await job_of(bench, files)
        result = await fetch(bench, job)
        assert (result.error, result.doubtful, result.unknown, result.unsafe) == (None, {}, 1, 0)
        assert by_path(job, result.delivered) == set(files)
        assert result.wire_bytes == len(data) == sum(e.bytes for e in bench.events if isinstance(e, BytesMoved))
        assert {name.rpartition("/")[2]: content for name, content in bench.finals().items()} == files
        assert bench.target.leftovers() == {}


async def test_a_large_member_goes_through_in_pieces(tmp_path: Path) -> None:
    files = {"big": bytes(range(256)) * 20_000, "small": b"x", "big2": b"z" * 3_000_000}
    async with open_bench(tmp_path) as bench:
        bench.files.zips = [FakeStream(pieces(archive(files), 200_000))]
        result = await fetch(bench, await job_of(bench, files))
        assert result.error is None
        assert {name.rpartition("/")[2]: content for name, content in bench.finals().items()} == files


async def test_bytes_that_are_not_as_listed_are_doubtful_and_stop_nothing(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        sent = {**FILES, "003": b"!" * len(FILES["003"]), "004": b"longer" * 9000, "005": b"short"}
        bench.files.zips = [archive(sent)]
        job = await job_of(bench, FILES)
        result = await fetch(bench, job)
        doubtful = {job.files[row].path: type(error) for row, error in result.doubtful.items()}
        assert set(doubtful) == {"003", "004", "005"}
        assert (doubtful["003"], doubtful["004"]) == (DiffersInside, SizeMismatch)
        assert by_path(job, result.delivered) == set(FILES) - {"003", "004", "005"}
        assert len(bench.finals()) == 17
        assert bench.target.leftovers() == {}


@pytest.mark.parametrize("end", [0.3, 0.7, 0.99])
async def test_a_cut_archive_hands_on_what_was_whole(tmp_path: Path, end: float) -> None:
    async with open_bench(tmp_path) as bench:
        data = archive(FILES)
        bench.files.zips = [FakeStream([*pieces(data[: int(len(data) * end)]), ReadInterrupted("cut")])]
        job = await job_of(bench, FILES)
        result = await fetch(bench, job)
        assert isinstance(result.error, ReadInterrupted)
        assert len(result.delivered) == len(bench.finals()) >= int(20 * end) - 1
        assert bench.target.leftovers() == {}
        assert set((await bench.states()).values()) <= {"verified", "planned"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (NotFound("none"), NotFound),
        (b"<html>no zip</html>", ArchiveBroken),
        (b"", ArchiveBroken),
        (archive(FILES)[:-10], ArchiveBroken),
    ],
)
async def test_what_is_no_whole_archive_is_an_error_in_the_result(tmp_path: Path, answer: Answered, kind: type) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.zips = [answer]
        assert isinstance((await fetch(bench, await job_of(bench, FILES))).error, kind)


async def test_unsafe_members_reach_no_disk_and_are_counted(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.zips = [
            make_zip({"../../evil": b"x", "/etc/x": b"x", f"{PREFIX}../a": b"x", f"{PREFIX}000": FILES["000"]})
        ]
        result = await fetch(bench, await job_of(bench, {"000": FILES["000"]}))
        assert (result.unknown, result.unsafe, len(result.delivered)) == (3, 3, 1)
        assert len(bench.finals()) == 1


async def test_of_a_member_that_comes_twice_the_first_counts(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(f"{PREFIX}a", b"good")
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr(f"{PREFIX}a", b"evil")
    async with open_bench(tmp_path) as bench:
        bench.files.zips = [out.getvalue()]
        result = await fetch(bench, await job_of(bench, {"a": b"good"}))
        assert len(result.delivered) == 1
        assert list(bench.finals().values()) == [b"good"]


@pytest.mark.parametrize("error", [DiskFull("full"), BadInput("no")])
async def test_a_disk_that_refuses_ends_it(tmp_path: Path, error: Exception) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.zips = [archive(FILES)]

        def refuse(*_: object, **__: object) -> None:
            raise error

        bench.target.write_whole = refuse  # type: ignore[method-assign, assignment]
        with pytest.raises(BaseExceptionGroup) as caught:
            await fetch(bench, await job_of(bench, FILES))
        assert caught.group_contains(type(error))


async def test_little_is_held_however_much_a_server_packs_into_a_byte(tmp_path: Path, monkeypatch) -> None:
    """A quarter of a megabyte of deflated zeros made 256 MB in memory at once."""
    most = 0
    pick = Box.pick

    def measure(box: Box) -> object:
        nonlocal most
        most = max(most, box.held_bytes)
        return pick(box)

    monkeypatch.setattr(Box, "pick", measure)
    files = {"zeros": b"\0" * 150_000_000}
    async with open_bench(tmp_path) as bench:
        bench.files.zips = [FakeStream(pieces(archive(files, zipfile.ZIP_DEFLATED), 256 << 10))]
        result = await fetch(bench, await job_of(bench, files))
        assert (result.error, result.doubtful) == (None, {})
        assert most < 24 << 20


async def test_a_cancelled_wait_lets_nobody_write_beside_the_thread_before(tmp_path: Path, monkeypatch) -> None:
    """A second thread on the same part file: its descriptor could be another file's by then."""
    monkeypatch.setattr(zip_fetch, "BLOCK_BYTES", 1)
    busy: list[int] = []
    overlaps = 0
    store = Box.store

    def slow(box: Box, steps: list[Step]) -> object:
        nonlocal overlaps
        mine = [step.receiver.entry.id for step in steps]
        overlaps += bool(set(mine) & set(busy))
        busy.extend(mine)
        if mine:
            loop.call_soon_threadsafe(scope.cancel)
            time.sleep(0.05)
        try:
            return store(box, steps)
        finally:
            del busy[: len(mine)]

    monkeypatch.setattr(Box, "store", slow)
    loop, scope = asyncio.get_running_loop(), anyio.CancelScope()
    files = {"big": b"x" * 4_000_000}
    async with open_bench(tmp_path) as bench:
        job = await job_of(bench, files)
        taker = Deliveries(bench.core, bench.target)
        fetcher = ZipFetch(bench.core, bench.target, taker, job)
        data = archive(files)
        real_store = fetcher._store

        async def store_twice() -> None:
            """As when the next chunk is there already: its wait is the first to hear of the cancellation."""
            await real_store()
            while busy and not scope.cancel_called:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.001)
            await real_store()

        monkeypatch.setattr(fetcher, "_store", store_twice)
        bench.files.zips = [FakeStream(pieces(data, 2_000_000))]
        with scope:
            await fetcher.run()
        assert scope.cancelled_caught
        assert overlaps == 0
        assert bench.target.leftovers() == {}
