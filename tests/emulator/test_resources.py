"""Resources, catalogs and files: make, put, list, get, delete, refresh (FIL 1, FIL 3, FIL 4)."""

import asyncio
import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from emulator.core_kit import instances, settle, sop_uid, tarred, zipped
from emulator.http_kit import SESSION, Browser, open_browser

RESOURCE = f"{SESSION}/scans/1/resources/R"
FILES = f"{RESOURCE}/files"
IMPORT = "/data/services/import?import-handler=DICOM-zip&project=P&subject=S&session=E"
COLUMNS = ["Name", "Size", "URI", "collection", "file_tags", "file_format", "file_content", "cat_ID", "digest"]
CATALOG = "{http://nrg.wustl.edu/catalog}"


async def put(site: Browser, name: str, data: bytes = b"x", query: str = ""):
    """PUT a file into the resource."""
    return await site.ask("PUT", f"{FILES}/{name}?inbody=true{query}", data)


async def names(site: Browser, target: str = FILES) -> list[str]:
    """Return the names of a listing."""
    return [row["Name"] for row in (await site.ask("GET", f"{target}?format=json")).rows]


def whole_zip(members: list[tuple[str, bytes]]) -> bytes:
    """Return a zip with its directory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


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


class TestPut:
    async def test_stored_is_200_text_plain_empty(self):
        async with open_browser() as site:
            await site.make_session("1")
            answer = await put(site, "d/a.txt", b"abc")
            kind = answer.headers["Content-Type"].partition(";")[0]
            assert (answer.status, kind, answer.body) == (200, "text/plain", b"")

    async def test_existing_answers_duplicates_and_keeps_the_old(self):
        """FIL 1.4: a 200 with text/html."""
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt", b"old")
            answer = await put(site, "a.txt", b"new")
            assert (answer.status, answer.json) == (200, {"duplicates": ["a.txt"]})
            assert (await site.ask("GET", f"{FILES}/a.txt")).body == b"old"

    async def test_overwrite(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt", b"old")
            assert (await put(site, "a.txt", b"newer", "&overwrite=true")).body == b""
            (row,) = (await site.ask("GET", f"{FILES}?format=json")).rows
            assert (row["Size"], row["digest"]) == ("5", hashlib.md5(b"newer").hexdigest())

    async def test_content_type_alone_makes_it_in_body_with_a_made_up_name(self):
        async with open_browser() as site:
            await site.make_session("1")
            answer = await site.ask("POST", FILES, b"abc", headers={"Content-Type": "text/csv"})
            assert answer.status == 200
            assert await names(site) == ["upload.csv"]

    @pytest.mark.parametrize(
        ("kind", "data", "query", "status"),
        [
            ("application/octet-stream", b"", "", 500),
            ("application/zip", b"", "", 200),
            ("strange/type", b"abc", "", 400),
            ("strange/type", b"abc", "?inbody=true", 200),
            ("strange/type", b"", "", 400),
            ("application/x-www-form-urlencoded", b"a=b", "", 400),
        ],
    )
    async def test_body_forms(self, kind, data, query, status):
        """FIL 1.4: zero length is a 500 unless application/zip; unusable types are 400."""
        async with open_browser() as site:
            await site.make_session("1")
            answer = await site.ask("PUT", f"{FILES}/a.bin{query}", data, headers={"Content-Type": kind})
            assert answer.status == status

    @pytest.mark.parametrize(("kind", "status"), [("application/octet-stream", 500), ("application/zip", 200)])
    async def test_chunked_must_claim_to_be_a_zip(self, kind, status):
        async def chunks():
            yield b"abc"

        async with open_browser() as site:
            await site.make_session("1")
            answer = await site.ask("PUT", f"{FILES}/a.bin", chunks(), headers={"Content-Type": kind})
            assert answer.status == status

    async def test_multipart_names_and_zero_bytes(self):
        async with open_browser() as site:
            await site.make_session("1")
            body = b"".join(
                b'--B\r\nContent-Disposition: form-data; name="f"; filename="%s"\r\n\r\n%s\r\n' % part
                for part in ((b"dir/a#1.txt", b"one"), (b"b.txt", b""))
            )
            headers = {"Content-Type": "multipart/form-data; boundary=B"}
            answer = await site.ask("POST", FILES, body + b"--B--\r\n", headers=headers)
            assert answer.status == 200, answer.text
            assert await names(site) == ["a#1.txt", "b.txt"]
            assert (await site.ask("GET", f"{FILES}/a%231.txt")).body == b"one"

    async def test_without_edit_right_200_and_nothing_stored(self):
        async with open_browser() as site:
            await site.make_session("1")
            site.world.add_user("reader", "pw", P="collaborator")
            await site.log_in("reader", "pw")
            answer = await put(site, "a.txt")
            assert (answer.status, answer.body) == (200, b"")
            assert site.world.resources == {}

    @pytest.mark.parametrize("sort", ["zip", "tar", "tar.gz", "tgz"])
    async def test_extract(self, sort):
        """FIL 1.4: by file name, members at the resource root, existing ones listed, the archive not kept."""
        members = [("d/a.txt", b"one"), ("b.txt", b"two")]
        data = whole_zip(members) if sort == "zip" else tarred(members, "w:gz" if "gz" in sort else "w")
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "b.txt", b"old")
            answer = await put(site, f"sub/up.{sort}", data, "&extract=true")
            assert answer.json == {"duplicates": ["b.txt"]}
            assert sorted(await names(site)) == ["a.txt", "b.txt"]
            assert (await site.ask("GET", f"{FILES}/d/a.txt")).body == b"one"
            assert (await site.ask("GET", f"{FILES}/b.txt")).body == b"old"

    async def test_extract_goes_by_lower_case_name_and_unpacks_a_lone_gz(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "A.ZIP", whole_zip([("x", b"1")]), "&extract=true")
            await put(site, "x.nii.gz", gzip.compress(b"image"), "&extract=true")
            assert await names(site) == ["A.ZIP", "x.nii"]
            assert (await site.ask("GET", f"{FILES}/x.nii")).body == b"image"

    @pytest.mark.parametrize("member", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "a\\b"])
    async def test_extract_never_leaves_the_resource(self, member):
        async with open_browser() as site:
            await site.make_session("1")
            assert (await put(site, "a.zip", whole_zip([(member, b"x")]), "&extract=true")).status == 500
            assert not list(site.world.data_dir.rglob("out.txt"))

    async def test_broken_archive_is_500(self):
        async with open_browser() as site:
            await site.make_session("1")
            assert (await put(site, "a.zip", b"no zip", "&extract=true")).status == 500

    async def test_path_never_leaves_the_resource(self):
        async with open_browser(firewall=False) as site:
            await site.make_session("1")
            for name in ("../x.txt", "a/../../x.txt", "a//x.txt", "%20/../../x.txt"):
                assert (await put(site, name)).status == 400

    async def test_names(self):
        """FIL 9.3: one `%20` or `%2B` decodes the whole path, otherwise escapes are stored as text."""
        async with open_browser() as site:
            await site.make_session("1")
            for name in ("a%20b.txt", "a%2Bb.txt", "a+b.txt", "a%23b.txt", "%C3%A9.txt", "%C3%A9%20.txt"):
                await put(site, name, b"1", "&overwrite=true")
            stored = ["a b.txt", "a+b.txt", "a%23b.txt", "%C3%A9.txt", "é .txt"]
            assert sorted(await names(site)) == sorted(stored)

    async def test_attributes_reach_entry_and_resource(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt", b"x", "&format=json&content=C&tags=t1")
            (row,) = (await site.ask("GET", f"{FILES}?format=json")).rows
            assert (row["file_format"], row["file_content"], row["file_tags"]) == ("json", "C", "t1")
            (resource,) = (await site.ask("GET", f"{SESSION}/scans/1/resources")).rows
            assert (resource["format"], resource["tags"]) == ("json", "t1")

    async def test_update_stats_false_leaves_the_counters(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt")
            await put(site, "b.txt", b"x", "&update-stats=false")
            (row,) = (await site.ask("GET", f"{SESSION}/scans/1/resources")).rows
            assert row["file_count"] == "1"
            assert len(await names(site)) == 2

    async def test_files_shortcut_takes_the_first_resource(self):
        async with open_browser() as site:
            await site.make_session("1")
            await site.ask("PUT", RESOURCE)
            await site.ask("PUT", f"{SESSION}/scans/1/files/a.txt?inbody=true", b"x")
            assert await names(site) == ["a.txt"]

    async def test_no_checksums(self):
        async with open_browser(checksums=False) as site:
            await site.make_session("1")
            await put(site, "a.txt")
            assert (await site.ask("GET", f"{FILES}?format=json")).rows[0]["digest"] == ""


class TestConcurrentPut:
    async def test_second_to_finish_is_500_and_its_file_an_orphan(self):
        """FIL 4.3: catalog snapshot at the start; a retry answers duplicates, overwrite or refresh repairs."""

        async def slow():
            started.set()
            yield b"slow "
            await go_on.wait()
            yield b"one"

        started, go_on = asyncio.Event(), asyncio.Event()
        async with open_browser() as site:
            await site.make_session("1")
            await site.ask("PUT", RESOURCE)
            target = f"{FILES}/slow.bin"
            headers = {"Content-Type": "application/zip"}
            task = asyncio.create_task(site.ask("PUT", target, slow(), headers=headers))
            await started.wait()
            while not list(site.world.data_dir.rglob("slow.bin")):
                await settle(1)
            assert (await put(site, "fast.txt")).status == 200
            go_on.set()
            answer = await task
            assert (answer.status, "since I last read it" in answer.message) == (500, True)
            assert await names(site) == ["fast.txt"]
            assert (await put(site, "slow.bin")).json == {"duplicates": ["slow.bin"]}
            refresh = f"/data/services/refresh/catalog?resource=/archive{RESOURCE.removeprefix('/data')}&append=true"
            assert (await site.ask("POST", refresh)).status == 200
            assert sorted(await names(site)) == ["fast.txt", "slow.bin"]

    async def test_cut_body_leaves_a_partial_file_without_an_entry(self):
        """FIL 1.4, streaming notes."""
        async with open_browser() as site:
            await site.make_session("1")
            await site.ask("PUT", RESOURCE)
            _, writer = await asyncio.open_connection("127.0.0.1", site.site.port)
            head = f"PUT {FILES}/a.bin?inbody=true HTTP/1.1\r\nHost: x\r\nCookie: JSESSIONID={site.cookie}\r\n"
            writer.write(f"{head}Content-Length: 100\r\n\r\nhalf".encode())
            await writer.drain()
            while not list(site.world.data_dir.rglob("a.bin")):
                await settle(1)
            writer.close()
            await writer.wait_closed()
            while not site.site.requests.matching("a.bin"):
                await settle(1)
            assert await names(site) == []
            assert (await put(site, "a.bin")).json == {"duplicates": ["a.bin"]}


class TestListing:
    async def test_columns_wrapper_and_uri(self):
        """FIL 1.5: no totalRecords; accession and numeric ids, never labels."""
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "d/a b.txt".replace(" ", "%20"), b"abc")
            result = (await site.ask("GET", FILES)).json["ResultSet"]
            assert result["Columns"] == [{"key": "URI", "serverRoot": ""}]
            assert (result["title"], "totalRecords" in result) == ("Files", False)
            (row,) = result["Result"]
            assert list(row) == COLUMNS
            base = "/data/projects/P/subjects/XNAT_S00001/experiments/XNAT_E00001/scans/1"
            assert row["URI"] == f"{base}/resources/1/files/d/a b.txt"
            assert (row["collection"], row["cat_ID"], row["Size"]) == ("R", "1", "3")

    async def test_several_resources(self):
        async with open_browser() as site:
            await site.make_session("1", "2")
            await put(site, "a.txt")
            await site.ask("PUT", f"{SESSION}/scans/2/resources/R/files/b.txt?inbody=true", b"x")
            await site.ask("PUT", f"{SESSION}/resources/X/files/c.txt?inbody=true", b"x")
            for slot, wanted in (("ALL", "ab"), ("*", "ab"), ("1,2", "ab"), ("T1", "ab"), ("2", "b")):
                found = await names(site, f"{SESSION}/scans/{slot}/files")
                assert found == [f"{letter}.txt" for letter in wanted]
            rows = (await site.ask("GET", "/data/experiments/XNAT_E00001/files?all=true")).rows
            assert sorted(row["Name"] for row in rows) == ["a.txt", "b.txt", "c.txt"]
            uris = {row["URI"] for row in rows}
            assert "/data/experiments/XNAT_E00001/scans/2/resources/2/files/b.txt" in uris

    async def test_numeric_resource_id(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt")
            assert await names(site, f"{SESSION}/scans/1/resources/1/files") == ["a.txt"]

    async def test_get_falls_through_to_the_parent(self):
        """FIL 1.1: an unknown child gives 200 with the parent's data; a bare accession nothing to fall back to."""
        async with open_browser() as site:
            await site.make_session("1")
            await site.ask("PUT", "/data/projects/P/subjects/S/resources/SUBJ/files/s.txt?inbody=true", b"x")
            for target in (f"{SESSION}/scans/9/files", "/data/projects/P/subjects/S/experiments/Q/files"):
                assert await names(site, target) == ["s.txt"]
            assert (await site.ask("GET", "/data/experiments/Q/resources")).status == 404
            assert (await site.ask("GET", "/data/experiments/Q/files")).status == 500
            assert (await site.ask("PUT", f"{SESSION}/scans/9/resources/R")).status == 404

    async def test_filters_and_index(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt", b"x", "&content=A&format=F")
            await put(site, "b.txt", b"x", "&content=A")
            await put(site, "c.txt")

            async def found(query):
                return [row["Name"] for row in (await site.ask("GET", f"{FILES}?{query}")).rows]

            assert await found("file_content=A") == ["a.txt", "b.txt"]
            assert await found("file_content=A&index=1") == ["b.txt"]
            assert await found("index=1") == ["a.txt", "b.txt", "c.txt"]
            assert await found("file_content=NULL") == ["c.txt"]
            assert await found("file_format=F") == ["a.txt"]
            assert await found("file_format=NULL") == []

    async def test_folder(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "d/a.txt")
            await put(site, "b.txt")
            assert await names(site, f"{FILES}/d/") == ["a.txt"]

    async def test_locator(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt")
            (row,) = (await site.ask("GET", f"{FILES}?locator=absolutePath")).rows
            assert Path(row["absolutePath"]).read_bytes() == b"x"


class TestGetOne:
    async def test_headers(self):
        """FIL 1.6, FIL 3: trailing semicolon, Last-Modified, no ETag, Accept-Ranges."""
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt", b"0123456789")
            answer = await site.ask("GET", f"{FILES}/a.txt")
            assert answer.headers["Content-Disposition"] == 'attachment; filename="a.txt";'
            assert answer.headers["Content-Length"] == "10"
            assert "Last-Modified" in answer.headers
            assert "ETag" not in answer.headers
            assert answer.headers["Accept-Ranges"] == "bytes"

    @pytest.mark.parametrize(
        ("span", "status", "body", "content"),
        [
            ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
            ("bytes=7-", 206, b"789", "bytes 7-9/10"),
            ("bytes=-3", 206, b"789", "bytes 7-9/10"),
            ("bytes=0-1,4-5", 501, None, None),
            ("bytes=10-", 206, b"", "bytes 10-9/10"),
        ],
    )
    async def test_ranges(self, span, status, body, content):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt", b"0123456789")
            answer = await site.ask("GET", f"{FILES}/a.txt", headers={"Range": span, "If-Range": '"x"'})
            assert answer.status == status
            if body is not None:
                assert (answer.body, answer.headers["Content-Range"]) == (body, content)

    async def test_range_past_the_end_announces_more_than_follows(self):
        """FIL 3: never 416."""
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt", b"0123456789")
            reader, writer = await asyncio.open_connection("127.0.0.1", site.site.port)
            head = f"GET {FILES}/a.txt HTTP/1.1\r\nHost: x\r\nCookie: JSESSIONID={site.cookie}\r\n"
            writer.write(f"{head}Range: bytes=8-19\r\n\r\n".encode())
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 206")
            assert b"Content-Length: 12" in answer
            assert answer.endswith(b"\r\n\r\n89")
            writer.close()

    async def test_conditions(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt")
            modified = (await site.ask("GET", f"{FILES}/a.txt")).headers["Last-Modified"]
            old = "Mon, 01 Jan 2001 00:00:00 GMT"
            for header, value, status in (
                ("If-Unmodified-Since", modified, 200),
                ("If-Unmodified-Since", old, 412),
                ("If-Modified-Since", modified, 304),
                ("If-Modified-Since", old, 200),
                ("If-Match", '"x"', 412),
                ("If-Match", "*", 200),
                ("If-None-Match", "*", 200),
            ):
                assert (await site.ask("GET", f"{FILES}/a.txt", headers={header: value})).status == status

    async def test_unknown_is_404_empty_or_204(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt")
            answer = await site.ask("GET", f"{FILES}/b.txt")
            assert (answer.status, answer.body) == (404, b"")
            assert (await site.ask("GET", f"{FILES}/b.txt?accept-not-found=true")).status == 204

    async def test_accept_octet_stream_alone_is_406(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt")
            answer = await site.ask("GET", f"{FILES}/a.txt", headers={"Accept": "application/octet-stream"})
            assert answer.status == 406

    async def test_gz_twin_is_sent_as_it_is(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.nii")
            (path,) = site.world.data_dir.rglob("a.nii")
            path.with_name("a.nii.gz").write_bytes(b"zipped")
            path.unlink()
            answer = await site.ask("GET", f"{FILES}/a.nii")
            assert (answer.body, "a.nii.gz" in answer.headers["Content-Disposition"]) == (b"zipped", True)


class TestArchives:
    async def files(self, site: Browser) -> None:
        """Two scans and a session resource."""
        await site.make_session("1", "2")
        await put(site, "d/a.txt", b"one")
        await site.ask("PUT", f"{SESSION}/scans/2/resources/R/files/b.txt?inbody=true", b"x" * 100000)
        await site.ask("PUT", f"{SESSION}/resources/X/files/c.txt?inbody=true", b"three")

    @pytest.mark.parametrize(
        ("compression", "method"), [("", zipfile.ZIP_STORED), ("&compression=8", zipfile.ZIP_DEFLATED)]
    )
    async def test_zip(self, compression, method):
        """FIL 2.1: STORED by default with sizes in the local header, chunked, no length."""
        async with open_browser() as site:
            await self.files(site)
            answer = await site.ask("GET", f"{SESSION}/scans/ALL/files?format=zip{compression}")
            assert answer.headers["Content-Disposition"] == 'attachment; filename="E.zip";'
            assert "Content-Length" not in answer.headers
            with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
                assert archive.testzip() is None
                names = ["E/scans/1-T1/resources/R/files/d/a.txt", "E/scans/2-T1/resources/R/files/b.txt"]
                assert archive.namelist() == names
                assert {info.compress_type for info in archive.infolist()} == {method}
                assert all((info.flag_bits & 8 == 0) == (method == zipfile.ZIP_STORED) for info in archive.infolist())

    @pytest.mark.parametrize(("name", "mode"), [("tar", "r:"), ("tar.gz", "r:gz")])
    async def test_tar(self, name, mode):
        async with open_browser() as site:
            await self.files(site)
            answer = await site.ask("GET", f"/data/experiments/XNAT_E00001/files?all=true&format={name}")
            with tarfile.open(fileobj=io.BytesIO(answer.body), mode=mode) as archive:
                found = {info.name: archive.extractfile(info).read() for info in archive}
            assert found["E/scans/1/resources/R/files/d/a.txt"] == b"one"
            assert found["E/resources/X/files/c.txt"] == b"three"
            assert len(found) == 3

    @pytest.mark.parametrize(
        ("structure", "path"),
        [
            ("simplified", "E/scans/1/R/d/a.txt"),
            ("improved", "scans/1_T1/R/d/a.txt"),
            ("legacy", "E/SCANS/1/R/d/a.txt"),
        ],
    )
    async def test_structures(self, structure, path):
        async with open_browser() as site:
            await self.files(site)
            answer = await site.ask("GET", f"{SESSION}/scans/1/files?format=zip&structure={structure}")
            with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
                assert archive.namelist() == [path]

    async def test_empty_is_404(self):
        async with open_browser() as site:
            await site.make_session("1")
            await site.ask("PUT", RESOURCE)
            assert (await site.ask("GET", f"{FILES}?format=zip")).status == 404
            assert (await site.ask("GET", f"{FILES}?format=zip&accept-not-found=1")).status == 204


class TestDelete:
    async def test_prefix_is_deleted(self):
        """FIL 1.7."""
        async with open_browser() as site:
            await site.make_session("1")
            for name in ("a/1", "a/10.dcm", "b"):
                await put(site, name)
            assert (await site.ask("DELETE", f"{FILES}/a/1")).status == 200
            assert await names(site) == ["b"]
            missing = await site.ask("DELETE", f"{FILES}/zzz")
            assert (missing.status, missing.message) == (404, "No matched files")
            assert (await site.ask("DELETE", FILES)).status == 200
            assert await names(site) == []

    async def test_remove_files_false_keeps_the_bytes(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt")
            await site.ask("DELETE", f"{FILES}/a.txt?removeFiles=false")
            assert (await put(site, "a.txt")).json == {"duplicates": ["a.txt"]}

    async def test_unknown_resource_is_400_and_member_403(self):
        async with open_browser() as site:
            await site.make_session("1")
            assert (await site.ask("DELETE", f"{FILES}/a")).status == 400
            await put(site, "a.txt")
            site.world.add_user("member", "pw", P="member")
            await site.log_in("member", "pw")
            assert (await site.ask("DELETE", f"{FILES}/a.txt")).status == 403


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


class TestUserCache:
    async def test_put_then_import_by_src(self):
        """IMP 5.1, IMP 1.3."""
        async with open_browser() as site:
            cache = "/user/cache/resources/UP/files/a.zip"
            assert (await site.ask("PUT", f"/data{cache}?inbody=true", zipped(instances(2)))).status == 200
            answer = await site.ask("POST", f"{IMPORT}&src={cache}")
            assert (answer.status, answer.text.startswith("/data/prearchive/projects/P/")) == (200, True)

    async def test_inverted_flag(self):
        """FIL 1.8: a file's URL lists or deletes the folder, the folder's own URLs are unknown."""
        async with open_browser() as site:
            base = "/data/user/cache/resources"
            assert (await site.ask("PUT", f"{base}/X")).status == 200
            assert (await site.ask("PUT", f"{base}/X")).status == 412
            await site.ask("PUT", f"{base}/X/files/d/a.txt?inbody=true", b"abc")
            assert (await site.ask("GET", base)).body == b""
            assert (await site.ask("GET", f"{base}/X")).status == 404
            assert (await site.ask("GET", f"{base}/X/files")).status == 404
            answer = await site.ask("GET", f"{base}/X/files/d/a.txt?format=json")
            assert ([row["Name"] for row in answer.rows], answer.json["ResultSet"]["totalRecords"]) == (["a.txt"], "1")
            assert (await site.ask("DELETE", f"{base}/X")).status == 404
            assert (await site.ask("DELETE", f"{base}/X/files/d/a.txt")).status == 200
            assert (await site.ask("GET", f"{base}/X/files/d/a.txt")).status == 404
