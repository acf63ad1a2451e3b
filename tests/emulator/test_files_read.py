"""Parts of listings, single files and members of zips (FIL 1.5, FIL 1.6, FIL 3)."""

import io
import zipfile
from xml.etree import ElementTree

import pytest
from emulator.files_kit import CATALOG, whole_zip
from emulator.http_kit import Browser, open_browser
from emulator.seed_kit import BASE, place, put, quoted

from xferengine.emulator.seed import SeedShape, put_file

FILES = f"{BASE}/scans/1/resources/R/files"


async def names(site: Browser, target: str) -> list[str]:
    """Return the paths of a listing."""
    answer = await site.ask("GET", target)
    assert answer.status == 200, answer.text
    return [row["URI"].partition("/files/")[2] for row in answer.rows]


class TestListing:
    async def test_folders_and_the_inverted_recursive(self):
        async with open_browser() as site:
            for path in ("d/a", "d/e/b", "c"):
                put(site, path, scan="1")
            assert await names(site, f"{FILES}/d/") == ["d/a", "d/e/b"]
            assert await names(site, f"{FILES}/d/?recursive=false") == ["d/e/b"]
            assert await names(site, f"{FILES}/d/?recursive=true") == ["d/a", "d/e/b"]

    async def test_pattern_counts_among_several_resources_only(self):
        async with open_browser() as site:
            for label in ("R", "Q"):
                put(site, "a1.txt", label=label, scan="1")
                put(site, "b1.txt", label=label, scan="1")
            assert await names(site, f"{BASE}/scans/1/resources/R,Q/files/a*") == ["a1.txt", "a1.txt"]
            answer = await site.ask("GET", f"{FILES}/a*")
            assert (answer.status, answer.body) == (404, b"")

    async def test_index_needs_no_filter_among_several_resources(self):
        async with open_browser() as site:
            for name in ("a", "b"):
                put(site, name, scan="1")
            assert await names(site, f"{BASE}/scans/1/files?index=1") == ["b"]
            assert await names(site, f"{FILES}?index=1") == ["a", "b"]

    async def test_locators(self):
        async with open_browser() as site:
            file = put(site, "d/a", scan="1")
            (row,) = (await site.ask("GET", f"{FILES}?locator=absolutePath")).rows
            assert ("URI" in row, row["absolutePath"]) == (False, str(file.disk_path))
            (row,) = (await site.ask("GET", f"{FILES}?locator=projectPath")).rows
            assert row["projectPath"] == "arc001/E/SCANS/1/R/d/a"

    async def test_xcat_points_back_to_the_server(self):
        async with open_browser() as site:
            put(site, "d/a b.txt", b"abc", scan="1")
            answer = await site.ask("GET", f"{FILES}?format=xcat")
            assert answer.headers["Content-Disposition"] == 'inline; filename="files.xcat";'
            (entry,) = ElementTree.fromstring(answer.body).iter(f"{CATALOG}entry")
            uri = entry.get("URI")
            assert uri.startswith(f"{site.site.url}/data/projects/P/")
            assert (await site.ask("GET", quoted(uri.removeprefix(site.site.url)))).body == b"abc"

    async def test_tgz_is_no_format(self):
        """FIL 0: an unknown media type gives an HTML table."""
        async with open_browser() as site:
            put(site, "a", scan="1")
            answer = await site.ask("GET", f"{FILES}?format=tgz")
            assert answer.headers["Content-Type"].startswith("text/html")
            assert "<table>" in answer.text

    async def test_sorting(self):
        async with open_browser() as site:
            for name in ("b", "c", "a"):
                put(site, name, scan="1")
            assert await names(site, f"{FILES}?sortBy=Name&sortOrder=DESC") == ["c", "b", "a"]


