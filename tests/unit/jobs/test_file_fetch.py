"""One file until it is certain: which reads are made, and what is said in the end."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path

import anyio
import msgspec
import pytest
from unit.jobs.download_bench import LOCAL, Bench, FakeStream, listed, make_zip, md5, open_bench

from xferengine.errors import AccessDenied, ArchiveBroken, LoginRefused, NotFound, ReadInterrupted, XferError
from xferengine.jobs.deliveries import Deliveries
from xferengine.jobs.doubts import DiffersInside
from xferengine.jobs.file_fetch import FileFetch
from xferengine.jobs.file_read import FileReader
from xferengine.manifest.transfers import EntryRow
from xferengine.model.events import AttemptFailed
from xferengine.model.items import RemoteFile

GOOD, BAD, WORSE = b"good bytes", b"BAD! bytes", b"other!bytes"[:10]


async def fetch(
    bench: Bench, entries: Sequence[EntryRow], *, hashing: bool = False, doubt: XferError | None = None
) -> list[XferError | None]:
    """Fetch files one after the other, all made final; what came of each."""
    taker = Deliveries(bench.core, bench.target)
    fetcher = FileFetch(
        bench.core, bench.target, taker, FileReader(bench.core, bench.target, bench.core.routes), hashing=hashing
    )
    resource, found = await bench.resource(), []
    async with anyio.create_task_group() as tg:
        tg.start_soon(taker.run)
        try:
            found.extend([await fetcher.fetch(1, resource, entry, doubt=doubt) for entry in entries])
        finally:
            taker.close()
    return found


async def fetch_one(bench: Bench, file: RemoteFile) -> XferError | None:
    (error,) = await fetch(bench, await bench.plan(file))
    return error


async def test_a_file_that_is_as_listed_takes_one_request(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.single["a"] = [GOOD]
        assert await fetch_one(bench, listed("a", GOOD)) is None
        assert bench.files.asked == ["GET a"]
        assert bench.finals() == {f"{LOCAL}/a": GOOD}
        assert (await bench.rows())["a"].means == "digest"


@pytest.mark.parametrize(("size", "means"), [(None, "size"), (-1, "none")])
async def test_without_a_digest_it_is_said_what_was_compared(tmp_path: Path, size: int | None, means: str) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.single["a"] = [GOOD]
        assert await fetch_one(bench, listed("a", GOOD, digest="", size=size)) is None
        row = (await bench.rows())["a"]
        assert (row.means, row.real_digest) == (means, "")


async def test_a_broken_read_is_repeated_and_told(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.single["a"] = [FakeStream([b"go", ReadInterrupted("cut")], length=10), ReadInterrupted("x"), GOOD]
        assert await fetch_one(bench, listed("a", GOOD)) is None
        told = [event for event in bench.events if isinstance(event, AttemptFailed)]
        assert [(event.study, event.attempt, event.error) for event in told] == [
            ("E1", 1, "ReadInterrupted"),
            ("E1", 2, "ReadInterrupted"),
        ]
        assert bench.finals() == {f"{LOCAL}/a": GOOD}


async def test_attempts_end_some_time_and_leave_nothing(tmp_path: Path) -> None:
    async with open_bench(tmp_path, attempts=3) as bench:
        bench.files.single["a"] = [ReadInterrupted("x")]
        error = await fetch_one(bench, listed("a", GOOD))
        assert isinstance(error, ReadInterrupted)
        assert bench.files.asked == ["GET a"] * 3
        assert (bench.finals(), bench.target.leftovers()) == ({}, {})


async def test_a_listed_file_that_is_gone_is_asked_for_once(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        error = await fetch_one(bench, listed("a", GOOD))
        assert isinstance(error, NotFound)
        assert "lists this file" in error.message
        assert bench.files.asked == ["GET a"]


async def test_what_is_refused_is_not_repeated(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.single["a"] = [AccessDenied("no")]
        assert isinstance(await fetch_one(bench, listed("a", GOOD)), AccessDenied)
        assert bench.files.asked == ["GET a"]


async def test_what_ends_the_job_is_raised(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.single["a"] = [LoginRefused("no")]
        entries = await bench.plan(listed("a", GOOD))
        with pytest.raises(BaseExceptionGroup) as caught:
            await fetch(bench, entries)
        assert caught.group_contains(LoginRefused)


async def test_two_reads_that_agree_against_the_catalog_are_kept_as_stale(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.single["a"] = [FakeStream([BAD], length=10, headers={"last-modified": "Mon"})]
        bench.files.own_zips["a"] = [make_zip({"a": BAD})]
        assert await fetch_one(bench, listed("a", GOOD)) is None
        assert [asked for asked in bench.files.asked if asked != "LIST"] == ["GET a", "ZIP a"]
        row = (await bench.rows())["a"]
        assert (row.state, row.means, row.real_digest) == ("stale", "two reads", md5(BAD))
        assert (row.digest, row.size, row.last_modified) == (md5(GOOD), 10, "Mon")
        assert row.note.startswith("CatalogStale: ")
        assert bench.finals() == {f"{LOCAL}/a": BAD}


async def test_two_reads_that_differ_are_an_integrity_failure_and_leave_nothing(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.single["a"] = [BAD]
        bench.files.own_zips["a"] = [make_zip({"a": WORSE})]
        error = await fetch_one(bench, listed("a", GOOD))
        assert error is not None
        assert error.kind == "DigestMismatch"
        assert bench.files.asked.count("GET a") == 1
        assert (bench.finals(), bench.target.leftovers()) == ({}, {})


async def test_a_second_read_that_agrees_with_the_catalog_wins(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.single["a"] = [BAD]
        bench.files.own_zips["a"] = [make_zip({"a": GOOD})]
        assert await fetch_one(bench, listed("a", GOOD)) is None
        assert (await bench.rows())["a"].state == "verified"
        assert bench.finals() == {f"{LOCAL}/a": GOOD}


async def test_what_an_archive_saw_before_counts_as_a_read(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.single["a"] = [BAD]
        doubt = DiffersInside("x", size=len(BAD), md5=md5(BAD))
        assert await fetch(bench, await bench.plan(listed("a", GOOD)), doubt=doubt) == [None]
        assert not any(asked.startswith("ZIP") for asked in bench.files.asked)
        assert (await bench.rows())["a"].state == "stale"


async def test_a_catalog_that_was_changed_meanwhile_is_believed(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.single["a"] = [BAD]
        entries = await bench.plan(listed("a", GOOD))
        bench.files.listing = (listed("a", BAD),)
        assert await fetch(bench, entries) == [None]
        row = (await bench.rows())["a"]
        assert (row.state, row.means, row.digest) == ("verified", "digest", md5(BAD))


async def test_a_file_that_was_taken_out_of_the_catalog_is_gone(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.single["a"] = [BAD]
        entries = await bench.plan(listed("a", GOOD))
        bench.files.listing = ()
        (error,) = await fetch(bench, entries)
        assert isinstance(error, NotFound)
        assert bench.target.leftovers() == {}


@pytest.mark.parametrize("came", [b"", b"short", GOOD + b"more"])
async def test_another_size_without_digests_is_settled_by_hashes(tmp_path: Path, came: bytes) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.single["a"] = [came]
        bench.files.own_zips["a"] = [make_zip({"a": came})]
        assert await fetch_one(bench, listed("a", GOOD, digest="")) is None
        row = (await bench.rows())["a"]
        assert (row.state, row.real_digest, row.size, row.local_size) == ("stale", md5(came), len(GOOD), len(came))


@pytest.mark.parametrize("path", ["100%.txt", "a;b", "x\\y"])
async def test_a_name_that_no_url_carries_comes_by_archive_alone(tmp_path: Path, path: str) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.zips = [make_zip({f"E/scans/1/resources/DICOM/files/{path}": GOOD, "E/other": b"x"})]
        (entry,) = await bench.plan(listed(path, GOOD))
        assert await fetch(bench, [msgspec.structs.replace(entry, local=f"{LOCAL}/n")]) == [None]
        assert bench.files.asked == ["ZIP"]
        assert bench.finals() == {f"{LOCAL}/n": GOOD}


async def test_an_archive_that_does_not_hold_it_means_it_is_gone(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.files.zips = [make_zip({"E/other": b"x"})]
        assert isinstance(await fetch_one(bench, listed("100%", GOOD)), NotFound)


async def test_a_broken_archive_is_repeated(tmp_path: Path) -> None:
    async with open_bench(tmp_path, attempts=2) as bench:
        whole = make_zip({"E/scans/1/resources/DICOM/files/100%": GOOD})
        bench.files.zips = [whole[:40], whole]
        assert await fetch_one(bench, listed("100%", GOOD)) is None
        bench.files.zips = [whole[:40]]
        error = (await fetch(bench, await bench.plan(listed("100%", GOOD))))[0]
        assert isinstance(error, ArchiveBroken)


async def test_a_catalog_that_is_stale_throughout_is_not_listed_for_each_file(tmp_path: Path, monkeypatch) -> None:
    """It was: n files of n rows, twice."""
    now = 0.0

    async with open_bench(tmp_path) as bench:
        monkeypatch.setattr(bench.clock, "monotonic", lambda: now)
        real = bench.files.list_resource

        async def slow(ref: object) -> object:
            nonlocal now
            now += 1.0
            return await real(ref)  # type: ignore[arg-type]

        monkeypatch.setattr(bench.files, "list_resource", slow)
        names = [f"{n:02}" for n in range(30)]
        for name in names:
            bench.files.single[name] = [BAD]
            bench.files.own_zips[name] = [make_zip({name: BAD})]
        entries = await bench.plan(*(listed(name, GOOD) for name in names))
        assert await fetch(bench, entries) == [None] * 30
        assert bench.files.asked.count("LIST") == 1
        assert set((await bench.states()).values()) == {"stale"}
        now += 30
        bench.files.single["new"], bench.files.listing = [BAD], (listed("new", BAD),)
        row = (await bench.plan(listed("new", GOOD)))[-1]
        bench.files.listing = (listed("new", BAD),)
        assert await fetch(bench, [row]) == [None]
        assert (await bench.rows())["new"].state == "verified"


async def test_a_compressed_copy_longer_than_the_file_is_unpacked_without_an_announced_length(tmp_path: Path) -> None:
    data = os.urandom(3000)
    packed = gzip.compress(data)
    assert len(packed) > len(data)
    headers = {"content-disposition": 'attachment; filename="vol.nii.gz";'}
    async with open_bench(tmp_path) as bench:
        bench.files.single["vol.nii"] = [FakeStream([packed], headers=headers) for _ in range(2)]
        assert await fetch_one(bench, listed("vol.nii", data)) is None
        assert bench.finals() == {f"{LOCAL}/vol.nii": data}
