"""Digests taken while reading, and large files as they are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from xferengine.errors import SourceChanged
from xferengine.jobs.files_bundle import DigestingReader, NotedBody, PlainBody, file_of
from xferengine.kit.budget import ByteBudget
from xferengine.kit.threads import BlockingPool
from xferengine.manifest.outgoing import OutFile
from xferengine.model.dicom import SourceRef
from xferengine.store.reader import SourceReader
from xferengine.streams.metered import MeteredBody


@pytest.fixture
def reader() -> Iterator[SourceReader]:
    with SourceReader() as found:
        yield found


def source(path: Path, data: bytes) -> SourceRef:
    path.write_bytes(data)
    state = path.stat()
    return SourceRef(path=str(path), size=len(data), mtime_ns=state.st_mtime_ns, inode=state.st_ino)


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def test_what_is_read_to_its_end_is_digested(tmp_path: Path, reader: SourceReader) -> None:
    small, large, empty = (source(tmp_path / name, data) for name, data in [("s", b"s"), ("l", b"l" * 9), ("e", b"")])
    digesting = DigestingReader(reader)
    assert digesting.read_whole(small) == b"s"
    assert list(digesting.chunks(large, 4)) == [b"llll", b"llll", b"l"]
    assert digesting.read_whole(empty) == b""
    assert digesting.md5s == {small.path: md5(b"s"), large.path: md5(b"l" * 9), empty.path: md5(b"")}


def test_what_is_read_in_part_is_not(tmp_path: Path, reader: SourceReader) -> None:
    large = source(tmp_path / "l", b"l" * 9)
    digesting = DigestingReader(reader)
    chunks = digesting.chunks(large, 4)
    assert next(chunks) == b"llll"
    chunks.close()  # type: ignore[attr-defined]
    assert digesting.md5s == {}


def test_nothing_is_digested_twice(tmp_path: Path, reader: SourceReader, monkeypatch) -> None:
    small = source(tmp_path / "s", b"s")
    digesting = DigestingReader(reader, {small.path: "known"})
    monkeypatch.setattr("xferengine.jobs.files_bundle.hashlib.md5", lambda *_, **__: pytest.fail("digested"))
    assert digesting.read_whole(small) == b"s"
    assert list(digesting.chunks(small, 4)) == [b"s"]
    assert digesting.md5s == {small.path: "known"}


def test_a_changed_file_has_no_digest(tmp_path: Path, reader: SourceReader) -> None:
    ref = source(tmp_path / "s", b"s")
    (tmp_path / "s").write_bytes(b"other")
    digesting = DigestingReader(reader)
    with pytest.raises(SourceChanged):
        digesting.check(ref)
    with pytest.raises(SourceChanged):
        digesting.read_whole(ref)
    with pytest.raises(SourceChanged):
        list(digesting.chunks(ref, 4))
    assert digesting.md5s == {}


async def test_a_plain_body_is_the_file_and_can_be_read_again(tmp_path: Path, reader: SourceReader) -> None:
    data = os.urandom((2 << 20) + 5)
    budget = ByteBudget(64 << 20)
    async with BlockingPool() as threads:
        digesting = DigestingReader(reader)
        body = PlainBody(source(tmp_path / "f", data), digesting, budget=budget, threads=threads)
        assert (body.content_length, body.content_type) == (len(data), "application/octet-stream")
        for _ in range(2):
            assert b"".join([chunk async for chunk in body.chunks()]) == data
        assert budget.statistics().used_bytes == 0
        assert digesting.md5s == {str(tmp_path / "f"): md5(data)}


async def test_a_plain_body_that_is_given_up_gives_its_budget_back(tmp_path: Path, reader: SourceReader) -> None:
    budget = ByteBudget(64 << 20)
    async with BlockingPool() as threads:
        ref = source(tmp_path / "f", os.urandom(5 << 20))
        chunks = PlainBody(ref, DigestingReader(reader), budget=budget, threads=threads).chunks()
        await anext(chunks)
        assert budget.statistics().used_bytes > 0
        await chunks.aclose()  # type: ignore[attr-defined]
        assert budget.statistics().used_bytes == 0


async def test_a_plain_body_never_ends_well_when_its_file_changed(tmp_path: Path, reader: SourceReader) -> None:
    ref = source(tmp_path / "f", os.urandom(5 << 20))
    async with BlockingPool() as threads:
        chunks = PlainBody(ref, DigestingReader(reader), budget=ByteBudget(64 << 20), threads=threads).chunks()
        got = [len(await anext(chunks))]
        (tmp_path / "f").write_bytes(b"other")

        async def read_on() -> None:
            async for chunk in chunks:
                got.append(len(chunk))  # noqa: PERF401 - what came before the error counts

        with pytest.raises(SourceChanged):
            await read_on()
        assert sum(got) < ref.size


def test_the_file_an_error_is_about() -> None:
    files = [OutFile(path=name, source=SourceRef(path=f"/in/{name}", size=1, mtime_ns=1)) for name in "ab"]
    assert file_of(files, SourceChanged("x", path="/in/b")) is files[1]
    assert file_of(files, SourceChanged("x", path="/in/c")) is None


async def test_what_was_sent_is_noted_while_it_is_sent_never_more_than_was_taken() -> None:
    class Inner:
        content_type, content_length = "x/y", 50

        async def chunks(self) -> AsyncIterator[bytes]:
            for _ in range(5):
                yield b"0123456789"

    clock, taken = SimpleNamespace(now=0.0), 0
    noted: list[int] = []
    clock.monotonic = lambda: clock.now

    async def note(count: int) -> None:
        assert count <= taken
        noted.append(count)

    metered = MeteredBody(Inner(), on_bytes=lambda _: None)
    body = NotedBody(metered, note, cast("Any", clock))
    assert (body.content_type, body.content_length) == ("x/y", 50)
    async for chunk in body.chunks():
        taken += len(chunk)
        clock.now += 0.3
    assert noted == [10, 30]
    assert metered.sent_bytes == 50
