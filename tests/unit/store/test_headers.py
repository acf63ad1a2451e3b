"""Headers by content, compared with pydicom on every file it ships."""

from __future__ import annotations

import io
import logging
import time
import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.multival import MultiValue
from unit.store.dicom_samples import SERIES, SOP, STUDY, SYNTAXES, ref_of, sample, shipped_files

from xferengine.errors import SettingsError
from xferengine.model.dicom import OtherFile, ProblemKind, ScannedFile, ScanProblem
from xferengine.store.fields import wanted_fields
from xferengine.store.headers import header_of_bytes

WANT = wanted_fields(("Rows", "SeriesDescription", "InstanceNumber", "BodyPartExamined", "ImageComments"))

NO_STUDY = """
    chrSQEncoding.dcm chrSQEncoding1.dcm fall.dcm hotiron.dcm hotmetalblue.dcm pet.dcm pet20step.dcm spring.dcm
    summer.dcm winter.dcm JPEGLSNearLossless_08.dcm JPEGLSNearLossless_16.dcm SC_rgb_jls_lossy_line.dcm
    SC_rgb_jls_lossy_sample.dcm UN_sequence.dcm empty_charset_LEI.dcm meta_missing_tsyntax.dcm nested_priv_SQ.dcm
    no_meta_group_length.dcm priv_SQ.dcm
"""
REFUSED = {name: ProblemKind.NO_STUDY_UID for name in NO_STUDY.split()} | {
    "MR_truncated.dcm": ProblemKind.CUT_PIXELS,
    "emri_small_jpeg_2k_lossless_too_short.dcm": ProblemKind.CUT_PIXELS,
    "rtplan_truncated.dcm": ProblemKind.CUT_HEADER,
    "bad_sequence.dcm": ProblemKind.BAD_UID,
}


def scan(data: bytes):
    return header_of_bytes(ref_of(data), data, WANT)


def as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, MultiValue):
        return "\\".join(str(part).strip(" \0") for part in value)
    return str(value).strip(" \0")


def read_by_pydicom(path: Path) -> pydicom.FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True)
        for keyword in (*WANT.fields, "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"):
            dataset.get(keyword)
        return dataset


def test_shipped_files_give_what_pydicom_gives() -> None:
    seen = 0
    for path in shipped_files():
        found = scan(path.read_bytes())
        if not isinstance(found, ScannedFile):
            continue
        dataset = read_by_pydicom(path)
        uids = (found.sop_uid, found.sop_class_uid, found.study_uid, found.series_uid)
        keywords = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")
        assert uids == tuple(as_text(dataset.get(keyword)) for keyword in keywords), path.name
        assert found.fields == {keyword: as_text(dataset.get(keyword)) for keyword in WANT.fields}, path.name
        assert found.series_number == as_text(dataset.get("SeriesNumber")), path.name
        known = dataset.file_meta.get("TransferSyntaxUID")
        if known is not None:
            assert found.transfer_syntax == known, path.name
        if "PixelData" in dataset:
            stored = dataset.get_item("PixelData")
            deflated = found.transfer_syntax == SYNTAXES["deflated"]
            is_raw = stored is not None and stored.value is not None
            assert is_raw
            assert deflated or len(stored.value) < found.payload_bytes < found.source.size, path.name
        seen += 1
    assert seen >= 220


def test_shipped_files_that_are_refused_are_really_odd() -> None:
    refused = {}
    for path in shipped_files():
        found = scan(path.read_bytes())
        if isinstance(found, ScanProblem):
            refused[path.name] = found.kind
            if found.kind is ProblemKind.NO_STUDY_UID:
                assert not read_by_pydicom(path).get("StudyInstanceUID")
            assert found.detail
    assert refused == REFUSED


def test_refused_shipped_files_are_cut_or_have_no_uid() -> None:
    by_name = {path.name: path for path in shipped_files()}
    whole = pydicom.dcmread(by_name["MR_truncated.dcm"])
    assert len(whole.PixelData) < whole.Rows * whole.Columns * 2
    short = by_name["emri_small_jpeg_2k_lossless_too_short.dcm"].read_bytes()
    assert b"\xfe\xff\xdd\xe0" not in short[-64:]  # no sequence delimiter at the end
    assert by_name["rtplan.dcm"].read_bytes().startswith(by_name["rtplan_truncated.dcm"].read_bytes()[:2000])
    assert len(read_by_pydicom(by_name["bad_sequence.dcm"])["StudyInstanceUID"].value) == 64
    assert "f" in read_by_pydicom(by_name["bad_sequence.dcm"]).StudyInstanceUID


def test_shipped_files_that_are_no_instances() -> None:
    others: dict[str, set[str]] = {}
    for path in shipped_files():
        found = scan(path.read_bytes())
        if isinstance(found, OtherFile):
            others.setdefault(found.why, set()).add(path.name)
    assert others.keys() == {"dicomdir", "not-dicom"}
    assert all(name.startswith(("DICOMDIR", "TINY", "dicomdir")) or "DICOMDIR" in name for name in others["dicomdir"])
    names = others["not-dicom"]
    assert "no_meta.dcm" in names  # a stray byte in front: pydicom finds no element in it either
    assert not any(name.endswith(".dcm") for name in names - {"no_meta.dcm"})


