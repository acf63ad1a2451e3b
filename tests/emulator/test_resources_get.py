"""Listing, reading and deleting files; archives (FIL 1.5 - 1.7, FIL 2.1, FIL 3)."""

import asyncio
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from emulator.files_kit import COLUMNS, FILES, RESOURCE, names, put
from emulator.http_kit import SESSION, Browser, open_browser


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

    async def test_head(self):
        """FIL 3: the full logic, headers only; archives without a length."""
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt", b"0123456789")
            answer = await site.ask("HEAD", f"{FILES}/a.txt")
            assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "10", b"")
            archive = await site.ask("HEAD", f"{FILES}?format=zip")
            assert (archive.status, "Content-Length" in archive.headers, archive.body) == (200, False, b"")

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
