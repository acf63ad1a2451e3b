"""The session document a build makes of a folder: scans, their files, and what is wrong with them."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xferengine.emulator.instances import Instance, InstanceCache, Series
from xferengine.emulator.modality import leading_modality, scan_xsi_type, session_xsi_type


@dataclass(slots=True)
class FileModel:
    """A DICOM file; `folder` is its scan directory's name (two series may share one, IMP 2.4)."""

    folder: str
    name: str
    size: int
    uid: str

    @property
    def path(self) -> str:
        """Path below the session's folder."""
        return f"SCANS/{self.folder}/DICOM/{self.name}"


@dataclass(slots=True)
class ScanModel:
    """A scan: one series."""

    id: str
    uid: str
    series_description: str
    modality: str
    files: list[FileModel] = field(default_factory=list)
    unreadable: int = 0

    @property
    def xsi_type(self) -> str:
        """XNAT type."""
        return scan_xsi_type(self.modality)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(slots=True, kw_only=True)
class SessionModel:
    """A session as its XML document would tell it."""

    project: str
    subject: str
    label: str
    uid: str
    modality: str
    date: str = ""
    time: str = ""
    patient_name: str = ""
    patient_id: str = ""
    scans: list[ScanModel] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def xsi_type(self) -> str:
        """XNAT type."""
        return session_xsi_type(self.modality)

    def scan(self, scan_id: str) -> ScanModel | None:
        """Return a scan by its id."""
        return next((scan for scan in self.scans if scan.id == scan_id), None)

    def to_doc(self) -> dict[str, Any]:
        """Return a JSON form."""
        return asdict(self)

    @classmethod
    def from_doc(cls, doc: dict[str, Any]) -> "SessionModel":
        """Read the JSON form."""
        scans = [ScanModel(**{**s, "files": [FileModel(**f) for f in s["files"]]}) for s in doc["scans"]]
        return cls(**{**doc, "scans": scans})


class FolderScan:
    """Collects the scans of a session folder step by step, so that a build does not hold the event loop."""

    def __init__(self, folder: Path, cache: InstanceCache) -> None:
        self._root = folder / "SCANS"
        self._cache = cache
        self._scans: dict[tuple[str, str], ScanModel] = {}
        self._unreadable: dict[str, int] = {}
        self.series: list[Series] = []

    def steps(self) -> Iterator[None]:
        """Look at one file at a time."""
        if not self._root.is_dir():
            return
        for scan_dir in sorted(os.listdir(self._root), key=_natural):
            dicom = self._root / scan_dir / "DICOM"
            if not dicom.is_dir():
                continue
            with os.scandir(dicom) as found:
                files = sorted((entry.name, entry.stat().st_size) for entry in found if entry.is_file())
            for name, size in files:
                self._add(scan_dir, name, size, self._cache.get(dicom / name, size))
                yield

    def _add(self, folder: str, name: str, size: int, instance: Instance | None) -> None:
        if instance is None:
            self._unreadable[folder] = self._unreadable.get(folder, 0) + 1
            return
        series = instance.series
        key = (folder, series.series_uid)
        scan = self._scans.get(key)
        if scan is None:
            scan = self._scans[key] = ScanModel(self._free_id(folder, series), series.series_uid,
                                                series.description, series.modality)  # fmt: skip
            self.series.append(series)
        scan.files.append(FileModel(folder, name, size, instance.sop_uid))

    def _free_id(self, folder: str, series: Series) -> str:
        taken = {scan.id for scan in self._scans.values()}
        return folder if folder not in taken else suffixed_id(folder, series.modality, taken)

    def scans(self) -> list[ScanModel]:
        """Return the scans; unreadable files count for the first scan of their directory."""
        result = list(self._scans.values())
        for scan in result:
            scan.unreadable = self._unreadable.pop(scan.files[0].folder, 0)
        return result

    def session(self, *, project: str, subject: str, label: str, uid: str) -> SessionModel | None:
        """Return the session, or None if there is no DICOM in the folder (no XML is produced, IMP 2.2)."""
        scans = self.scans()
        if not scans:
            return None
        first = self.series[0]
        return SessionModel(
            project=project, subject=subject, label=label, uid=uid,
            modality=leading_modality({scan.modality for scan in scans}),
            date=_iso_date(first.study_date), time=_iso_time(first.study_time),
            patient_name=first.patient_name, patient_id=first.patient_id, scans=scans,
        )  # fmt: skip


def suffixed_id(scan_id: str, modality: str, taken: set[str]) -> str:
    """Return a free scan id of the form ``4-MR1`` (IMP 3.4)."""
    number = 1
    while (candidate := f"{scan_id}-{modality}{number}") in taken:
        number += 1
    return candidate


def _natural(text: str) -> tuple[int, int, str]:
    return (0, int(text), text) if text.isdecimal() else (1, 0, text)


def _iso_date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) >= 8 and text[:8].isdecimal() else ""


def _iso_time(text: str) -> str:
    return f"{text[:2]}:{text[2:4]}:{text[4:6]}" if len(text) >= 6 and text[:6].isdecimal() else ""
