"""Resources and catalogs: make, list, delete, refresh; the user cache (FIL 1, FIL 4.2, IMP 5.1)."""

import hashlib
from xml.etree import ElementTree

from emulator.core_kit import instances, sop_uid, zipped
from emulator.files_kit import CATALOG, FILES, IMPORT, RESOURCE, put
from emulator.http_kit import SESSION, open_browser


class TestFolders:
    async def test_put_200_then_409(self):
        async with open_browser() as site:
            await site.make_session("1")
            first = await site.ask("PUT", f"{RESOURCE}?format=DICOM&content=C")
            assert (first.status, first.body) == (200, b"")
            again = await site.ask("PUT", RESOURCE)
            assert (again.status, again.message) == (409, "Specified resource already exists.")
            (row,) = (await site.ask("GET", f"{SESSION}/scans/1/resources")).rows
            assert (row["label"], row["format"], row["content"]) == ("R", "DICOM", "C")

    async def test_first_resource_of_a_typed_scan_is_raw(self):
        async with open_browser() as site:
            await site.make_session("1")
            await site.ask("PUT", RESOURCE)
            (row,) = (await site.ask("GET", f"{SESSION}/scans/1/resources")).rows
            assert row["content"] == "RAW"

    async def test_post_without_label(self):
        async with open_browser() as site:
            await site.make_session("1")
            answer = await site.ask("POST", f"{SESSION}/resources")
            assert answer.text == answer.headers["Location"] == "/data/experiments/XNAT_E00001/resources/1"

    async def test_listing(self):
        """FIL 1.2: columns, title and quoted total; `all=true` adds the scans'."""
        async with open_browser() as site:
            await site.make_session("1", "2")
            await site.ask("PUT", f"{SESSION}/resources/X")
            await put(site, "a.txt", b"abc")
            result = (await site.ask("GET", f"{SESSION}/resources?all=true")).json["ResultSet"]
            assert (result["title"], result["totalRecords"]) == ("Resources", "2")
            own, scan = result["Result"]
            assert list(own) == [
                "xnat_abstractresource_id", "label", "element_name", "category", "cat_id", "cat_desc", "file_count",
                "file_size", "tags", "content", "format",
            ]  # fmt: skip
            assert (own["category"], own["cat_id"]) == ("resources", "XNAT_E00001")
            assert (scan["category"], scan["cat_id"], scan["cat_desc"]) == ("scans", "1", "T1")
            assert (scan["file_count"], scan["file_size"]) == ("1", "3")
            assert len((await site.ask("GET", f"{SESSION}/resources")).rows) == 1

    async def test_delete_and_delete_of_nothing_are_200(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt")
            assert (await site.ask("DELETE", RESOURCE)).status == 200
            assert (await site.ask("DELETE", RESOURCE)).status == 200
            assert (await site.ask("GET", f"{SESSION}/scans/1/resources")).rows == []

    async def test_every_level_has_resources(self):
        async with open_browser() as site:
            await site.make_session("1")
            bases = ["/data/projects/P", "/data/projects/P/subjects/S", "/data/subjects/XNAT_S00001", SESSION]
            bases += ["/data/projects/P/experiments/E", "/data/experiments/XNAT_E00001", f"{SESSION}/scans/1"]
            for number, base in enumerate(bases):
                assert (await site.ask("PUT", f"{base}/resources/L{number}")).status == 200
                rows = (await site.ask("GET", f"{base}/resources")).rows
                assert f"L{number}" in [row["label"] for row in rows]

    async def test_extra_path_is_400_and_read_only_403(self):
        async with open_browser() as site:
            await site.make_session("1")
            assert (await site.ask("PUT", f"{RESOURCE}/a.txt")).status == 400
            site.world.add_user("reader", "pw", P="collaborator")
            await site.log_in("reader", "pw")
            answer = await site.ask("PUT", RESOURCE)
            text = "User account doesn't have permission to modify this session."
            assert (answer.status, answer.message) == (403, text)


class TestCatalog:
    async def test_document(self):
        """FIL 1.2, peers 3.1: XML whatever `format=` says; JSON alone is 406."""
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "d/a.txt", b"abc")
            answer = await site.ask("GET", f"{RESOURCE}?format=json")
            assert answer.text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<cat:Catalog')
            (entry,) = ElementTree.fromstring(answer.body).iter(f"{CATALOG}entry")
            assert (entry.get("URI"), entry.get("name")) == ("d/a.txt", "a.txt")
            assert entry.get("digest") == hashlib.md5(b"abc").hexdigest()
            refused = await site.ask("GET", RESOURCE, headers={"Accept": "application/json"})
            assert refused.status == 406

    async def test_dicom_entries_carry_the_uid(self):
        """IMP 7: the exact UID set is the best proof of an upload."""
        async with open_browser(default_prearchive_code=0) as site:
            target = f"{IMPORT}&inbody=true&dest=/archive"
            answer = await site.ask("POST", target, zipped(instances(3)), headers={"Content-Type": "application/zip"})
            assert answer.text == "/data/archive/projects/P/subjects/S/experiments/E\r\n"
            catalog = await site.ask("GET", f"{answer.text.strip()}/scans/4/resources/DICOM")
            root = ElementTree.fromstring(catalog.body)
            assert root.tag == f"{CATALOG}DCMCatalog"
            assert {e.get("UID") for e in root.iter(f"{CATALOG}entry")} == {sop_uid(n) for n in (1, 2, 3)}
            rows = (await site.ask("GET", f"{answer.text.strip()}/scans/ALL/files?format=json")).rows
            assert all(len(row["digest"]) == 32 for row in rows)

    async def test_unknown(self):
        async with open_browser() as site:
            await site.make_session("1")
            answer = await site.ask("GET", RESOURCE)
            assert (answer.status, answer.message) == (404, "Unable to find the specified catalog.")


class TestRefresh:
    async def test_all_operations(self):
        """FIL 4.2: no flag at all is append, checksum, delete and populateStats."""
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt")
            await put(site, "gone.txt")
            (path,) = site.world.data_dir.rglob("gone.txt")
            path.with_name("new.txt").write_bytes(b"new")
            path.with_name("a.txt").write_bytes(b"changed")
            path.unlink()
            target = "/data/services/refresh/catalog?resource=/archive/experiments/XNAT_E00001"
            assert (await site.ask("POST", target)).status == 200
            rows = {row["Name"]: row["digest"] for row in (await site.ask("GET", f"{FILES}?format=json")).rows}
            wanted = {"a.txt": b"changed", "new.txt": b"new"}
            assert rows == {name: hashlib.md5(data).hexdigest() for name, data in wanted.items()}

    async def test_form_and_errors(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt")
            service = "/data/services/refresh/catalog"
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            body = f"resource=/archive{RESOURCE.removeprefix('/data')}&options=append,populateStats"
            assert (await site.ask("POST", service, body, headers=form)).status == 200
            for uri in ("/archive/nothing", "/archive/experiments/Q", f"/archive{FILES.removeprefix('/data')}/a.txt"):
                assert (await site.ask("POST", f"{service}?resource={uri}")).status == 400
            assert (await site.ask("GET", service)).status in (404, 405)
