"""The streaming tar and gzip readers (IMP 1.5)."""

import gzip
import io
import tarfile

import pytest
from emulator.core_kit import chunked, tarred

from xferengine.emulator.bytesource import ByteSource, ContainerError, gunzip
from xferengine.emulator.tarread import TarReader

LONG = "d/" * 120 + "x" * 90 + ".dcm"
MEMBERS = [("a.dcm", b"A" * 700), (LONG, b"B" * 512), ("ä.dcm", b""), ("z", b"Z")]


async def read_all(source: ByteSource) -> list[tuple[str, bytes]]:
    """Return the files of a tar."""
    reader, found = TarReader(source), []
    while (entry := await reader.next_entry()) is not None:
        if not entry.is_directory:
            found.append((entry.name, b"".join([bytes(piece) async for piece in reader.chunks()])))
    return found


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("chunk", [1, 511, 512, 513, 1 << 20])
async def test_long_names_in_gnu_and_pax_form(form: int, chunk: int):
    """GNU long names and pax headers."""
    assert await read_all(ByteSource(chunked(tarred(MEMBERS, format=form), chunk))) == MEMBERS


async def test_ustar_prefix():
    """The prefix field of ustar."""
    name = "p" * 90 + "/" + "q" * 80
    assert await read_all(ByteSource(chunked(tarred([(name, b"x")], format=tarfile.USTAR_FORMAT)))) == [(name, b"x")]


async def test_folders_links_and_global_headers():
    """Folders are marked; links have no content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "all"}) as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("l", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "target"
            tar.addfile(info)
        info = tarfile.TarInfo("f")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    assert await read_all(ByteSource(chunked(out.getvalue()))) == [("l", b""), ("f", b"abc")]


async def test_unread_content_is_passed_over():
    """The next entry is found when the last was not read."""
    reader = TarReader(ByteSource(chunked(tarred(MEMBERS))))
    names = []
    while (entry := await reader.next_entry()) is not None:
        names.append(entry.name)
    assert names == [name for name, _ in MEMBERS]


async def test_cuts():
    """A header cut short, or nothing at all, is the end; a cut member is an error; garbage has no size."""
    whole = tarred(MEMBERS, format=tarfile.GNU_FORMAT)
    assert await read_all(ByteSource(chunked(b""))) == []
    assert await read_all(ByteSource(chunked(whole[: 512 + 1024 + 100]))) == MEMBERS[:1]
    for data in (whole[: 512 + 600], b"garbage " * 100):
        with pytest.raises(ContainerError):
            await read_all(ByteSource(chunked(data)))


async def test_pax_header_that_lies():
    """Lengths of a pax record that leave the header are refused."""
    out = tarred([("x" * 120, b"1")], format=tarfile.PAX_FORMAT)
    at = out.index(b" path=")
    for digits in (b"999", b"000"):
        with pytest.raises(ContainerError):
            await read_all(ByteSource(chunked(out[: at - 3] + digits + out[at:])))


async def test_gzip_members_are_concatenated():
    """As GZIPInputStream does; bytes behind the last member are ignored."""
    data = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two" * 100_000) + b"trailing garbage"
    for chunk in (1000, 1 << 20):
        assert (
            b"".join([piece async for piece in gunzip(ByteSource(chunked(data, chunk)))]) == b"one" + b"two" * 100_000
        )


@pytest.mark.parametrize(
    "data", [b"", b"x", b"garbage", gzip.compress(b"abc")[:-3], gzip.compress(b"abc")[:-8] + b"\0" * 8]
)
async def test_bad_gzip(data: bytes):
    """No gzip, cut, wrong trailer."""
    with pytest.raises(ContainerError):
        assert [piece async for piece in gunzip(ByteSource(chunked(data)))]
