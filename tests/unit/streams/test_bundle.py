"""Bundles: what comes out, what is held in memory, what happens when files change or the sending stops."""

from __future__ import annotations

import io
import random
import zipfile
import zlib
from collections.abc import Iterator

import anyio
import pytest
from unit.streams.bundle_parts import MemoryReader, collect, entries_of, open_kit

from xferengine.errors import SourceChanged
from xferengine.model.dicom import SourceRef
from xferengine.streams.bundle import BundleEntry, BundleKit, DeflatedBundle, StoredBundle

MIB = 1 << 20
RNG = random.Random(1)

MIXED = {
    "empty": b"",
    "small": RNG.randbytes(1000),
    "edge": RNG.randbytes(MIB),
    "large": RNG.randbytes(MIB + 1),
    "larger": RNG.randbytes(5 * MIB + 17),
    "another": b"x" * 200_000,
    "exact": RNG.randbytes(3 * MIB),
    "last": b"y",
}


def unzipped(raw: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert archive.testzip() is None
        return {info.filename.removesuffix(".dcm"): archive.read(info) for info in archive.infolist()}


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("with_crc", [False, True])
async def test_stored_bundle_holds_every_file_and_has_the_length_it_said(slow: bool, with_crc: bool) -> None:
    reader = MemoryReader(MIXED)
    async with open_kit(reader, slow=slow) as kit:
        with StoredBundle(entries_of(MIXED, with_crc=with_crc), kit) as bundle:
            raw = await collect(bundle)

            assert len(raw) == bundle.content_length
            assert unzipped(raw) == MIXED
            assert bundle.entries_sent == len(MIXED)
            assert bundle.crcs == {n: zlib.crc32(data) for n, data in enumerate(MIXED.values())}
        assert kit.budget.statistics().used_bytes == 0
    assert reader.open_iterators == 0
    assert reader.reads.count("larger in pieces") == (1 if with_crc else 2)


async def test_deflated_bundle_holds_every_file_and_is_chunked() -> None:
    reader = MemoryReader(MIXED)
    async with open_kit(reader) as kit:
        with DeflatedBundle(entries_of(MIXED), kit) as bundle:
            assert bundle.content_length is None
            raw = await collect(bundle)
            assert unzipped(raw) == MIXED
            assert bundle.entries_sent == len(MIXED)
            assert bundle.crcs == {n: zlib.crc32(data) for n, data in enumerate(MIXED.values())}
        assert kit.budget.statistics().used_bytes == 0
    assert reader.loop_reads == 0
    assert reader.reads.count("larger in pieces") == 1


@pytest.mark.parametrize("kind", [StoredBundle, DeflatedBundle])
async def test_every_pass_gives_the_same_bytes(kind: type[StoredBundle]) -> None:
    async with open_kit(MemoryReader(MIXED)) as kit:
        with kind(entries_of(MIXED), kit) as bundle:
            first = bundle.chunks()
            await anext(first)
            whole = await collect(bundle)
            assert await collect(bundle) == whole
        with kind(entries_of(MIXED), kit) as bundle:
            assert await collect(bundle) == whole


async def test_small_files_are_joined_and_read_once_on_the_loop() -> None:
    files = {f"{n}": bytes([n % 256]) * 4000 for n in range(1000)}
    reader = MemoryReader(files)
    async with open_kit(reader) as kit:
        with StoredBundle(entries_of(files), kit) as bundle:
            sizes = [len(chunk) async for chunk in bundle.chunks()]
    assert len(sizes) <= 18
    assert max(sizes) <= (256 << 10) + MIB
    assert reader.reads == list(files)
    assert reader.loop_reads == 1000


async def test_slow_disk_is_read_in_threads_one_file_ahead_of_the_network() -> None:
    files = {f"{n}": RNG.randbytes(300_000) for n in range(6)}
    reader = MemoryReader(files)
    async with open_kit(reader, slow=True) as kit:
        with StoredBundle(entries_of(files), kit) as bundle:
            stream = bundle.chunks()
            await anext(stream)
            await kit.threads.run(lambda: None)
            with anyio.fail_after(5):
                while len(reader.reads) < 2:
                    await anyio.lowlevel.checkpoint()
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
            assert reader.reads == ["0", "1"]
            assert kit.budget.statistics().used_bytes == 600_000
    assert reader.loop_reads == 0


@pytest.mark.parametrize("kind", [StoredBundle, DeflatedBundle])
async def test_nothing_is_sent_when_any_file_changed_beforehand(kind: type[StoredBundle]) -> None:
    reader = MemoryReader(MIXED, gone={"last"})
    async with open_kit(reader) as kit:
        with kind(entries_of(MIXED), kit) as bundle, pytest.raises(SourceChanged, match="last"):
            await anext(bundle.chunks())
    assert reader.reads == []


@pytest.mark.parametrize("kind", [StoredBundle, DeflatedBundle])
@pytest.mark.parametrize("name", ["small", "larger"])
@pytest.mark.parametrize("change", ["shorter", "longer", "other bytes"])
async def test_file_that_changed_meanwhile_is_named_and_never_completed(
    kind: type[StoredBundle], name: str, change: str
) -> None:
    entries = entries_of(MIXED, with_crc=True)
    data = MIXED[name]
    altered = {"shorter": data[:-1], "longer": data + b"+", "other bytes": b"\0" + data[1:]}[change]
    reader = MemoryReader({**MIXED, name: altered})
    sent = bytearray()
    async with open_kit(reader) as kit:
        with kind(entries, kit) as bundle, pytest.raises(SourceChanged, match=name):
            await _send_into(sent, bundle)
        assert kit.budget.statistics().used_bytes == 0
    assert b"PK\x05\x06" not in sent
    if change != "shorter":  # what is missing cannot be held back: the torn body tells
        assert altered not in sent
    assert reader.open_iterators == 0


async def test_large_file_altered_between_its_two_passes_is_noticed() -> None:
    class Altering(MemoryReader):
        def chunks(self, ref: SourceRef, chunk_bytes: int) -> Iterator[bytes]:
            yield from super().chunks(ref, chunk_bytes)
            self.files[ref.path] = b"\0" + self.files[ref.path][1:]

    files = {"larger": MIXED["larger"]}
    async with open_kit(Altering(dict(files))) as kit:
        with StoredBundle(entries_of(files), kit) as bundle, pytest.raises(SourceChanged):
            await collect(bundle)


@pytest.mark.parametrize("kind", [StoredBundle, DeflatedBundle])
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("chunks_taken", range(1, 9))
async def test_stopping_anywhere_gives_the_budget_back_and_closes_files(
    kind: type[StoredBundle], slow: bool, chunks_taken: int
) -> None:
    reader = MemoryReader(MIXED)
    async with open_kit(reader, slow=slow) as kit:
        with kind(entries_of(MIXED), kit) as bundle:
            stream = bundle.chunks()
            for _ in range(chunks_taken):
                await anext(stream)
        assert kit.budget.statistics().used_bytes == 0
        await stream.aclose()  # type: ignore[attr-defined]
        assert kit.budget.statistics().used_bytes == 0
    assert reader.open_iterators == 0


async def test_cancelled_sender_leaves_nothing_behind() -> None:
    reader = MemoryReader(MIXED)
    async with open_kit(reader, slow=True) as kit:
        for turns in range(0, 60, 3):
            async with anyio.create_task_group() as tg:

                async def send() -> None:
                    with StoredBundle(entries_of(MIXED), kit) as bundle:
                        await collect(bundle)

                tg.start_soon(send)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                tg.cancel_scope.cancel()
            assert kit.budget.statistics().used_bytes == 0


@pytest.mark.parametrize("kind", [StoredBundle, DeflatedBundle])
@pytest.mark.parametrize("slow", [False, True])
async def test_many_bundles_pass_through_a_tiny_budget_without_locking_up(kind: type[StoredBundle], slow: bool) -> None:
    files = {f"{n}": RNG.randbytes(RNG.choice([10, 60_000, 150_000, MIB + 5])) for n in range(12)}
    results = []
    async with open_kit(MemoryReader(files), budget_bytes=200_000, slow=slow) as kit:

        async def send() -> None:
            with kind(entries_of(files), kit) as bundle:
                raw = bytearray()
                async for chunk in bundle.chunks():
                    raw += chunk
                    await anyio.lowlevel.checkpoint()
                results.append(unzipped(bytes(raw)) == files)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tg:
                for _ in range(6):
                    tg.start_soon(send)
        statistics = kit.budget.statistics()
    assert results == [True] * 6
    assert statistics.used_bytes == 0


async def test_memory_is_bounded_by_the_budget() -> None:
    files = {f"{n}": bytes(200_000) for n in range(40)}
    async with open_kit(MemoryReader(files), budget_bytes=MIB, slow=True) as kit:
        async with anyio.create_task_group() as tg:
            for _ in range(8):
                tg.start_soon(_send_whole, entries_of(files), kit)
        assert kit.budget.statistics().peak_bytes <= MIB


async def _send_into(sent: bytearray, bundle: StoredBundle) -> None:
    async for chunk in bundle.chunks():
        sent += chunk


async def _send_whole(entries: list[BundleEntry], kit: BundleKit) -> None:
    with StoredBundle(entries, kit) as bundle:
        async for _ in bundle.chunks():
            await anyio.lowlevel.checkpoint()
