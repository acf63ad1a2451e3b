"""Faults of downloads: cut, falsified and foreign answers, hostile archives, files that change (FIL 11.17)."""

import asyncio
import io
import stat
import tarfile
import zipfile

import aiohttp
import pytest
from emulator.core_kit import settle
from emulator.http_kit import Browser, open_browser
from emulator.seed_kit import BASE, put, untarred, unzipped

FILES = f"{BASE}/scans/1/resources/R/files"
ZIP = f"{FILES}?format=zip"
NAME = "E/scans/1/resources/R/files/"
DATA = bytes(range(256)) * 4000


async def received(site: Browser, target: str) -> tuple[bytes, bytes, bool]:
    """Return head and body of an answer as they came, and whether the connection was reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.site.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nCookie: JSESSIONID={site.cookie}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    body, reset = b"", False
    try:
        while chunk := await reader.read(65536):
            body += chunk
            if body.endswith(b"\r\n0\r\n\r\n"):
                break
    except ConnectionResetError:
        reset = True
    writer.close()
    return head, body, reset


class TestCutAnswers:
    @pytest.mark.parametrize("at", [0, 1, 1000, 262_144, len(DATA) - 1])
    async def test_file_is_cut_at_the_byte(self, at):
        async with open_browser() as site:
            put(site, "a", DATA, scan="1")
            site.site.faults.add("cut-answer", match="files/a", nth=1, after_bytes=at)
            head, body, reset = await received(site, f"{FILES}/a")
            assert f"Content-Length: {len(DATA)}".encode() in head
            assert (body == DATA[:at], reset) == (True, False)
            assert (await site.ask("GET", f"{FILES}/a")).body == DATA

    async def test_cut_behind_the_end_still_cuts(self):
        async with open_browser() as site:
            put(site, "a", DATA[:1000], scan="1")
            site.site.faults.add("cut-answer", match="files/a", nth=1, after_bytes=10_000)
            assert (await received(site, f"{FILES}/a"))[1] == DATA[:500]

    async def test_archive_is_cut_without_its_end(self):
        async with open_browser() as site:
            put(site, "a", DATA, scan="1")
            site.site.faults.add("cut-answer", match="format=zip", nth=1, after_bytes=5000)
            with pytest.raises(aiohttp.ClientPayloadError):
                await site.ask("GET", ZIP)

    async def test_archive_ends_too_early_in_good_order(self):
        async with open_browser() as site:
            put(site, "a", DATA, scan="1")
            whole = (await site.ask("GET", ZIP)).body
            site.site.faults.add("end-answer", match="format=zip", nth=1, after_bytes=5000)
            answer = await site.ask("GET", ZIP)
            assert answer.body == whole[:5000]
            assert (await site.ask("GET", ZIP)).body == whole

    async def test_reset_is_a_reset(self):
        async with open_browser() as site:
            put(site, "a", DATA, scan="1")
            site.site.faults.add("reset-in-answer", match="files/a", nth=1, after_bytes=70_000)
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await site.ask("GET", f"{FILES}/a")

    async def test_stall_holds_the_rest_back(self):
        async with open_browser() as site:
            put(site, "a", DATA, scan="1")
            site.site.faults.add("stall-sending", match="files/a", nth=1, after_bytes=1000, delay_s=60.0)
            task = asyncio.create_task(received(site, f"{FILES}/a"))
            while len(site.clock._waiting) < 2:
                await settle(1)
            assert not task.done()
            await site.clock.advance(60)
            assert len((await task)[1]) <= 1000


class TestFalseAnswers:
    @pytest.mark.parametrize(
        ("at", "size"), [(0, 1000), (17, 1000), (5000, 1000), (1_000_000, 1_200_000), (5_000_000, 1_200_000)]
    )
    async def test_one_byte_is_flipped(self, at, size):
        async with open_browser() as site:
            data = (DATA * 2)[:size]
            put(site, "a", data, scan="1")
            site.site.faults.add("flip-byte", match="files/a", nth=1, after_bytes=at)
            answer = await site.ask("GET", f"{FILES}/a")
            wrong = [n for n, (a, b) in enumerate(zip(answer.body, data, strict=True)) if a != b]
            assert len(wrong) == 1
            assert wrong == [at] or at >= size

    async def test_flipped_byte_in_a_zip_breaks_its_crc(self):
        async with open_browser() as site:
            put(site, "a", DATA, scan="1")
            site.site.faults.add("flip-byte", match="format=zip", nth=1, after_bytes=5000)
            with pytest.raises(zipfile.BadZipFile, match="CRC"):
                unzipped(await site.ask("GET", ZIP))

    @pytest.mark.parametrize(
        ("spec", "status", "text"),
        [
            ("early-error:status=404", 404, "Status page"),
            ("early-error:status=500", 500, "Status page"),
            ("unavailable", 503, "nginx"),
            ("html-page", 200, "maintenance"),
            ("login-page", 200, "login_area"),
        ],
    )
    async def test_other_answers_in_the_place_of_data(self, spec, status, text):
        async with open_browser() as site:
            put(site, "a", scan="1")
            site.site.faults.add_spec(spec)
            answer = await site.ask("GET", ZIP)
            assert (answer.status, text in answer.text) == (status, True)
            assert answer.headers["Content-Type"].startswith("text/html")

    async def test_redirect_to_another_host(self):
        async with open_browser() as site:
            put(site, "a", scan="1")
            site.site.faults.add_spec("redirect:path=format=zip,location=http://other.invalid/x")
            answer = await site.ask("GET", ZIP)
            assert (answer.status, answer.headers["Location"]) == (302, "http://other.invalid/x")


class TestRanges:
    @pytest.mark.parametrize(("kind", "says_ranges"), [("ignore-range", True), ("strip-range", False)])
    async def test_range_is_ignored(self, kind, says_ranges):
        async with open_browser() as site:
            put(site, "a", b"0123456789", scan="1")
            site.site.faults.add(kind)
            answer = await site.ask("GET", f"{FILES}/a", headers={"Range": "bytes=2-4"})
            assert (answer.status, answer.body) == (200, b"0123456789")
            assert ("Accept-Ranges" in answer.headers, "Content-Range" in answer.headers) == (says_ranges, False)

    async def test_other_range_than_asked_for(self):
        async with open_browser() as site:
            put(site, "a", b"0123456789", scan="1")
            site.site.faults.add("shift-range", nth=1)
            answer = await site.ask("GET", f"{FILES}/a", headers={"Range": "bytes=2-4"})
            assert (answer.body, answer.headers["Content-Range"]) == (b"34", "bytes 3-4/10")


class TestHostileArchives:
    @pytest.mark.parametrize("name", ["../../etc/x", "/etc/x", "C:\\x", "..\\x", "a//b", "a/../../b", "", "CON", "x/"])
    async def test_member_gets_another_name(self, name):
        async with open_browser() as site:
            put(site, "a", b"abc", scan="1")
            put(site, "b", b"def", scan="1")
            site.site.faults.add("member-renamed", match="/a$", label=name)
            assert unzipped(await site.ask("GET", ZIP)) == {name: b"abc", NAME + "b": b"def"}
            assert b"abc" in untarred(await site.ask("GET", f"{FILES}?format=tar")).values() or name == "x/"

    async def test_name_may_hold_the_old_one(self):
        async with open_browser() as site:
            put(site, "a", b"abc", scan="1")
            site.site.faults.add("member-renamed", label="../{name}")
            assert unzipped(await site.ask("GET", ZIP)) == {f"../{NAME}a": b"abc"}

    async def test_link(self):
        async with open_browser() as site:
            put(site, "a", b"abc", scan="1")
            site.site.faults.add("member-link", label="/etc/passwd")
            with zipfile.ZipFile(io.BytesIO((await site.ask("GET", ZIP)).body)) as archive:
                (info,) = archive.infolist()
                assert stat.S_ISLNK(info.external_attr >> 16)
                assert archive.read(info) == b"/etc/passwd"
            answer = await site.ask("GET", f"{FILES}?format=tar")
            with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
                (link,) = archive
                assert (link.issym(), link.linkname) == (True, "/etc/passwd")

    async def test_member_twice(self):
        async with open_browser() as site:
            put(site, "a", b"abc", scan="1")
            site.site.faults.add("member-twice")
            with zipfile.ZipFile(io.BytesIO((await site.ask("GET", ZIP)).body)) as archive:
                infos = archive.infolist()
                assert [info.filename for info in infos] == [NAME + "a"] * 2
                assert archive.read(infos[0]) == b"abc" != archive.read(infos[1])

    async def test_extra_and_missing(self):
        async with open_browser() as site:
            put(site, "a", b"abc", scan="1")
            put(site, "b", b"def", scan="1")
            site.site.faults.add("member-extra", match="/a$", label="E/extra")
            site.site.faults.add("member-missing", match="/b$")
            assert set(unzipped(await site.ask("GET", ZIP))) == {"E/extra", NAME + "a"}

    @pytest.mark.parametrize("query", ["", "&compression=8"])
    async def test_wrong_crc(self, query):
        async with open_browser() as site:
            put(site, "a", DATA, scan="1")
            put(site, "b", b"def", scan="1")
            site.site.faults.add("member-crc", match="/a$", nth=1)
            answer = await site.ask("GET", ZIP + query)
            with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
                assert archive.testzip() == NAME + "a"
            assert unzipped(await site.ask("GET", ZIP + query))[NAME + "a"] == DATA

    @pytest.mark.parametrize("size", [3, 1_200_000])
    @pytest.mark.parametrize("query", ["zip", "zip&compression=8", "tar"])
    async def test_member_longer_than_its_listing(self, size, query):
        async with open_browser() as site:
            data = (DATA * 2)[:size]
            put(site, "a", data, scan="1")
            site.site.faults.add("member-longer", limit_bytes=5)
            answer = await site.ask("GET", f"{FILES}?format={query}")
            found = untarred(answer) if query == "tar" else unzipped(answer)
            assert found == {NAME + "a": data + bytes(5)}


class TestChangingFiles:
    async def test_file_changes_while_it_is_sent(self):
        async with open_browser() as site:
            data = DATA * 2
            file = put(site, "a", data, scan="1")
            before = (await site.ask("HEAD", f"{FILES}/a")).headers["Last-Modified"]
            site.site.faults.add("file-changes", match="/a$", nth=1, after_bytes=1_000_000)
            answer = await site.ask("GET", f"{FILES}/a")
            assert answer.status == 200
            first = next(n for n, (a, b) in enumerate(zip(answer.body, data, strict=True)) if a != b)
            assert first >= 1_000_000
            assert file.disk_path.read_bytes() == answer.body
            stale = {"If-Unmodified-Since": before}
            assert (await site.ask("GET", f"{FILES}/a", headers=stale)).status == 412
