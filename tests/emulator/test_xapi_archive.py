"""Whole-selection downloads in two steps (FIL 2.2)."""

import io
import json
import re
import zipfile
from xml.etree import ElementTree

import aiohttp
import pytest
from emulator.http_kit import Answer, Browser, open_browser
from emulator.seed_kit import every_level, place, put, unzipped

from xferengine.emulator.seed import SeedPlace, put_file

BASE = "/xapi/archive/download"
JSON = {"Content-Type": "application/json"}


async def post(site: Browser, tail: str = "", headers: dict[str, str] | None = None, **body: object) -> Answer:
    """Send the first step."""
    return await site.ask("POST", BASE + tail, json.dumps(body).encode(), headers=headers or JSON)


def session(site: Browser, labels: str = "P:S:E") -> str:
    """Return session E as the body names it."""
    return f"{labels}:{site.world.find_experiment('P', 'E').id}"


async def download(site: Browser, **body: object) -> dict[str, bytes]:
    """Run both steps with everything of scans selected unless told otherwise."""
    types = {scan.type or None for e in site.world.experiments.values() for scan in e.scans.values()}
    chosen = {"sessions": [session(site)], "projectId": ["P"], "scan_types": list(types), "scan_formats": ["R"]}
    made = await post(site, **(chosen | body))
    assert made.status == 200, made.text
    return unzipped(await site.ask("GET", f"{BASE}/{made.text}/zip"))


class TestFirstStep:
    async def test_id_is_user_and_time(self):
        async with open_browser() as site:
            put(site, "a", scan="1", kind="T1")
            made = await post(site, sessions=[session(site)], projectIds=["P"])
            assert (made.status, made.headers["Content-Type"]) == (200, "application/xml")
            assert re.fullmatch(r"admin-\d{8}_\d{9}\d*", made.text)
            again = await post(site, sessions=[session(site)], projectIds=["P"])
            assert again.text != made.text

    @pytest.mark.parametrize("body", [{}, {"projectId": ["P"]}, {"sessions": ["P:S:E:XNAT_E00001"]}])
    async def test_no_sessions_or_no_project_is_204(self, body):
        async with open_browser() as site:
            assert (await post(site, **body)).status == 204

    async def test_types_of_request_and_answer(self):
        async with open_browser() as site:
            put(site, "a", scan="1")
            body = {"sessions": [session(site)], "projectId": ["P"]}
            assert (await post(site, headers={"Content-Type": "text/plain"}, **body)).status == 415
            assert (await post(site, headers={**JSON, "Accept": "application/json"}, **body)).status == 406
            assert (await site.ask("POST", BASE, b"no json", headers=JSON)).status == 400

    async def test_session_of_another_form_is_500(self):
        async with open_browser() as site:
            assert (await post(site, sessions=["P:E"], projectId=["P"])).status == 500

    async def test_unreadable_session_is_403_without_text(self):
        async with open_browser() as site:
            put_file(site.world, SeedPlace("HIDDEN", "S", "X", "1"), "R", "a", b"x")
            hidden = site.world.find_experiment("HIDDEN", "X").id
            site.world.add_user("reader", "pw", P="collaborator")
            await site.log_in("reader", "pw")
            answer = await post(site, sessions=[f"HIDDEN:S:X:{hidden}"], projectId=["HIDDEN"])
            assert (answer.status, answer.body) == (403, b"")

    async def test_size_is_that_of_the_counters(self):
        async with open_browser() as site:
            file = put(site, "a", b"12345", scan="1", kind="T1")
            put(site, "b", b"", label="Q", scan="1")
            site.world.resources[int(file.resource_id)].file_size = 77
            made = await post(
                site, "withsize", sessions=[session(site)], projectId=["P"], scan_types=["T1"], scan_formats=["R", "Q"]
            )
            assert {key: made.json[key] for key in ("size", "resourcesOfUnknownSize")} == {
                "size": "77",
                "resourcesOfUnknownSize": "1",
            }
            assert (await site.ask("GET", f"{BASE}/{made.json['id']}/zip")).status == 200


