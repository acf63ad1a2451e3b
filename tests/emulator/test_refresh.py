"""Refreshing catalogs, one operation at a time (FIL 4.2)."""

import hashlib
import json

import pytest
from emulator.files_kit import FILES, RESOURCE, put
from emulator.http_kit import SESSION, open_browser

SERVICE = "/data/services/refresh/catalog"
URI = f"/archive{RESOURCE.removeprefix('/data')}"
XAPI = "/xapi/archive/catalogs/refresh"
JSON = {"Content-Type": "application/json"}


async def disturb(site):
    """Make files a (changed on disk), gone (deleted on disk) and new (only on disk)."""
    await site.make_session("1")
    await put(site, "a", b"a")
    await put(site, "gone", b"gone")
    folder = site.world.data_dir / "archive/P/arc001/E/SCANS/1/R"
    (folder / "a").write_bytes(b"changed")
    (folder / "gone").unlink()
    (folder / "d").mkdir()
    (folder / "d" / "new").write_bytes(b"new")
    (folder / ".~lock-9").write_bytes(b"")
    return folder


async def state(site):
    """Return entries with digests, and the database's counter."""
    rows = (await site.ask("GET", f"{FILES}?format=json")).rows
    (resource,) = (await site.ask("GET", f"{SESSION}/scans/1/resources")).rows
    return {row["Name"]: row["digest"] for row in rows}, resource["file_count"]


def md5(data: bytes) -> str:
    """Return the digest as listings show it."""
    return hashlib.md5(data).hexdigest()


class TestOperations:
    @pytest.mark.parametrize(
        ("query", "entries", "count"),
        [
            ("append=true", {"a": md5(b"a"), "gone": md5(b"gone"), "new": ""}, "2"),
            ("delete=true", {"a": md5(b"a")}, "2"),
            ("checksum=true", {"a": md5(b"changed"), "gone": md5(b"gone")}, "2"),
            ("populateStats=true", {"a": md5(b"a"), "gone": md5(b"gone")}, "2"),
            ("options=append,populateStats", {"a": md5(b"a"), "gone": md5(b"gone"), "new": ""}, "3"),
            ("append=false&options=delete", {"a": md5(b"a")}, "2"),
            ("", {"a": md5(b"changed"), "new": md5(b"new")}, "2"),
        ],
    )
    async def test_one_by_one(self, query, entries, count):
        """FIL 4.2: counters move with populateStats only; no flag at all is everything."""
        async with open_browser() as site:
            await disturb(site)
            assert (await site.ask("POST", f"{SERVICE}?resource={URI}&{query}")).status == 200
            assert await state(site) == (entries, count)

    async def test_without_site_checksums_everything_is_not_checksum(self):
        async with open_browser(checksums=False) as site:
            await disturb(site)
            await site.ask("POST", f"{SERVICE}?resource={URI}")
            assert await state(site) == ({"a": "", "new": ""}, "2")
            await site.ask("POST", f"{SERVICE}?resource={URI}&checksum=true")
            assert (await state(site))[0] == {"a": md5(b"changed"), "new": md5(b"new")}

    @pytest.mark.parametrize(
        "uri",
        [
            "/archive/projects/P",
            "/archive/projects/P/subjects/S",
            "/archive/experiments/XNAT_E00001",
            "/data/archive/projects/P/subjects/S/experiments/E/scans/1",
            "/experiments/XNAT_E00001/scans/1/resources/R",
        ],
    )
    async def test_a_parent_means_all_below(self, uri):
        async with open_browser() as site:
            await disturb(site)
            assert (await site.ask("POST", f"{SERVICE}?resource={uri}&options=append")).status == 200
            assert set((await state(site))[0]) == {"a", "gone", "new"}

    async def test_several_in_a_form(self):
        async with open_browser() as site:
            await disturb(site)
            await site.ask("PUT", f"{SESSION}/resources/X/files/b?inbody=true", b"b")
            (site.world.data_dir / "archive/P/arc001/E/RESOURCES/X/c").write_bytes(b"c")
            body = f"resource={URI}&resource=/archive/experiments/XNAT_E00001/resources/X&append=true"
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            assert (await site.ask("POST", SERVICE, body, headers=form)).status == 200
            assert len((await state(site))[0]) == 3
            assert len((await site.ask("GET", f"{SESSION}/resources/X/files?format=json")).rows) == 2


class TestNothingHappens:
    async def test_a_second_catalog_in_the_folder(self):
        """FIL 4.2: a silent 200."""
        async with open_browser() as site:
            folder = await disturb(site)
            before = await state(site)
            (folder / "copy_catalog.xml").write_bytes(b"<x/>")
            assert (await site.ask("POST", f"{SERVICE}?resource={URI}")).status == 200
            assert await state(site) == before

    @pytest.mark.parametrize(
        ("uri", "status"),
        [
            ("/archive/experiments/Q", 400),
            ("/archive/nothing/x", 400),
            ("/archive/experiments", 400),
            (f"{URI}/files/a", 400),
            ("/archive/experiments/XNAT_E00001/resources/Q", 400),
        ],
    )
    async def test_errors(self, uri, status):
        async with open_browser() as site:
            await disturb(site)
            assert (await site.ask("POST", f"{SERVICE}?resource={uri}")).status == status
            answer = await site.ask("PUT", XAPI, json.dumps([uri]), headers=JSON)
            assert answer.status == 500

    async def test_rights_and_get(self):
        async with open_browser() as site:
            await disturb(site)
            assert (await site.ask("GET", f"{SERVICE}?resource={URI}")).status == 404
            site.world.add_user("reader", "pw", P="collaborator")
            await site.log_in("reader", "pw")
            assert (await site.ask("POST", f"{SERVICE}?resource={URI}")).status == 403
            answer = await site.ask("PUT", XAPI, json.dumps([URI]), headers=JSON)
            assert (answer.status, answer.body) == (403, b"")


class TestXapi:
    @pytest.mark.parametrize(
        ("operation", "wanted"),
        [
            ("", {"a", "new"}),
            ("/All", {"a", "new"}),
            ("/Append", {"a", "gone", "new"}),
            ("/Delete", {"a"}),
            ("/PopulateStats", {"a", "gone"}),
            ("/Checksum", {"a", "gone"}),
        ],
    )
    async def test_operations(self, operation, wanted):
        async with open_browser() as site:
            await disturb(site)
            assert (await site.ask("PUT", XAPI + operation, json.dumps([URI]), headers=JSON)).status == 200
            assert set((await state(site))[0]) == wanted

    async def test_bodies_that_are_refused(self):
        async with open_browser() as site:
            await site.make_session("1")
            assert (await site.ask("PUT", XAPI, "[]")).status == 415
            assert (await site.ask("PUT", XAPI, "{", headers=JSON)).status == 400
            assert (await site.ask("PUT", XAPI, '{"a": 1}', headers=JSON)).status == 400
            assert (await site.ask("PUT", f"{XAPI}/Nothing", "[]", headers=JSON)).status == 500
