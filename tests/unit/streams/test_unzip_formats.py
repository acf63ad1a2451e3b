"""Archives of other writers, and the same verdict as other readers: ``zipfile`` and the JDK."""

from __future__ import annotations

import io
import random
import shutil
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proofs.unzip_kit import Entry, by_zipfile, deflate, disagreement, local_part, make_zip, read

from xferengine.emulator.archives import Member as EmulatorMember
from xferengine.emulator.archives import zip_pieces
from xferengine.streams import zipframe

RNG = random.Random(4)

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/\\"), min_size=1, max_size=20)
files_of_any_name = st.dictionaries(names, st.binary(max_size=500), max_size=5)
READ_ZIP = Path(__file__).parents[2] / "emulator" / "ReadZip.java"


class Unseekable(io.RawIOBase):
    """Where ``zipfile`` cannot go back to fill in sizes."""

    def __init__(self) -> None:
        self.raw = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = bytes(data)  # type: ignore[call-overload]
        self.raw += view
        return len(view)


def written(files: dict[str, bytes], *, method: int, is_streamed: bool, is_wide: bool) -> bytes:
    """Return what ``zipfile`` writes."""
    target = Unseekable() if is_streamed else io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=is_wide) as member:
                member.write(data)
    return bytes(target.raw if isinstance(target, Unseekable) else target.getvalue())