class TestSecondStep:
    async def test_entries_are_deflated_and_last_first(self):
        async with open_browser() as site:
            for name in ("a", "b"):
                put(site, name, name.encode() * 1000, scan="1", kind="T1 (ax)/x")
            made = await post(
                site, sessions=[session(site)], projectId=["P"], scan_types=["T1 (ax)/x"], scan_formats=["R"]
            )
            answer = await site.ask("GET", f"{BASE}/{made.text}/zip")
            with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
                front = "E/scans/1-T1__ax__x/resources/R/"
                assert archive.namelist() == [front + "b", front + "a"]
                assert {(info.compress_type, info.flag_bits & 8) for info in archive.infolist()} == {(8, 8)}
            assert answer.headers["Content-Disposition"] == f'attachment; filename="{made.text}.zip"'
            assert not {"Content-Length", "Accept-Ranges"} & set(answer.headers)

    async def test_folders_are_flattened_where_the_scan_has_a_type(self):
        async with open_browser() as site:
            put(site, "d/a", scan="1", kind="T1")
            put(site, "d/b", scan="2")
            assert set(await download(site)) == {"E/scans/1-T1/resources/R/a", "E/scans/2/resources/R/d/b"}
            assert set(await download(site, options=["simplified"])) == {"E/1/R/d/a", "E/2/R/d/b"}

    async def test_equal_base_names_break_the_zip(self):
        async with open_browser() as site:
            for path in ("d/a", "e/a"):
                put(site, path, path.encode(), scan="1", kind="T1")
            with pytest.raises(aiohttp.ClientPayloadError):
                await download(site)
            assert set(await download(site, options=["simplified"])) == {"E/1/R/d/a", "E/1/R/e/a"}

    @pytest.mark.parametrize("missing", ["scan_types", "scan_formats"])
    async def test_without_types_and_formats_all_is_empty(self, missing):
        async with open_browser() as site:
            every_level(site)
            assert await download(site, resources=["R"], **{missing: []}) == {}

    async def test_other_levels(self):
        """Session resources, assessors by type (out only), and reconstructions taken for session resources."""
        async with open_browser() as site:
            every_level(site)
            found = await download(
                site, scan_types=["none"], resources=["R"], assessors=["xnat:qcAssessmentData"], reconstructions=["R"]
            )
            assert found == {
                "E/resources/R/f.txt": b"session",
                "S/E/resources/R/f.txt": b"session",
                "E/assessors/QC/resources/R/f.txt": b"assessor-out",
            }

    @pytest.mark.parametrize(
        ("option", "front"), [("projectIncludedInPath", "p/s/e/"), ("subjectIncludedInPath", "s/e/")]
    )
    async def test_labels_serve_for_paths_only(self, option, front):
        async with open_browser() as site:
            put(site, "a", scan="1")
            found = await download(site, sessions=[session(site, "p:s:e")], options=[option])
            assert set(found) == {f"{front}scans/1/resources/R/a"}

    async def test_missing_files_are_skipped(self):
        async with open_browser() as site:
            put(site, "a", scan="1")
            put_file(site.world, place(scan="1"), "R", "gone", b"x", on_disk=False)
            assert set(await download(site)) == {"E/scans/1/resources/R/a"}

    async def test_dummy_contents(self):
        async with open_browser() as site:
            put(site, "a", b"secret", scan="1", kind="T1")
            made = await post(site, sessions=[session(site)], projectId=["P"], scan_types=["T1"], scan_formats=["R"])
            found = unzipped(await site.ask("GET", f"{BASE}/{made.text}/test"))
            assert set(found) == {"E/scans/1-T1/resources/R/a"}
            assert found.popitem()[1] != b"secret"

    async def test_catalog_document(self):
        async with open_browser() as site:
            put(site, "a", scan="1", kind="T1")
            made = await post(site, sessions=[session(site)], projectId=["P"], scan_types=["T1"], scan_formats=["R"])
            document = await site.ask("GET", f"{BASE}/{made.text}/xml")
            assert ElementTree.fromstring(document.body).get("ID") == made.text
            assert int(document.headers["Content-Length"]) == len(document.body)
            assert (await site.ask("GET", f"{BASE}/{made.text}")).status == 415
            assert (await site.ask("GET", f"{BASE}/{made.text}", headers=JSON)).body == document.body

    async def test_unknown_and_foreign_ids_are_403(self):
        async with open_browser() as site:
            put(site, "a", scan="1", kind="T1")
            made = await post(site, sessions=[session(site)], projectId=["P"])
            site.world.add_user("other", "pw", P="owner")
            await site.log_in("other", "pw")
            for name in (made.text, "other-20240101_000000000"):
                answer = await site.ask("GET", f"{BASE}/{name}/zip")
                assert (answer.status, answer.body) == (403, b"")

    async def test_can_be_downloaded_again(self):
        async with open_browser() as site:
            put(site, "a", b"abc", scan="1", kind="T1")
            made = await post(site, sessions=[session(site)], projectId=["P"], scan_types=["T1"], scan_formats=["R"])
            for _ in range(2):
                assert list(unzipped(await site.ask("GET", f"{BASE}/{made.text}/zip")).values()) == [b"abc"]
