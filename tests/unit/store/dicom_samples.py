"""Small DICOM files of every encoding, for the tests of this folder."""

from __future__ import annotations

import io
from pathlib import Path

import data_store
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    MRImageStorage,
)

from xferengine.model.dicom import SourceRef

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "encapsulated": JPEGBaseline8Bit,
}
STUDY, SERIES, SOP = "1.2.3.4", "1.2.3.4.1", "1.2.3.4.1.1"


def sample(encoding: str = "explicit", **changed: object) -> bytes:
    """Return a complete small file; a changed value of None removes the element."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = SOP
    meta.TransferSyntaxUID = SYNTAXES[encoding]
    out = io.BytesIO()
    dataset = FileDataset(out, {}, file_meta=meta, preamble=b"\0" * 128)
    syntax = SYNTAXES[encoding]
    dataset.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian, "utf-8")
    values = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": SOP,
        "StudyDate": "20240102",
        "Modality": "MR",
        "PatientName": "Müller^Jörg",
        "PatientID": "P1",
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "SeriesNumber": "7",
        "ReferencedImageSequence": Sequence([_item()]),
        "Rows": 4,
        "Columns": 4,
    } | changed
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if "ReferencedImageSequence" in dataset:
        dataset["ReferencedImageSequence"].is_undefined_length = True
        dataset.ReferencedImageSequence[0].is_undefined_length_sequence_item = True
    pixels = bytes(range(1, 33))
    dataset.PixelData = encapsulate([pixels, pixels]) if encoding == "encapsulated" else pixels
    dataset["PixelData"].VR = "OB" if encoding == "encapsulated" else "OW"
    dataset["PixelData"].is_undefined_length = encoding == "encapsulated"
    dataset.add_new(0xFFFCFFFC, "OB", b"\0" * 8)
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _item() -> Dataset:
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.9"
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.8"
    item.PurposeOfReferenceCodeSequence = Sequence([inner])
    item["PurposeOfReferenceCodeSequence"].is_undefined_length = True
    return item


def ref_of(data: bytes, path: str = "/in/file") -> SourceRef:
    """Return a reference of a file that exists only in memory."""
    return SourceRef(path=path, size=len(data), mtime_ns=1)


def shipped_files() -> list[Path]:
    """Return every data file of pydicom and pydicom-data."""
    folders = [Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in files if path.suffix not in {".py", ".pyc"})
