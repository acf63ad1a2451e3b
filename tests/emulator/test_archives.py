"""The bytes of archives: methods, sizes, cuts (FIL 2.1)."""

import asyncio
import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from emulator.http_kit import Browser, open_browser
from emulator.seed_kit import BASE, place, put, untarred, unzipped

from xferengine.emulator import tables
from xferengine.emulator.archive_members import ArchiveFailed, Member
from xferengine.emulator.archives import archive_chunks, tar_pieces
from xferengine.emulator.seed import SeedShape, put_file
from xferengine.emulator.zipwrite import zip_pieces

ZIP = f"{BASE}/scans/1/files?format=zip"


def members(folder: Path, **files: bytes) -> list[Member]:
    """Write files and return them as members."""
    found = []
    for name, data in files.items():
        (folder / name).write_bytes(data)
        found.append(Member(name, folder / name))
    return found


async def raw(site: Browser, target: str) -> bytes:
    """Return all that comes before the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.site.port)
    head = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: JSESSIONID={site.cookie}\r\n\r\n"
    writer.write(head.encode())
    try:
        return await reader.read()
    finally:
        writer.close()


class TestZip:
    @pytest.mark.parametrize("query", ["", "&compression=8", "&compression=0"])
    async def test_many_files_come_whole(self, query):
        async with open_browser() as site:
            files = site.site.seed("P", SeedShape(scans=1, files=300, file_bytes=9001))
            target = f"/data/experiments/{files[0].accession}/scans/1/files?format=zip{query}"
            answer = await site.ask("GET", target)
            assert list(unzipped(answer).values()) == [file.disk_path.read_bytes() for file in files]
            assert answer.headers["Transfer-Encoding"] == "chunked"
            assert not {"Content-Length", "Last-Modified", "ETag"} & set(answer.headers)

    @pytest.mark.parametrize("deflate", [False, True])
    def test_sizes_around_a_read(self, tmp_path, deflate):
        sizes = (0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20)
        contents = {f"f{size}": os.urandom(size) for size in sizes}
        data = b"".join(zip_pieces(members(tmp_path, **contents), deflate=deflate))
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None
            assert {name: archive.read(name) for name in archive.namelist()} == contents

    def test_stored_has_sizes_in_front_deflated_behind(self, tmp_path):
        files = members(tmp_path, a=b"abc" * 100)
        flags, method, crc, packed, size = struct.unpack_from("<HH4xIII", b"".join(zip_pieces(files, deflate=False)), 6)
        assert (flags, method, packed, size, crc != 0) == (0x800, 0, 300, 300, True)
        data = b"".join(zip_pieces(files, deflate=True))
        assert struct.unpack_from("<HH4xIII", data, 6) == (0x808, 8, 0, 0, 0)
        assert b"PK\x07\x08" in data

    def test_a_changed_file_has_a_new_crc(self, tmp_path):
        """CRCs of big files are remembered, but not beyond a change."""
        (file,) = members(tmp_path, big=bytes(2 << 20))
        first = b"".join(zip_pieces([file], deflate=False))
        assert b"".join(zip_pieces([file], deflate=False)) == first
        file.path.write_bytes(b"\x01" * (2 << 20))
        os.utime(file.path, ns=(1, 1))
        with zipfile.ZipFile(io.BytesIO(b"".join(zip_pieces([file], deflate=False)))) as archive:
            assert archive.testzip() is None

    def test_more_members_than_16_bits_count(self, tmp_path):
        (file,) = members(tmp_path, empty=b"")
        many = [Member(f"{number}", file.path, b"") for number in range(65_537)]
        with zipfile.ZipFile(io.BytesIO(b"".join(zip_pieces(many, deflate=False)))) as archive:
            assert len(archive.infolist()) == 65_537

    def test_names_are_utf8(self, tmp_path):
        (file,) = members(tmp_path, x=b"")
        data = b"".join(zip_pieces([Member("é/日", file.path)], deflate=False))
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.namelist() == ["é/日"]

    async def test_other_compressions(self):
        """FIL 2.1: a non-number is 400, another integer fails at write time, after the 200."""
        async with open_browser() as site:
            put(site, "a", scan="1")
            assert (await site.ask("GET", f"{ZIP}&compression=best")).status == 400
            answer = await site.ask("GET", f"{ZIP}&compression=5")
            assert (answer.status, answer.body) == (200, b"")


class TestTar:
    async def test_tar_and_gzipped_tar(self):
        async with open_browser() as site:
            put(site, "long/" * 60 + "a", b"abc", scan="1")
            put(site, "é", bytes(1000), scan="1")
            expected = {"E/scans/1/resources/R/files/" + "long/" * 60 + "a": b"abc"}
            expected["E/scans/1/resources/R/files/é"] = bytes(1000)
            for name, mode, kind in (("tar", "r:", "application/x-tar"), ("tar.gz", "r:gz", "application/x-gtar")):
                answer = await site.ask("GET", f"{BASE}/scans/1/files?format={name}")
                assert untarred(answer, mode) == expected
                assert answer.headers["Content-Type"] == kind
                assert answer.headers["Content-Disposition"] == f'attachment; filename="E.{name}";'

    def test_the_odd_mode(self, tmp_path):
        data = b"".join(tar_pieces(members(tmp_path, a=b"abc"), tables.TAR))
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            (info,) = archive
            assert info.mode == 0o060


class TestCuts:
    @pytest.mark.parametrize("query", ["", "&compression=8"])
    async def test_duplicate_name_cuts_the_zip(self, query):
        """What came before is whole, there is no directory, and the stream ends in good order."""
        async with open_browser() as site:
            put(site, "files/a", b"first", scan="1")
            put(site, "a", b"second", scan="1")
            put(site, "b", scan="1")
            answer = await site.ask("GET", f"{ZIP}&structure=simplified{query}")
            assert answer.status == 200
            assert answer.body.startswith(b"PK\x03\x04")
            assert answer.body.count(b"PK\x03\x04") == 1
            assert b"PK\x01\x02" not in answer.body
            tar = await site.ask("GET", f"{BASE}/scans/1/files?format=tar&structure=simplified")
            with tarfile.open(fileobj=io.BytesIO(tar.body)) as archive:
                assert archive.getnames() == ["E/scans/1/R/a", "E/scans/1/R/a", "E/scans/1/R/b"]

    @pytest.mark.parametrize("deflate", [False, True])
    def test_file_that_went_away(self, tmp_path, deflate):
        files = members(tmp_path, a=b"abc", b=b"def")
        files[1].path.unlink()
        pieces = zip_pieces(files, deflate=deflate)
        with pytest.raises(ArchiveFailed):
            list(pieces)

    def test_file_that_shrinks_while_it_is_sent(self, tmp_path):
        (file,) = members(tmp_path, big=bytes(4 << 20))
        for pieces in (zip_pieces([file], deflate=False), tar_pieces([file], tables.TAR)):
            file.path.write_bytes(bytes(4 << 20))
            next(pieces)
            os.truncate(file.path, 2 << 20)
            with pytest.raises(ArchiveFailed):
                list(pieces)

    async def test_leaving_early_closes_the_files(self, tmp_path):
        (file,) = members(tmp_path, big=bytes(8 << 20))
        before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
        chunks = archive_chunks([file], tables.ZIP, deflate=False)
        await anext(chunks)
        await chunks.aclose()
        after = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
        assert after == before


async def test_head_has_the_headers_and_no_bytes():
    async with open_browser() as site:
        put(site, "a", scan="1")
        answer = await site.ask("HEAD", ZIP)
        assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "application/zip", b"")
        assert (await site.ask("HEAD", f"{BASE}/scans/1/resources/NONE/files?format=zip")).status == 404


async def test_accept_must_admit_a_variant():
    """FIL 0: 406, even with `format=`."""
    async with open_browser() as site:
        put(site, "a", scan="1")
        assert (await site.ask("GET", ZIP, headers={"Accept": "application/zip"})).status == 406
        assert (await site.ask("GET", ZIP, headers={"Accept": "application/zip, */*;q=0.1"})).status == 200


async def test_raw_stream_is_chunked_to_its_end():
    async with open_browser() as site:
        put_file(site.world, place(scan="1"), "R", "a", b"abc")
        data = await raw(site, ZIP)
        assert data.endswith(b"\r\n0\r\n\r\n")