@pytest.mark.parametrize("encoding", SYNTAXES)
def test_every_encoding_is_read(encoding: str) -> None:
    data = sample(encoding)
    found = scan(data)
    assert isinstance(found, ScannedFile)
    assert (found.sop_uid, found.study_uid, found.series_uid) == (SOP, STUDY, SERIES)
    assert found.transfer_syntax == SYNTAXES[encoding]
    assert found.fields["PatientName"] == "Müller^Jörg"
    assert (found.fields["Rows"], found.series_number, found.fields["SeriesDescription"]) == ("4", "7", "")
    if encoding == "deflated":
        assert found.payload_bytes == 0
    else:
        order = "big" if encoding == "big-endian" else "little"
        tag = (0x7FE0).to_bytes(2, order) + (0x0010).to_bytes(2, order)
        assert found.payload_bytes == len(data) - data.rindex(tag)


@pytest.mark.parametrize("encoding", ["explicit", "implicit", "big-endian"])
def test_no_preamble_is_read(encoding: str) -> None:
    data = sample(encoding)
    with_meta = scan(data[132:])
    assert isinstance(with_meta, ScannedFile)
    assert with_meta.transfer_syntax == SYNTAXES[encoding]
    order = "big" if encoding == "big-endian" else "little"
    start = data.index((8).to_bytes(2, order) + (5).to_bytes(2, order))
    bare = scan(data[start:])
    assert isinstance(bare, ScannedFile)
    assert (bare.sop_uid, bare.transfer_syntax) == (SOP, SYNTAXES[encoding])