class TestOneFile:
    @pytest.mark.parametrize(
        ("stored", "url"),
        [
            ("a b.txt", "a%20b.txt"),
            ("a+b.txt", "a+b.txt"),
            ("a+b.txt", "a%2Bb.txt"),
            ("a#b.txt", "a%23b.txt"),
            ("é.txt", "%C3%A9.txt"),
            ("it's (1).txt", "it's%20(1).txt"),
            ("a%23b.txt", "a%23b.txt"),
        ],
    )
    async def test_names_in_urls(self, stored, url):
        """FIL 9.3: raw first, then decoded."""
        async with open_browser() as site:
            put(site, stored, b"abc", scan="1")
            assert (await site.ask("GET", f"{FILES}/{url}")).body == b"abc"

    @pytest.mark.parametrize("url", ["100%25.txt", "a;b.txt"])
    async def test_names_that_the_firewall_keeps_out(self, url):
        async with open_browser() as site:
            put(site, "100%.txt", scan="1")
            put(site, "a;b.txt", scan="1")
            assert (await site.ask("GET", f"{FILES}/{url}")).status == 400

    async def test_media_type_by_extension(self):
        async with open_browser() as site:
            for name in ("a.txt", "a.bin"):
                put(site, name, scan="1")
            for name, kind in (("a.txt", "text/plain"), ("a.bin", "application/octet-stream")):
                assert (await site.ask("GET", f"{FILES}/{name}")).headers["Content-Type"] == kind
            answer = await site.ask("GET", f"{FILES}/a.bin", headers={"Accept": "text/xml"})
            assert answer.headers["Content-Type"] == "*/*"

    async def test_big_file_and_a_range_of_it(self):
        """More than one chunk; offsets inside, over and at the ends of chunks."""
        async with open_browser() as site:
            (big,) = site.site.seed("P", SeedShape(scans=1, files=1, file_bytes=3_000_017))
            data = big.disk_path.read_bytes()
            url = f"/data/experiments/{big.accession}/scans/1/resources/DICOM/files/{big.path}"
            assert (await site.ask("GET", url)).body == data
            for start, stop in ((0, 1), (1_048_575, 2_097_153), (2_999_999, 3_000_017), (17, 3_000_000)):
                answer = await site.ask("GET", url, headers={"Range": f"bytes={start}-{stop - 1}"})
                assert (answer.status, answer.body == data[start:stop]) == (206, True)
                assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(data)}"

    async def test_empty_file(self):
        async with open_browser() as site:
            put(site, "empty", b"", scan="1")
            answer = await site.ask("GET", f"{FILES}/empty")
            assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")

    async def test_time_in_the_future_counts_as_modified(self):
        async with open_browser() as site:
            put(site, "a", scan="1")
            header = {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}
            assert (await site.ask("GET", f"{FILES}/a", headers=header)).status == 200

    async def test_link_out_of_the_resource_is_not_followed(self):
        async with open_browser() as site:
            file = put(site, "a", scan="1")
            file.disk_path.unlink()
            file.disk_path.symlink_to(site.world.data_dir / "world.sqlite")
            assert (await site.ask("GET", f"{FILES}/a")).status == 404
            inner = put_file(site.world, place(scan="1"), "R", "out/world.sqlite", b"x", on_disk=False)
            inner.disk_path.parent.symlink_to(site.world.data_dir)
            assert (await site.ask("GET", f"{FILES}/out/world.sqlite")).status == 404

    async def test_link_within_the_resource_is_followed(self):
        async with open_browser() as site:
            put(site, "a", b"abc", scan="1")
            link = put_file(site.world, place(scan="1"), "R", "b", b"", on_disk=False)
            link.disk_path.symlink_to("a")
            assert (await site.ask("GET", f"{FILES}/b")).body == b"abc"


class TestZipMembers:
    @pytest.mark.parametrize("mark", ["!", "/"])
    async def test_member(self, mark):
        async with open_browser() as site:
            put(site, "d/x.ZIP", whole_zip([("in ner/a.txt", b"abc"), ("b", b"")]), scan="1")
            answer = await site.ask("GET", f"{FILES}/d/x.ZIP{mark}in%20ner/a.txt")
            assert (answer.body, "Content-Length" in answer.headers) == (b"abc", False)
            assert (await site.ask("GET", f"{FILES}/d/x.ZIP{mark}a.txt")).status == 404

    async def test_contents(self):
        async with open_browser() as site:
            put(site, "x.zip", whole_zip([("d/a.txt", b"abc"), ("d/", b"")]), scan="1")
            rows = (await site.ask("GET", f"{FILES}/x.zip?listContents=true")).rows
            assert rows == [{"File Name": "d/a.txt", "Size": "3"}]

    async def test_broken_zip_is_415(self):
        async with open_browser() as site:
            put(site, "x.zip", b"no zip", scan="1")
            for tail in ("?listContents=true", "!a"):
                answer = await site.ask("GET", f"{FILES}/x.zip{tail}")
                assert (answer.status, answer.body) == (415, b"")

    async def test_folder_called_zip_cannot_be_stepped_into(self):
        async with open_browser() as site:
            put(site, "old.zip/a.txt", scan="1")
            assert (await site.ask("GET", f"{FILES}/old.zip/a.txt")).status == 404
            archive = await site.ask("GET", f"{FILES}?format=zip")
            with zipfile.ZipFile(io.BytesIO(archive.body)) as found:
                assert found.namelist() == ["E/resources/R/files/old.zip/a.txt".replace("E/", "E/scans/1/")]


class TestRangesWithoutSize:
    @pytest.mark.parametrize("tail", ["?format=zip", "?format=tar", "?format=json", "?format=xcat", "/x.zip!a"])
    @pytest.mark.parametrize(
        ("span", "status"), [("bytes=0-1", 200), ("bytes=2-", 500), ("bytes=-2", 500), ("bytes=0-0,2-2", 501)]
    )
    async def test_closed_is_ignored_open_is_500(self, tail, span, status):
        """FIL 3."""
        async with open_browser() as site:
            put(site, "x.zip", whole_zip([("a", b"abc")]), scan="1")
            whole = await site.ask("GET", f"{FILES}{tail}")
            assert whole.headers["Accept-Ranges"] == "bytes"
            answer = await site.ask("GET", f"{FILES}{tail}", headers={"Range": span})
            assert answer.status == status
            assert answer.body == whole.body or status != 200
