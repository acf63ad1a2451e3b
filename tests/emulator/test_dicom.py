"""The header reader against pydicom, on the real files pydicom ships and on cut ones (IMP 1.6)."""

import os
import warnings
from pathlib import Path

import pydicom
import pytest
from emulator.core_kit import dicom

from xferengine.emulator.dicom import NeedMore, Unreadable, read_header

SHIPPED = Path(pydicom.__file__).parent / "data"
NAMES = {
    "sop_class": "SOPClassUID", "sop_uid": "SOPInstanceUID", "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID", "series_number": "SeriesNumber", "modality": "Modality",
    "patient_id": "PatientID", "study_date": "StudyDate", "instance_number": "InstanceNumber",
}  # fmt: skip


def shipped_files() -> list[Path]:
    """Return every file that pydicom itself can open."""
    found = []
    for root, _, names in os.walk(SHIPPED):
        for name in names:
            path = Path(root) / name
            data = path.read_bytes()
            if data[128:132] == b"DICM" or data[:3] in (b"\x08\x00\x05", b"\x08\x00\x08", b"\x00\x08\x00"):
                found.append(path)
    return found


def test_agrees_with_pydicom_on_real_files():
    """Many transfer syntaxes and odd encodings, deflated and big endian among them."""
    files = shipped_files()
    assert len(files) > 100
    for path in files:
        header = read_header(path.read_bytes(), complete=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            for name, keyword in NAMES.items():
                value = dataset.get(keyword)
                assert getattr(header, name) == ("" if value is None else str(value)), (path.name, name)


def test_a_prefix_gives_the_whole_header_or_asks_for_more():
    """Also a prefix that ends exactly between two elements asks for more."""
    data = dicom(1, SeriesDescription="x" * 60)
    whole = read_header(data, complete=True)
    enough = []
    for end in range(len(data)):
        try:
            header = read_header(data[:end], complete=False)
        except NeedMore:
            continue
        assert header == whole
        enough.append(end)
    assert enough == list(range(enough[0], len(data)))


@pytest.mark.parametrize("name", ["MR_small.dcm", "nested_priv_SQ.dcm", "UN_sequence.dcm", "JPEG2000.dcm", "no_ts.dcm"])
def test_cut_real_files_never_crash(name: str):
    """Any cut is a header, a wish for more, or Unreadable: no other exception."""
    data = next(SHIPPED.rglob(name)).read_bytes() if list(SHIPPED.rglob(name)) else dicom(1)
    for end in range(0, min(len(data), 3000), 7):
        for complete in (False, True):
            try:
                read_header(data[:end], complete=complete)
            except (NeedMore, Unreadable):
                continue
