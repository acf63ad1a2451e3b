"""Optional site scripts, off by default: rewrite patient fields, reject instances, remap SOP UIDs (IMP 7).

Only these need the whole instance in memory; with all of them off the importer copies bytes as they are.
"""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import pydicom
from pydicom.uid import UID

from xferengine.emulator.dicom import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What the site does to instances.

    Args:
        rewrite: The default site script: StudyDescription := project, PatientName := subject, PatientID := label.
        reject_every: Drop instances whose SOP Instance UID hashes to 0 modulo this; 0 for none.
        reject_modality: Drop instances of this modality.
        reject_series: Drop instances of this SeriesNumber.
        remap_uids: Replace SOP Instance UIDs, per instance at import or for the session at archive.
    """

    rewrite: bool = False
    reject_every: int = 0
    reject_modality: str = ""
    reject_series: str = ""
    remap_uids: Literal["", "import", "archive"] = ""

    @property
    def changes_imports(self) -> bool:
        """Say whether an instance must be rewritten when it is stored."""
        return self.rewrite or self.remap_uids == "import"

    def rejects(self, header: Header) -> bool:
        """Say whether the instance is refused: no error and no URI for the sender (IMP 1.5)."""
        if self.reject_modality and header.modality == self.reject_modality:
            return True
        if self.reject_series and header.series_number == self.reject_series:
            return True
        return bool(self.reject_every) and _bucket(header.sop_uid) % self.reject_every == 0


def _bucket(uid: str) -> int:
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8], "big")


def remapped_uid(uid: str) -> str:
    """Return the UID that stands for another one after remapping: always the same, under the UUID root 2.25."""
    return f"2.25.{int.from_bytes(hashlib.sha256(uid.encode()).digest()[:15], 'big')}"


class ScriptFailed(OSError):
    """The script could not be applied: for the sender, an object that cannot be read (IMP 1.6)."""


def rewritten(data: bytes, *, project: str, subject: str, session: str) -> bytes:
    """Apply the default site script (IMP 7); an Unassigned project (empty) leaves StudyDescription alone."""

    def change(dataset: pydicom.Dataset) -> None:
        if project:
            dataset.StudyDescription = project
        dataset.PatientName = subject
        dataset.PatientID = session

    return _changed(data, change)


def with_remapped_uid(data: bytes) -> bytes:
    """Replace the SOP Instance UID in the data set and in the file meta group."""

    def change(dataset: pydicom.Dataset) -> None:
        dataset.SOPInstanceUID = UID(remapped_uid(str(dataset.SOPInstanceUID)))
        if hasattr(dataset, "file_meta"):
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID

    return _changed(data, change)


def _changed(data: bytes, change: Callable[[pydicom.Dataset], None]) -> bytes:
    out = BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values of the sender are not the site's business
            dataset = pydicom.dcmread(BytesIO(data), force=True)
            change(dataset)
            dataset.save_as(out, enforce_file_format=False)
    except Exception as error:  # pydicom raises many kinds on odd data; all mean the same here
        raise ScriptFailed(str(error)) from error
    return out.getvalue()
