"""Second looks: read twice, and the dates of stale files."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.jobs.download_bench import LOCAL, Bench, listed, md5, open_bench

from xferengine.errors import AccessDenied, LoginRefused, NotFound
from xferengine.jobs import readback
from xferengine.jobs.file_read import FileReader
from xferengine.jobs.readback import ReadBack, recheck_stale
from xferengine.manifest import incoming
from xferengine.model.events import Notice
from xferengine.schedule.stop import StopKind, StopReason


async def brought(
    bench: Bench, count: int, *, state: str = "verified", hashed: bool = True, means: str = "size"
) -> None:
    """So many files without digest lie in the folder."""
    for entry in await bench.plan(*(listed(f"{n:03}", b"%03d" % n, digest="") for n in range(count))):
        data = entry.path.encode()
        bench.files.single[entry.path] = [data]
        (bench.folder / LOCAL).mkdir(parents=True, exist_ok=True)
        (bench.folder / LOCAL / entry.path).write_bytes(data)
    rows = [(state, means, md5(b"%03d" % n) if hashed else "", f"{n:03}") for n in range(count)]
    await bench.manifest.write(
        lambda con: con.executemany("UPDATE entry SET state=?, means=?, real_digest=? WHERE path=?", rows)
    )


async def read(bench: Bench, sample: float = 100.0) -> str:
    bench.events.clear()
    reader = FileReader(bench.core, bench.target, bench.core.routes)
    await ReadBack(bench.core, reader, bench.target, sample=sample).run()
    return " ".join(event.text for event in bench.events if isinstance(event, Notice))


async def means(bench: Bench) -> dict[str, int]:
    return await bench.manifest.read(incoming.count_means)


@pytest.mark.parametrize("state", ["verified", "present"])
@pytest.mark.parametrize("hashed", [True, False])
async def test_what_has_no_digest_is_read_twice(tmp_path: Path, state: str, hashed: bool) -> None:
    """Files of an earlier run, and such as were brought without a hash, were passed over without a word."""
    async with open_bench(tmp_path) as bench:
        await brought(bench, 5, state=state, hashed=hashed)
        text = await read(bench)
        assert "5 of 5 files" in text
        assert "not the server's disk" in text
        assert await means(bench) == {"read-back": 5}
        assert bench.target.leftovers() == {}
        assert await read(bench) == ""  # nothing is left to be proven
        assert len(bench.files.asked) == 5


async def test_files_with_a_digest_are_left_alone(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        await brought(bench, 3, means="digest")
        assert await read(bench) == ""
        assert bench.files.asked == []


async def test_what_comes_differently_has_failed(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        await brought(bench, 3)
        bench.files.single["001"] = [b"xxx"]
        assert "1 of them differ" in await read(bench)
        row = (await bench.rows())["001"]
        assert (row.state, row.note.partition(":")[0]) == ("failed", "DigestMismatch")
        assert await means(bench) == {"read-back": 2}


async def test_what_cannot_be_read_again_stays_and_is_counted(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        await brought(bench, 3)
        bench.files.single["001"] = [NotFound("gone")]
        bench.files.single["002"] = [AccessDenied("no")]
        assert "2 could not be read again" in await read(bench)
        assert set((await bench.states()).values()) == {"verified"}
        assert await means(bench) == {"read-back": 1, "size": 2}
        assert bench.target.leftovers() == {}


async def test_what_ends_the_job_is_raised(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        await brought(bench, 3)
        bench.files.single["001"] = [LoginRefused("no")]
        with pytest.raises(BaseExceptionGroup) as caught:
            await read(bench)
        assert caught.group_contains(LoginRefused)


async def test_a_sample_is_about_its_size_the_same_again_and_says_what_it_proves(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        await brought(bench, 300)
        text = await read(bench, 20)
        chosen = list(bench.files.asked)
        assert 30 < len(chosen) < 90
        assert f"{len(chosen)} of 300 files" in text
        assert f"at most {300 / len(chosen):.2g} %" in text
        await bench.manifest.write(lambda con: con.execute("UPDATE entry SET means='size'"))
        bench.files.asked.clear()
        await read(bench, 20)
        assert sorted(bench.files.asked) == sorted(chosen)


async def test_pages_are_all_read_and_a_stop_ends_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(readback, "PAGE", 4)
    async with open_bench(tmp_path) as bench:
        await brought(bench, 11)
        assert "11 of 11" in await read(bench)
        await bench.manifest.write(lambda con: con.execute("UPDATE entry SET means='size'"))
        bench.core.stop.request(StopReason(kind=StopKind.UNTIL))
        bench.files.asked.clear()
        await read(bench)
        assert bench.files.asked == []


@pytest.mark.parametrize(("date", "state"), [("Mon", "stale"), ("Tue", "planned"), ("", "planned")])
async def test_a_stale_file_is_planned_again_when_its_date_has_changed(tmp_path: Path, date: str, state: str) -> None:
    async with open_bench(tmp_path) as bench:
        await brought(bench, 3, state="stale")
        await bench.manifest.write(lambda con: con.execute("UPDATE entry SET last_modified='Mon'"))
        bench.files.dates = {"000": date, "001": "Mon", "002": "Mon"}
        await recheck_stale(bench.core)
        assert await bench.states() == {"000": state, "001": "stale", "002": "stale"}


async def test_a_date_that_cannot_be_had_changes_nothing(tmp_path: Path, monkeypatch) -> None:
    async with open_bench(tmp_path) as bench:
        await brought(bench, 1, state="stale")

        async def refuse(*_: object) -> str:
            raise NotFound("gone")

        monkeypatch.setattr(bench.files, "last_modified", refuse)
        await recheck_stale(bench.core)
        assert await bench.states() == {"000": "stale"}
