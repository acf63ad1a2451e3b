"""The file meta group that XNAT writes for objects that came without one (IMP 7: file-meta rewritten)."""

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from xferengine.emulator.dicom import Header

_IMPLICIT, _EXPLICIT, _BIG_ENDIAN = (UID(f"1.2.840.10008.1.2{tail}") for tail in ("", ".1", ".2"))


def missing_prefix(header: Header, data: bytes | memoryview) -> bytes:
    """Return what an object without preamble lacks: preamble, magic, and a group 2 if it has none."""
    start = bytes(128) + b"DICM"
    if bytes(data[:2]) == b"\x02\x00":
        return start
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(header.sop_class)
    meta.MediaStorageSOPInstanceUID = UID(header.sop_uid)
    if bytes(data[:2]) == b"\x00\x08":
        meta.TransferSyntaxUID = _BIG_ENDIAN
    else:
        meta.TransferSyntaxUID = _EXPLICIT if bytes(data[4:6]).isalpha() else _IMPLICIT
    out = DicomBytesIO()
    write_file_meta_info(out, meta, enforce_standard=True)
    return start + out.getvalue()