def boundaries(data: bytes) -> set[int]:
    """Offsets where a top-level element ends, so that nothing of a file cut there is missing inside an element."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    ends = set()
    for element in (dataset.get_item(tag) for tag in sorted(dataset.keys())):
        if getattr(element, "length", None) not in {None, 0xFFFFFFFF}:
            ends.add(element.value_tell + element.length)
    delimiter = data.find(b"\xfe\xff\xdd\xe0") if dataset.original_encoding[1] else data.find(b"\xff\xfe\xe0\xdd")
    while delimiter >= 0:  # the end of a sequence or of encapsulated pixels
        ends.add(delimiter + 8)
        delimiter = data.find(data[delimiter : delimiter + 4], delimiter + 1)
    return ends


@pytest.mark.parametrize("encoding", SYNTAXES)
def test_a_cut_inside_an_element_is_never_accepted(encoding: str) -> None:
    data = sample(encoding)
    may_pass = boundaries(data) if encoding != "deflated" else set()
    accepted = {size for size in range(len(data)) if isinstance(scan(data[:size]), ScannedFile)}
    assert accepted <= may_pass
    kinds = {found.kind for size in range(200, len(data)) if isinstance(found := scan(data[:size]), ScanProblem)}
    assert ProblemKind.CUT_HEADER in kinds
    assert ProblemKind.CUT_PIXELS in kinds or encoding == "deflated"


@pytest.mark.parametrize("encoding", ["explicit", "implicit", "big-endian"])
def test_a_cut_file_without_preamble_is_never_accepted(encoding: str) -> None:
    data = sample(encoding)
    may_pass = {end - 132 for end in boundaries(data)}
    bare = data[132:]
    assert {size for size in range(len(bare)) if isinstance(scan(bare[:size]), ScannedFile)} <= may_pass


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"StudyInstanceUID": None}, ProblemKind.NO_STUDY_UID),
        ({"SOPInstanceUID": None}, ProblemKind.NO_SOP_UID),
        ({"SOPClassUID": None}, ProblemKind.NO_SOP_UID),
    ],
)
def test_missing_uids_are_problems(changed: dict[str, object], kind: ProblemKind) -> None:
    found = scan(sample(**changed))
    assert isinstance(found, ScanProblem)
    assert found.kind is kind
    assert found.study_uid == ("" if "StudyInstanceUID" in changed else STUDY)


@pytest.mark.parametrize("bad", [b"1.2.3/../1.1", b"..........", b"1.2.3.4.x.1"])
def test_a_uid_that_cannot_be_a_name_is_a_problem(bad: bytes) -> None:
    data = sample().replace(SOP.encode() + b"\0", bad.ljust(len(SOP) + 1, b"\0"))
    found = scan(data)
    assert isinstance(found, ScanProblem)
    assert found.kind is ProblemKind.BAD_UID
    assert found.study_uid == STUDY


def test_uid_padding_of_any_kind_is_taken_off() -> None:
    found = scan(sample().replace(STUDY.encode() + b"\0", STUDY.encode() + b" "))
    assert isinstance(found, ScannedFile)
    assert found.study_uid == STUDY


def test_zero_padding_behind_the_last_element_is_no_cut() -> None:
    for count in (1, 7, 8, 40_000):
        assert isinstance(scan(sample() + b"\0" * count), ScannedFile)
    assert isinstance(scan(sample() + b"\0\0\0\1"), ScanProblem)


@pytest.mark.parametrize("encoding", ["explicit", "implicit", "big-endian", "encapsulated"])
def test_a_trailer_behind_complete_pixels_is_no_cut(encoding: str) -> None:
    whole = sample(encoding)
    for trailer in (b"\0" * 8 + b"\1", b"\x08\0\x05\0 made by a scanner, 2024", b"\0\x08\0\x05 made by a scanner"):
        found = scan(whole + trailer)
        assert isinstance(found, ScannedFile), trailer
        assert found.sop_uid == SOP
    at = whole.index(
        (0x0020).to_bytes(2, "big" if encoding == "big-endian" else "little")
        + b"\x0d\0"[:: 1 if encoding != "big-endian" else -1]
    )
    assert isinstance(scan(whole[:at] + b"\xff" * 100), ScanProblem)


def test_other_files() -> None:
    whys = [scan(data).why for data in (b"", b"%PDF-1.7 etc", b"\0" * 500, b"\x08\0" * 40, b"\x08\x00\x05\x00CS")]
    assert whys == ["empty", "not-dicom", "not-dicom", "not-dicom", "not-dicom"]


def test_a_magic_word_with_garbage_behind_it_is_a_problem() -> None:
    for garbage in (b"", b"\xff" * 50, b"hello world, this is no DICOM at all", b"\xfe\xff" * 40):
        assert isinstance(scan(b"\0" * 128 + b"DICM" + garbage), ScanProblem)


def test_a_declared_length_of_4_gb_is_not_allocated() -> None:
    data = sample()
    at = data.index(b"\x10\x00\x10\x00PN")
    lying = data[: at + 4] + b"UT\0\0\xfe\xff\xff\xff" + data[at + 8 :]
    found = scan(lying)
    assert isinstance(found, ScanProblem)
    assert found.kind is ProblemKind.CUT_HEADER


def test_deep_nesting_ends() -> None:
    data = sample()
    at = data.index(b"\x08\x00\x40\x11SQ")
    deep = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 50_000
    started = time.perf_counter()
    assert isinstance(scan(data[:at] + deep + data[at:]), ScanProblem)
    assert time.perf_counter() - started < 5


def test_odd_but_readable_encodings_are_judged_by_pydicom() -> None:
    data = sample("encapsulated")
    at = data.index(b"\xe0\x7f\x10\x00OB")
    odd = data[: at + 12] + b"no items here at all" + data[data.rindex(b"\xfe\xff\xdd\xe0") :]
    found = scan(odd)
    assert isinstance(found, ScannedFile)
    assert found.fields["PatientName"] == "Müller^Jörg"
    assert isinstance(scan(odd[:-10]), ScanProblem)


def test_pydicom_does_not_log_header_values(caplog: pytest.LogCaptureFixture) -> None:
    data = sample("encapsulated").replace(b"ISO_IR 192", b"ISO_IR 999")
    at = data.index(b"\xe0\x7f\x10\x00OB")
    odd = data[: at + 12] + b"no items here at all" + data[data.rindex(b"\xfe\xff\xdd\xe0") :]
    with caplog.at_level(logging.DEBUG):
        for found in (scan(odd), scan(odd[:-10]), scan(data)):
            assert isinstance(found, READABLE)
    assert not [record for record in caplog.records if record.name.startswith("pydicom")]


def test_unknown_keywords_are_refused() -> None:
    for keyword in ("PatientsID", "ReferencedImageSequence", "PixelData", "TransferSyntaxUID"):
        with pytest.raises(SettingsError):
            wanted_fields((keyword,))


SMALL = [sample(encoding) for encoding in SYNTAXES]
READABLE = (ScannedFile, ScanProblem, OtherFile)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.booleans(), st.sampled_from([0, 132]))
def test_random_bytes_always_get_a_result(junk: bytes, with_magic: bool, keep: int) -> None:
    head = b"\0" * 128 + b"DICM" if with_magic else SMALL[0][132 : 132 + keep]
    assert isinstance(scan(head + junk), READABLE)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SMALL), st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=8))
def test_damaged_files_always_get_a_result(data: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for at, byte in changes:
        damaged[132 + at % (len(data) - 132)] = byte
    found = scan(bytes(damaged))
    assert isinstance(found, READABLE)
    if isinstance(found, ScannedFile):
        assert 0 <= found.payload_bytes <= len(data)


def test_a_vr_that_is_no_text_is_read_like_pydicom_does() -> None:
    data = bytearray(sample())
    data[data.index(b"\x08\x00\x60\x00CS") + 5] = 0x80  # "C\x80" sorts between AA and ZZ
    assert isinstance(scan(bytes(data)), READABLE)
