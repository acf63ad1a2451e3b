"""Files on their last step: batches, back-pressure, errors of single files, and what a cancellation leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import anyio
import pytest
from unit.jobs.download_bench import LOCAL, Bench, listed, md5, open_bench

from xferengine.errors import BadInput, DiskFull
from xferengine.jobs import deliveries
from xferengine.jobs.deliveries import Deliveries, Got
from xferengine.manifest.transfers import EntryRow
from xferengine.model.events import FilesDone
from xferengine.store.target import Deliver, Delivered

pytestmark = pytest.mark.timeout(10)


def got(bench: Bench, entry: EntryRow, data: bytes, *, unit: int = 1) -> Got:
    part = bench.target.write_whole(entry.id, [data], hashing=True)
    return Got(entry=entry, part=part.path, size=part.size, md5=part.md5, means="digest", unit=unit)


async def some(bench: Bench, count: int) -> list[Got]:
    entries = await bench.plan(*(listed(f"{n:04}.dcm", b"%d" % n) for n in range(count)))
    return [got(bench, entry, b"%d" % n) for n, entry in enumerate(entries)]


async def test_what_is_put_becomes_final_with_its_row(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        files = await some(bench, 3)
        taker = Deliveries(bench.core, bench.target)
        async with anyio.create_task_group() as tg:
            tg.start_soon(taker.run)
            await taker.put(files)
            taker.close()
        assert bench.finals() == {f"{LOCAL}/{n:04}.dcm": b"%d" % n for n in range(3)}
        rows = await bench.rows()
        for n in range(3):
            row = rows[f"{n:04}.dcm"]
            there = (bench.folder / row.local).stat()
            assert (row.state, row.means, row.real_digest) == ("verified", "digest", md5(b"%d" % n))
            assert (row.local_size, row.mtime_ns, row.inode) == (there.st_size, there.st_mtime_ns, there.st_ino)
        assert [(e.unit, e.files, e.bytes) for e in bench.events if isinstance(e, FilesDone)] == [(1, 3, 3)]


async def test_everybody_who_waits_for_room_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two waiters was forgotten: the job hung."""
    monkeypatch.setattr(deliveries, "BATCH_FILES", 4)
    monkeypatch.setattr(deliveries, "WAITING_FILES", 4)
    ended = 0
    async with open_bench(tmp_path) as bench:
        files = await some(bench, 32)
        taker = Deliveries(bench.core, bench.target)

        async def bring(mine: list[Got]) -> None:
            nonlocal ended
            for one in mine:
                await taker.put([one])
            ended += 1

        with anyio.move_on_after(5):
            async with anyio.create_task_group() as tg:
                tg.start_soon(taker.run)
                async with anyio.create_task_group() as bringers:
                    for n in range(8):
                        bringers.start_soon(bring, files[n * 4 : n * 4 + 4])
                taker.close()
        assert ended == 8
        assert len(bench.finals()) == 32
        assert set((await bench.states()).values()) == {"verified"}


async def test_whoever_brings_more_than_there_is_room_for_is_held(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(deliveries, "WAITING_FILES", 2)
    async with open_bench(tmp_path) as bench:
        files = await some(bench, 3)
        taker = Deliveries(bench.core, bench.target)
        await taker.put(files[:1])
        with anyio.move_on_after(0.01) as scope:
            await taker.put(files[1:])
        assert scope.cancelled_caught
        async with anyio.create_task_group() as tg:
            tg.start_soon(taker.run)
            taker.close()
        assert len(bench.finals()) == 3  # those that were cancelled in waiting were taken all the same


async def test_one_file_that_cannot_become_final_fails_alone(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        files = await some(bench, 3)
        (bench.folder / LOCAL / "0001.dcm").mkdir(parents=True)
        taker = Deliveries(bench.core, bench.target)
        async with anyio.create_task_group() as tg:
            tg.start_soon(taker.run)
            await taker.put(files)
            taker.close()
        assert await bench.states() == {"0000.dcm": "verified", "0001.dcm": "failed", "0002.dcm": "verified"}
        assert (await bench.rows())["0001.dcm"].note.startswith("BadInput: ")
        assert list(taker.failed) == [files[1].entry.id]
        assert isinstance(taker.failed[files[1].entry.id], BadInput)


async def test_a_full_disk_ends_all_and_keeps_what_became_final(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        files = await some(bench, 2)
        real = bench.target.commit

        def commit(items: list[Deliver]) -> list[Delivered]:
            done = real(items[:1])
            return [*done, Delivered(local=items[1].local, error=DiskFull("full"))]

        bench.target.commit = commit  # type: ignore[method-assign]
        taker = Deliveries(bench.core, bench.target)
        await taker.put(files)
        with pytest.raises(DiskFull):
            await taker.run()
        assert await bench.states() == {"0000.dcm": "verified", "0001.dcm": "planned"}


async def test_after_its_end_nobody_waits_for_room(tmp_path: Path, monkeypatch) -> None:
    """A mover that is cancelled because the disk is full hands on what it has, and must not wait for ever."""
    monkeypatch.setattr(deliveries, "WAITING_FILES", 1)
    async with open_bench(tmp_path) as bench:
        files = await some(bench, 3)
        bench.target.commit = lambda items: [Delivered(local=i.local, error=DiskFull("full")) for i in items]  # type: ignore[method-assign]
        taker = Deliveries(bench.core, bench.target)

        async def bring() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await taker.put(files[1:])

        async def all_of_it() -> None:
            async with anyio.create_task_group() as tg:
                tg.start_soon(taker.run)
                tg.start_soon(bring)
                await taker.put(files[:1])

        with pytest.raises(BaseExceptionGroup) as caught:
            await all_of_it()
        assert caught.group_contains(DiskFull)


async def test_a_cancel_in_the_middle_of_a_batch_leaves_no_final_without_its_row(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        files = await some(bench, 4)
        real, loop = bench.target.commit, asyncio.get_running_loop()
        scope = anyio.CancelScope()

        def commit(items: list[Deliver]) -> list[Delivered]:
            loop.call_soon_threadsafe(scope.cancel)
            return real(items)

        bench.target.commit = commit  # type: ignore[method-assign]
        taker = Deliveries(bench.core, bench.target)
        with scope:
            async with anyio.create_task_group() as tg:
                tg.start_soon(taker.run)
                try:
                    await taker.put(files)
                    await anyio.sleep_forever()
                finally:
                    taker.close()
        assert scope.cancelled_caught
        assert len(bench.finals()) == 4
        assert set((await bench.states()).values()) == {"verified"}


async def test_what_is_handed_on_while_all_is_cancelled_becomes_final(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        files = await some(bench, 4)
        taker = Deliveries(bench.core, bench.target)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tg:
                tg.start_soon(taker.run)
                try:
                    await taker.put(files[:2])
                    scope.cancel()
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(0.01)
                        await taker.put(files[2:])
                    taker.close()
        assert len(bench.finals()) == 4
        assert set((await bench.states()).values()) == {"verified"}
