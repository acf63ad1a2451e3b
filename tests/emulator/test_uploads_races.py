"""Two uploads at once: duplicate rows, changed catalogs, locks, and what each write costs (FIL 4.1, FIL 4.3)."""

import asyncio
import hashlib

from emulator.core_kit import settle
from emulator.files_kit import FILES, RESOURCE, names, put
from emulator.http_kit import SESSION, open_browser

REFRESH = f"/data/services/refresh/catalog?resource=/archive{RESOURCE.removeprefix('/data')}"
FORM = {"Content-Type": "multipart/form-data; boundary=B"}


def form(name: str) -> bytes:
    """Return a form with one small file."""
    head = f'--B\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'
    return head.encode() + b"x\r\n--B--\r\n"


class TestDuplicateRows:
    async def test_two_first_forms_make_two_rows_with_one_catalog(self):
        """FIL 4.3: the row is looked up when the request comes, and made after the form was read."""

        async def slow():
            started.set()
            yield form("a.txt")[:30]
            await go_on.wait()
            yield form("a.txt")[30:]

        started, go_on = asyncio.Event(), asyncio.Event()
        async with open_browser() as site:
            await site.make_session("1")
            task = asyncio.create_task(site.ask("POST", FILES, slow(), headers=FORM))
            await started.wait()
            await settle()
            assert (await site.ask("POST", FILES, form("b.txt"), headers=FORM)).status == 200
            go_on.set()
            assert (await task).status == 200
            rows = (await site.ask("GET", f"{SESSION}/scans/1/resources")).rows
            assert [row["label"] for row in rows] == ["R", "R"]
            first, second = site.world.resources.values()
            assert sorted(site.world.entries(first)) == sorted(site.world.entries(second)) == ["a.txt", "b.txt"]
            assert (await site.ask("GET", RESOURCE)).status == 404  # two match (FIL 1.2)

    async def test_slow_rows_race_for_bodies_as_well(self):
        async with open_browser(resource_ms=20) as site:
            await site.make_session("1")
            tasks = [asyncio.create_task(put(site, name)) for name in ("a", "b")]
            await settle()
            await site.clock.advance(0.1)
            statuses = sorted([(await task).status for task in tasks])
            assert (statuses, len(site.world.resources)) == ([200, 200], 2)

    async def test_a_folder_made_first_keeps_the_label_unique(self):
        async with open_browser(resource_ms=20) as site:
            await site.make_session("1")
            await site.ask("PUT", RESOURCE)
            await asyncio.gather(put(site, "a"), put(site, "b"))
            assert len(site.world.resources) == 1

    async def test_deleting_the_label_deletes_both_rows(self):
        async with open_browser(resource_ms=20) as site:
            await site.make_session("1")
            tasks = [asyncio.create_task(put(site, name)) for name in ("a", "b")]
            await settle()
            await site.clock.advance(0.1)
            await asyncio.gather(*tasks)
            assert (await site.ask("DELETE", RESOURCE)).status == 200
            assert site.world.resources == {}
            assert not (site.world.data_dir / "archive/P/arc001/E/SCANS/1/R").exists()


class TestLocks:
    async def test_a_write_waits_ten_seconds_for_the_lock(self):
        """FIL 4.3: then 500, and the file is an orphan."""
        async with open_browser(catalog_ms=60_000, idle_poll_s=5000.0) as site:
            await site.make_session("1")
            await site.ask("PUT", RESOURCE)

            async def body():
                started.set()
                yield b"x"
                await go_on.wait()
                yield b"y"

            started, go_on = asyncio.Event(), asyncio.Event()
            second = asyncio.create_task(
                site.ask("PUT", f"{FILES}/b", body(), headers={"Content-Type": "application/zip"})
            )
            await started.wait()
            await settle()
            first = asyncio.create_task(put(site, "a"))
            await sleeping(site, 60)  # the first one holds the lock and takes its time
            go_on.set()
            await sleeping(site, 10)
            await site.clock.advance(10)
            answer = await second
            assert (answer.status, answer.message) == (500, "Unable to acquire thread and process locks")
            await site.clock.advance(50)
            assert (await first).status == 200
            assert await names(site) == ["a"]
            assert (site.world.data_dir / "archive/P/arc001/E/SCANS/1/R/b").read_bytes() == b"xy"

    async def test_a_refresh_that_gets_no_lock_in_30_s_does_nothing_and_says_200(self):
        """FIL 4.2."""
        async with open_browser(catalog_ms=60_000, idle_poll_s=5000.0) as site:
            await site.make_session("1")
            await site.ask("PUT", RESOURCE)
            (site.world.data_dir / "archive/P/arc001/E/SCANS/1/R/orphan").write_bytes(b"x")
            holder = asyncio.create_task(put(site, "a"))
            await sleeping(site, 60)
            refresh = asyncio.create_task(site.ask("POST", REFRESH))
            await sleeping(site, 30)
            await site.clock.advance(30)
            assert (await refresh).status == 200
            await site.clock.advance(30)
            assert (await holder).status == 200
            assert await names(site) == ["a"]

    async def test_cost_grows_with_the_catalog(self):
        """FIL 4.3: each PUT rewrites the whole catalog, an archive writes it once."""
        async with open_browser(catalog_entry_us=1_000_000, idle_poll_s=5000.0) as site:
            await site.make_session("1")
            for number in range(3):
                task = asyncio.create_task(put(site, f"f{number}"))
                await sleeping(site, number + 1)
                await site.clock.advance(number + 1)
                assert (await task).status == 200


async def sleeping(site, delay_s: float) -> None:
    """Wait until a task sleeps on the clock for so long."""
    while not any(abs(due - site.clock.elapsed_s - delay_s) < 0.5 for due, _ in site.clock._waiting):
        await settle(1)


class TestDigests:
    async def test_a_put_hashes_the_backlog(self):
        """FIL 4.1: every entry without a digest is hashed before the catalog is saved."""
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "old.txt", b"old")
            (resource,) = site.world.resources.values()
            entry = site.world.entries(resource)["old.txt"]
            entry.digest = ""
            site.world.put_entries(resource, [entry])
            assert (await site.ask("GET", f"{FILES}?format=json")).rows[0]["digest"] == ""
            await put(site, "new.txt", b"new")
            rows = {row["Name"]: row["digest"] for row in (await site.ask("GET", f"{FILES}?format=json")).rows}
            assert rows == {f"{name}.txt": hashlib.md5(name.encode()).hexdigest() for name in ("old", "new")}

    async def test_content_md5_is_never_checked_and_content_range_ignored(self):
        """FIL 1.4, streaming notes."""
        async with open_browser() as site:
            await site.make_session("1")
            headers = {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA==", "Content-Range": "bytes 5-7/8"}
            answer = await site.ask("PUT", f"{FILES}/a.txt?inbody=true", b"abc", headers=headers)
            assert answer.status == 200
            assert (await site.ask("GET", f"{FILES}/a.txt")).body == b"abc"

    async def test_a_big_body_has_its_digest(self):
        data = bytes(range(256)) * 4000
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.bin", data)
            (row,) = (await site.ask("GET", f"{FILES}?format=json")).rows
            assert (row["Size"], row["digest"]) == (str(len(data)), hashlib.md5(data).hexdigest())
