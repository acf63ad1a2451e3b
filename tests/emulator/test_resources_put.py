"""Uploading files into resources (FIL 1.4, FIL 4.3, FIL 9.3)."""

import asyncio
import gzip
import hashlib

import pytest
from emulator.core_kit import settle, tarred
from emulator.files_kit import FILES, RESOURCE, names, put, whole_zip
from emulator.http_kit import SESSION, open_browser


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
