"""Zip framing, byte for byte: read back by Python, lengths exact, ZIP64 only where a value does not fit."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xferengine.errors import BadInput
from xferengine.streams import zipframe

GIB4 = 1 << 32

names = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/\\"), min_size=1, max_size=40),
    max_size=8,
    unique=True,
)
contents = st.binary(max_size=200)


def stored_zip(files: list[tuple[str, bytes]]) -> bytes:
    out, placed = bytearray(), []
    for name, data in files:
        crc = zlib.crc32(data)
        placed.append(
            zipframe.Placed(
                name=name, method=zipframe.STORED, crc=crc, packed_size=len(data), size=len(data), offset=len(out)
            )
        )
        out += zipframe.stored_header(name, size=len(data), crc=crc) + data
    return bytes(out + zipframe.directory(placed, offset=len(out)))


def deflated_zip(files: list[tuple[str, bytes]]) -> bytes:
    out, placed = bytearray(), []
    for name, data in files:
        compressor = zlib.compressobj(1, zlib.DEFLATED, -15)
        packed = compressor.compress(data) + compressor.flush()
        sizes = {"crc": zlib.crc32(data), "packed_size": len(packed), "size": len(data)}
        placed.append(zipframe.Placed(name=name, method=zipframe.DEFLATED, offset=len(out), **sizes))
        out += zipframe.deflated_header(name, size=len(data)) + packed + zipframe.descriptor(**sizes)
    return bytes(out + zipframe.directory(placed, offset=len(out)))


@given(names, st.data())
def test_stored_zip_is_read_back_and_its_length_was_known(entry_names: list[str], data: st.DataObject) -> None:
    files = [(name, data.draw(contents)) for name in entry_names]
    raw = stored_zip(files)

    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert archive.testzip() is None
        assert [(info.orig_filename, archive.read(info)) for info in archive.infolist()] == files
        assert all(info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 8 for info in archive.infolist())
    assert len(raw) == zipframe.total_length((name, len(content)) for name, content in files)


@given(names, st.data())
def test_deflated_zip_is_read_back(entry_names: list[str], data: st.DataObject) -> None:
    files = [(name, data.draw(contents)) for name in entry_names]

    with zipfile.ZipFile(io.BytesIO(deflated_zip(files))) as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_DEFLATED and info.flag_bits & 8 for info in archive.infolist())
        assert [(info.orig_filename, archive.read(info)) for info in archive.infolist()] == files


def test_every_byte_of_a_stored_zip() -> None:
    crc = zlib.crc32(b"data")
    assert stored_zip([("1.2.dcm", b"data")]) == (
        b"PK\x03\x04" + struct.pack("<5H3I2H", 20, 0, 0, 0, 33, crc, 4, 4, 7, 0) + b"1.2.dcm" + b"data"
        b"PK\x01\x02" + struct.pack("<6H3I5H2I", 0x0314, 20, 0, 0, 0, 33, crc, 4, 4, 7, 0, 0, 0, 0, 0o100644 << 16, 0)
        + b"1.2.dcm"
        b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, 1, 1, 53, 41, 0)
    )  # fmt: skip


def test_every_byte_of_a_deflated_entry() -> None:
    header = zipframe.deflated_header("ü", size=4)
    assert header == b"PK\x03\x04" + struct.pack("<5H3I2H", 20, 0x808, 8, 0, 33, 0, 0, 0, 2, 0) + "ü".encode()
    assert zipframe.descriptor(crc=7, packed_size=5, size=4) == b"PK\x07\x08" + struct.pack("<3I", 7, 5, 4)


@pytest.mark.parametrize(("name", "flag"), [("plain.dcm", 0), ("ünï.dcm", 0x800), ("名", 0x800)])
def test_utf8_flag_only_when_needed(name: str, flag: int) -> None:
    assert struct.unpack_from("<H", zipframe.stored_header(name, size=0, crc=0), 6)[0] == flag


@pytest.mark.parametrize("size", [0, 1, GIB4 - 2])
def test_no_zip64_below_four_gib(size: int) -> None:
    header = zipframe.stored_header("a", size=size, crc=1)
    assert len(header) == 31
    assert struct.unpack_from("<2I", header, 18) == (size, size)


@pytest.mark.parametrize("size", [GIB4 - 1, GIB4, 200 << 30])
def test_zip64_local_header_carries_both_sizes(size: int) -> None:
    header = zipframe.stored_header("a", size=size, crc=1)
    assert struct.unpack_from("<H", header, 4)[0] == 45
    assert struct.unpack_from("<2I", header, 18) == (0xFFFFFFFF, 0xFFFFFFFF)
    assert header[31:] == struct.pack("<2H2Q", 1, 16, size, size)


@pytest.mark.parametrize(
    ("packed", "size", "length"),
    [(10, GIB4 - 1, 16), (GIB4 - 1, 10, 16), (10, GIB4, 24), (GIB4, GIB4 - 1, 24)],
)
def test_descriptor_is_wide_exactly_when_the_jdk_expects_it(packed: int, size: int, length: int) -> None:
    """The JDK compares what went through the inflater with 0xFFFFFFFF, strictly."""
    assert len(zipframe.descriptor(crc=0, packed_size=packed, size=size)) == length


def entry(name: str, size: int, offset: int, method: int = zipframe.STORED) -> zipframe.Placed:
    return zipframe.Placed(name=name, method=method, crc=5, packed_size=size, size=size, offset=offset)


def test_directory_of_huge_entries_is_understood_by_python() -> None:
    """Header level only: the reader is given a sparse file that holds the directory at its place."""
    sizes = [10, 5 * GIB4, 20, GIB4]
    placed, offset = [], 0
    for n, size in enumerate(sizes):
        placed.append(entry(str(n), size, offset))
        offset += len(zipframe.stored_header(str(n), size=size, crc=5)) + size
    tail = zipframe.directory(placed, offset=offset)

    with zipfile.ZipFile(SparseTail(offset, tail)) as archive:  # type: ignore[arg-type]
        found = [(info.file_size, info.header_offset, info.CRC) for info in archive.infolist()]

    assert found == [(item.size, item.offset, 5) for item in placed]
    assert offset + len(tail) == zipframe.total_length((str(n), size) for n, size in enumerate(sizes))


class SparseTail(io.RawIOBase):
    """A huge file of which only the end exists."""

    def __init__(self, gap: int, tail: bytes) -> None:
        self.gap, self.tail, self.position = gap, tail, 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        base = {0: 0, 1: self.position, 2: self.gap + len(self.tail)}[whence]
        if base + offset < 0:
            raise OSError("before the start")
        self.position = base + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def read(self, size: int = -1) -> bytes:
        assert self.position >= self.gap, "only the directory may be read"
        start = self.position - self.gap
        data = self.tail[start:] if size < 0 else self.tail[start : start + size]
        self.position += len(data)
        return data


@pytest.mark.parametrize(("count", "is_wide"), [(65_534, False), (65_535, True)])
def test_many_entries_need_zip64_end_records(count: int, is_wide: bool) -> None:
    raw = stored_zip([(f"{n}", b"") for n in range(count)])
    assert (b"PK\x06\x06" in raw[-200:]) is is_wide
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert len(archive.infolist()) == count
    assert len(raw) == zipframe.total_length((f"{n}", 0) for n in range(count))


@given(st.lists(st.tuples(st.sampled_from(["a", "ü", "longer"]), st.integers(0, 6 * GIB4)), max_size=12))
@settings(max_examples=50)
def test_total_length_is_what_the_functions_write(files: list[tuple[str, int]]) -> None:
    placed, offset = [], 0
    for name, size in files:
        placed.append(entry(name, size, offset))
        offset += len(zipframe.stored_header(name, size=size, crc=5)) + size
    assert zipframe.total_length(files) == offset + len(zipframe.directory(placed, offset=offset))


@pytest.mark.parametrize("name", ["", "x" * 65_536, "ü" * 32_768])
def test_impossible_names_are_refused(name: str) -> None:
    with pytest.raises(BadInput):
        zipframe.stored_header(name, size=0, crc=0)
    with pytest.raises(BadInput):
        zipframe.total_length([(name, 0)])
