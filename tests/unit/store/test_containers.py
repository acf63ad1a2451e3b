"""Members of zip, tar and tar.gz: read as streams, hostile ones reported."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.store.dicom_samples import ref_of, sample

from xferengine.model.dicom import OtherFile, ProblemKind, ScannedFile, ScanProblem
from xferengine.store.bytesource import MemoryBytes
from xferengine.store.containers import ContainerKind, container_kind, read_members
from xferengine.store.fields import wanted_fields

WANT = wanted_fields()
MEMBERS = {
    "s/IM1": sample(SOPInstanceUID="1.2.3.4.1.11"),
    "s/IM2": sample("encapsulated", SOPInstanceUID="1.2.3.4.1.12"),
    "s/notes.txt": b"some notes",
    "s/._IM1": b"mac",
    "s/cut": sample()[:-30],
}
KINDS = list(ContainerKind)


def packed(kind: ContainerKind, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    if kind is ContainerKind.ZIP:
        with zipfile.ZipFile(out, "w", method) as container:
            for name, data in members.items():
                container.writestr(name, data)
        return out.getvalue()
    with tarfile.open(fileobj=out, mode="w") as container:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            container.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), 1) if kind is ContainerKind.TAR_GZ else out.getvalue()


def scan(kind: ContainerKind, data: bytes):
    return list(read_members(ref_of(data, "/in/c"), MemoryBytes(data), kind, WANT))


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_judged_like_files(kind: ContainerKind) -> None:
    data = packed(kind, MEMBERS)
    found = {getattr(result, "shown", None) or result.source.shown: result for result in scan(kind, data)}
    assert found.keys() == {f"/in/c!{name}" for name in MEMBERS}
    first, second = found["/in/c!s/IM1"], found["/in/c!s/IM2"]
    assert isinstance(first, ScannedFile)
    assert isinstance(second, ScannedFile)
    assert (first.sop_uid, second.sop_uid) == ("1.2.3.4.1.11", "1.2.3.4.1.12")
    assert first.source.size == len(MEMBERS["s/IM1"])
    assert first.source.member == "s/IM1"
    assert first.fields["PatientName"] == "Müller^Jörg"
    cut = found["/in/c!s/cut"]
    assert isinstance(cut, ScanProblem)
    assert cut.kind is ProblemKind.CUT_PIXELS
    whys = [result.why for result in found.values() if isinstance(result, OtherFile)]
    assert sorted(whys) == ["hidden", "not-dicom"]


@pytest.mark.parametrize("outer", KINDS)
@pytest.mark.parametrize("inner", KINDS)
def test_a_container_in_a_container_is_a_problem(outer: ContainerKind, inner: ContainerKind) -> None:
    (result,) = scan(outer, packed(outer, {"inside": packed(inner, MEMBERS)}))
    assert isinstance(result, ScanProblem)
    assert (result.kind, result.shown) == (ProblemKind.NESTED_CONTAINER, "/in/c!inside")


def test_content_decides_what_a_container_is() -> None:
    def kind_of(name: str, data: bytes) -> ContainerKind | None:
        return container_kind(name, MemoryBytes(data))

    for kind in KINDS:
        assert kind_of("anything", packed(kind, MEMBERS)) is kind
    assert kind_of("volume.nii.gz", gzip.compress(b"no tar" * 200)) is None
    assert kind_of("report.docx", packed(ContainerKind.ZIP, MEMBERS)) is None
    assert kind_of("broken.zip", b"no zip at all") is ContainerKind.ZIP
    assert kind_of("notes.txt", b"text") is None


def test_an_encrypted_member_is_named_and_the_rest_goes_on() -> None:
    data = bytearray(packed(ContainerKind.ZIP, {"a": MEMBERS["s/IM1"], "b": MEMBERS["s/IM2"]}))
    central = data.index(b"PK\x01\x02")
    data[central + 8] |= 1  # flag bit 0 of the first member
    encrypted, plain = scan(ContainerKind.ZIP, bytes(data))
    assert isinstance(encrypted, ScanProblem)
    assert (encrypted.kind, encrypted.shown) == (ProblemKind.ENCRYPTED, "/in/c!a")
    assert isinstance(plain, ScannedFile)


def test_a_zip_method_that_is_not_read_is_a_problem() -> None:
    (result,) = scan(ContainerKind.ZIP, packed(ContainerKind.ZIP, {"a": MEMBERS["s/IM1"]}, zipfile.ZIP_BZIP2))
    assert isinstance(result, ScanProblem)
    assert result.kind is ProblemKind.UNREADABLE
    assert "12" in result.detail


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_container_is_a_problem_at_every_place(kind: ContainerKind) -> None:
    members = {"a": MEMBERS["s/IM1"], "b": MEMBERS["s/IM2"]}
    data = packed(kind, members)
    end = len(data)
    if kind is ContainerKind.TAR:  # behind the first block of the end mark nothing is missing
        end = 512 * 2 + sum(-(-len(member) // 512) * 512 for member in members.values())
    for size in range(0, end - 1, 37):
        results = scan(kind, data[:size])
        kinds = {result.kind for result in results if isinstance(result, ScanProblem)}
        assert ProblemKind.DAMAGED_CONTAINER in kinds, size


def test_hostile_tar_headers_end() -> None:
    info = tarfile.TarInfo("a")
    info.size = 100
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for size in (
        b"\xff" * 12,
        b"\xff" * 10 + b"\xfe\x00",
        b"\x80" + b"\xff" * 11,
        b"\x80" + b"\0" * 7 + b"\x7f\xff\xff\xff",
    ):
        for kind in (b"0", b"L", b"x", b"g", b"5", b"S"):
            block[124:136], block[156:157] = size, kind
            block[148:156] = b" " * 8
            block[148:156] = f"{sum(block):06o}\0 ".encode()
            results = scan(ContainerKind.TAR, bytes(block) * 3 + b"\0" * 1024)
            has_size = kind != b"5"  # the size of a folder means nothing
            assert not has_size or any(isinstance(result, ScanProblem) for result in results), (size, kind)


def test_impossible_sizes_are_damage() -> None:
    tar = tarfile.TarInfo(".hidden")
    block = bytearray(tar.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\x80" + b"\0" * 2 + b"\x7f" + b"\xff" * 8
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    data = bytearray(packed(ContainerKind.ZIP, {".hidden": b"x" * 9}))
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = b"\xff" * 4  # the size is in a zip64 field that is not there
    for kind, hostile in ((ContainerKind.TAR, bytes(block) + b"\0" * 1024), (ContainerKind.ZIP, bytes(data))):
        results = scan(kind, hostile)
        assert all(isinstance(result, ScanProblem) or result.source.size < 1 << 60 for result in results)
        assert kind is ContainerKind.ZIP or isinstance(results[-1], ScanProblem)


def test_names_that_are_no_text_are_reported() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as container:
        info = tarfile.TarInfo("bad\udcff")
        info.size = len(MEMBERS["s/IM1"])
        container.addfile(info, io.BytesIO(MEMBERS["s/IM1"]))
    (result,) = scan(ContainerKind.TAR, out.getvalue())
    assert isinstance(result, ScanProblem)
    assert result.shown == "/in/c!bad\\xff"


def test_an_unusual_member_of_a_compressed_container_is_judged() -> None:
    data = MEMBERS["s/IM2"]
    at = data.index(b"\xe0\x7f\x10\x00OB")
    odd = data[: at + 12] + b"no items here at all" + data[data.rindex(b"\xfe\xff\xdd\xe0") :]
    for kind in KINDS:
        (result,) = scan(kind, packed(kind, {"odd": odd}))
        assert isinstance(result, ScannedFile), kind


def test_a_big_unusual_member_of_a_tar_gz_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xferengine.store.containers._SMALL_BYTES", 10)
    monkeypatch.setattr("xferengine.store.containers._WHOLE_BYTES", 10)
    data = MEMBERS["s/IM2"]
    at = data.index(b"\xe0\x7f\x10\x00OB")
    odd = data[: at + 12] + b"no items here at all" + data[data.rindex(b"\xfe\xff\xdd\xe0") :]
    for kind in (ContainerKind.TAR_GZ, ContainerKind.ZIP):
        (result,) = scan(kind, packed(kind, {"odd": odd}))
        assert isinstance(result, ScanProblem)
        assert result.kind is ProblemKind.UNREADABLE


def test_a_gzip_bomb_behind_the_end_mark_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    tar = packed(ContainerKind.TAR, {"a": MEMBERS["s/IM1"]})
    data = gzip.compress(tar + b"\0" * (4 << 20), 1)[:-8]  # without its check sum
    (result, damage) = scan(ContainerKind.TAR_GZ, data)
    assert isinstance(damage, ScanProblem)
    monkeypatch.setattr("xferengine.store.tars._DRAIN_BYTES", 1 << 20)
    (result,) = scan(ContainerKind.TAR_GZ, data)
    assert isinstance(result, ScannedFile)


WHOLE = {kind: packed(kind, MEMBERS) for kind in KINDS}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(KINDS), st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_damaged_containers_never_raise(kind: ContainerKind, changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE[kind])
    for at, byte in changes:
        data[at % len(data)] = byte
    assert all(isinstance(result, ScannedFile | ScanProblem | OtherFile) for result in scan(kind, bytes(data)))