@given(files_of_any_name, st.booleans(), st.booleans(), st.data())
def test_deflated_by_zipfile(files: dict[str, bytes], is_streamed: bool, is_wide: bool, data: st.DataObject) -> None:
    raw = written(files, method=zipfile.ZIP_DEFLATED, is_streamed=is_streamed, is_wide=is_wide)
    outcome = read(raw, data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    assert outcome.files == files
    assert disagreement(raw, outcome) is None


@given(files_of_any_name, st.booleans())
def test_stored_by_zipfile(files: dict[str, bytes], is_wide: bool) -> None:
    raw = written(files, method=zipfile.ZIP_STORED, is_streamed=False, is_wide=is_wide)
    outcome = read(raw)
    assert outcome.files == files
    assert disagreement(raw, outcome) is None


def test_stored_and_streamed_by_zipfile_cannot_be_read_while_it_arrives() -> None:
    """The end of the data is only in the directory; an empty file's end is where it begins."""
    raw = written({"a": b"data" * 20}, method=zipfile.ZIP_STORED, is_streamed=True, is_wide=False)
    assert "without its size in front" in str(read(raw).error)
    for is_wide in (False, True):
        raw = written({"a": b"", "b": b""}, method=zipfile.ZIP_STORED, is_streamed=True, is_wide=is_wide)
        assert read(raw).files == {"a": b"", "b": b""}


@pytest.mark.parametrize("method", [zipframe.STORED, zipframe.DEFLATED])
def test_own_bundles(method: int) -> None:
    files = {"ünï": RNG.randbytes(5000), "empty": b"", "zeros": bytes(300_000), "noise": RNG.randbytes(200_000)}
    out, placed = bytearray(), []
    for name, data in files.items():
        packed = deflate(data) if method else data
        sizes = {"crc": zlib.crc32(data), "packed_size": len(packed), "size": len(data)}
        placed.append(zipframe.Placed(name=name, method=method, offset=len(out), **sizes))
        if method == zipframe.STORED:
            out += zipframe.stored_header(name, size=len(data), crc=sizes["crc"]) + data
        else:
            out += zipframe.deflated_header(name, size=len(data)) + packed + zipframe.descriptor(**sizes)
    raw = bytes(out + zipframe.directory(placed, offset=len(out)))

    outcome = read(raw, range(0, len(raw), 10_007))

    assert outcome.files == files
    assert disagreement(raw, outcome) is None


@pytest.mark.parametrize("is_deflated", [False, True])
def test_what_the_server_sends(tmp_path: Path, is_deflated: bool) -> None:
    files = {"S/scans/1-T1/resources/DICOM/files/ä b.dcm": RNG.randbytes(70_000), "S/resources/R/files/empty": b""}
    members = []
    for number, (name, data) in enumerate(files.items()):
        (tmp_path / str(number)).write_bytes(data)
        members.append(EmulatorMember(name=name, path=tmp_path / str(number)))
    pieces = list(zip_pieces(members, deflate=is_deflated))
    raw = b"".join(pieces)

    outcome = read(raw, range(0, len(raw), 8192))

    assert outcome.files == files
    assert disagreement(raw, outcome) is None


REFUSED_THOUGH_ZIPFILE_READS_IT = {
    "bytes before the first header": lambda: b"#!/bin/sh\n" + make_zip([Entry()]),
    "bytes between members": lambda: make_zip([Entry(name=b"a"), Entry(name=b"b", gap=b"\0")]),
    "bytes between the last member and the directory": lambda: make_zip([Entry()], before_directory=b"\0"),
    "bytes after the end, taken for a comment": lambda: make_zip([Entry()], tail=b"tail"),
    "a local header with another CRC": lambda: make_zip([Entry(in_local={"crc": 1})]),
    "a member the directory does not list": lambda: make_zip([Entry(), Entry(name=b"b")], order=lambda r: r[:1]),
    "a member that is listed twice": lambda: make_zip([Entry(name=b"a")], order=lambda r: r * 2),
    "a number of another disk": lambda: make_zip([Entry(disk=1)]),
    "a zip of several parts": lambda: make_zip([Entry()], in_end={"disk": 1}),
    "an extra field that is too long": lambda: make_zip([Entry(extra=struct.pack("<2H", 7, 9))]),
    "an extra field twice": lambda: make_zip([Entry(extra=b"\x75\x70\0\0" * 2)]),
    "masked header values": lambda: make_zip([Entry(flags=0x2000)]),
    "a newer ZIP64 end record": lambda: make_zip([Entry()], is_wide=True, in_wide={"length": 45}),
    "two end records that differ": lambda: make_zip([Entry()], is_wide=True, in_end={"members": 7, "here": 7}),
    "a ZIP64 end record whose place is another": lambda: make_zip([Entry()], is_wide=True, in_wide={"place": 1}),
    "stored with its size behind": lambda: make_zip(
        [Entry(data=b"data" * 9, descriptor="signed32", in_local={"size": 0, "packed": 0})]
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED_THOUGH_ZIPFILE_READS_IT)
def test_what_two_readers_could_see_in_two_ways_is_refused(reason: str) -> None:
    """Each reads well in ``zipfile``, which looks at the directory alone; each is refused or broken here."""
    raw = REFUSED_THOUGH_ZIPFILE_READS_IT[reason]()
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert archive.testzip() is None
    outcome = read(raw)
    assert outcome.error is not None or "broken" in {state for _, state in outcome.states}
    assert disagreement(raw, outcome) is None


REFUSED_BY_BOTH = {
    "a directory with another name": lambda: make_zip([Entry(central_name=b"b.dcm")]),
    "a directory with another CRC": lambda: make_zip([Entry(in_central={"crc": 1})]),
    "another method": lambda: make_zip([Entry(method=97, packed=b"data")]),
    "encrypted": lambda: make_zip([Entry(flags=1)]),
    "a patch": lambda: make_zip([Entry(flags=0x20)]),
    "no directory": lambda: local_part(Entry()),
    "an end record with another place": lambda: make_zip([Entry()], in_end={"offset": 999}),
    "a ZIP64 locator of several disks": lambda: make_zip([Entry()], is_wide=True, in_wide={"disks": 2}),
    "a page": lambda: b"<!DOCTYPE html><html>log in</html>" * 9,
    "a tar": lambda: b"folder/file".ljust(1024, b"\0"),
}


@pytest.mark.parametrize("reason", REFUSED_BY_BOTH)
def test_refused_as_zipfile_refuses_it(reason: str) -> None:
    raw = REFUSED_BY_BOTH[reason]()
    seen = by_zipfile(raw)
    assert seen is None or any(member.data is None for member in seen)
    assert read(raw).error is not None


def test_other_records_in_places_where_zipfile_would_look_are_refused() -> None:
    """A second end record in the comment, or a ZIP64 locator in the last name: there ``zipfile`` sees other members."""
    hidden = make_zip([Entry(name=b"hidden")])
    assert "second end record" in str(read(make_zip([Entry()], comment=hidden)).error)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, 0, 1)
    assert "locator" in str(read(make_zip([Entry(comment=locator)])).error)


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("javac") is None:
        pytest.skip("no JDK")
    folder = tmp_path_factory.mktemp("java")
    subprocess.run(["javac", "-d", str(folder), str(READ_ZIP)], check=True)
    return folder


def java_reads(classes: Path, archives: list[bytes]) -> list[list[str]]:
    paths = [classes / f"{number}.zip" for number in range(len(archives))]
    for path, raw in zip(paths, archives, strict=True):
        path.write_bytes(raw)
    command = ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", str(classes), "ReadZip"]
    listed = "".join(f"{path}\n" for path in paths)
    run = subprocess.run(command, input=listed, capture_output=True, check=True, text=True, timeout=50)
    return [block.splitlines()[1:] for block in run.stdout.split("file ")[1:]]


def as_java_says(raw: bytes) -> list[str]:
    outcome = read(raw)
    lines = [
        f"entry {sink.member.name} {len(sink.data)} {zlib.crc32(sink.data)}"
        for sink in outcome.sinks
        if sink.state == "done"
    ]
    return [*lines, "error" if outcome.error or len(lines) < len(outcome.sinks) else "end"]


def test_same_members_as_the_jdk_reads_from_a_stream(java: Path) -> None:
    """It stops at a member's first fault and never looks at the directory, so only members are compared: whole
    archives of all kinds, and archives whose first member is at fault."""
    long = RNG.randbytes(90_000)
    good = [
        [Entry(name=b"a", data=long), Entry(name=b"b/", data=b""), Entry(name="ü".encode(), flags=0x800)],
        [Entry(name=b"a", data=long, method=8), Entry(name=b"b", data=b"", method=8)],
        [Entry(name=b"a", data=long, method=8, descriptor="signed32"), Entry(name=b"b")],
        [Entry(name=b"a", data=long, method=8, descriptor="bare32"), Entry(name=b"b")],
        [Entry(name=b"a", data=long, is_wide=True), Entry(name=b"b", data=long, method=8, is_wide=True)],
        [],
    ]
    bad = [
        [Entry(name=b"a", data=b"abcd", packed=b"abce")],
        [Entry(name=b"a", method=8, in_local={"crc": 1})],
        [Entry(name=b"a", method=8, descriptor="signed32", in_descriptor={"crc": 1})],
        [Entry(name=b"a", method=8, in_local={"size": 9})],
        [Entry(name=b"a", method=8, packed=b"\xff" * 30)],
        [Entry(name=b"a", flags=1)],
        [Entry(name=b"a", method=12, packed=b"data")],
        [Entry(name=b"a", data=b"x" * 99, descriptor="signed32", in_local={"size": 0, "packed": 0})],
    ]
    archives = [make_zip(entries) for entries in (*good, *bad)]
    assert java_reads(java, archives) == [as_java_says(raw) for raw in archives]


def test_where_the_jdk_differs(java: Path) -> None:
    """It takes 4-byte sizes in a descriptor up to 4 GiB, whatever the extra field says, and no stored one at all."""
    wide = make_zip([Entry(name=b"a", method=8, descriptor="signed64"), Entry(name=b"b")])
    stored = make_zip([Entry(name=b"a", descriptor="signed32")])
    assert [lines[-1] for lines in java_reads(java, [wide, stored])] == ["error", "error"]
    assert [as_java_says(raw)[-1] for raw in (wide, stored)] == ["end", "end"]
