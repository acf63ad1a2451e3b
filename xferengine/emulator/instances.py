"""What was read of stored instances, kept so that a build need not read each file again.

Only a cache: after a restart, or for files that changed size, headers are read from disk.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from xferengine.emulator.dicom import Header, NeedMore, Unreadable, read_header

_FIRST_READ_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Series:
    """What all instances of a series share; one object per series, however many instances."""

    study_uid: str
    series_uid: str
    series_number: str
    description: str
    modality: str
    study_date: str
    study_time: str
    patient_name: str
    patient_id: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One stored file."""

    sop_class: str
    sop_uid: str
    series: Series
    size: int


class InstanceCache:
    """Instances by folder and file name."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, Instance]] = {}
        self._series: dict[Series, Series] = {}

    def put(self, path: Path, header: Header, size: int) -> None:
        """Remember a file that was just written."""
        self._folders.setdefault(str(path.parent), {})[path.name] = self._made(header, size)

    def drop(self, path: Path) -> None:
        """Forget one file."""
        self._folders.get(str(path.parent), {}).pop(path.name, None)

    def drop_folder(self, folder: Path) -> None:
        """Forget every file below a session folder."""
        prefix = f"{folder}{os.sep}"
        for name in [name for name in self._folders if name.startswith(prefix)]:
            del self._folders[name]
        if not self._folders:
            self._series.clear()

    def get(self, path: Path, size: int) -> Instance | None:
        """Return what is known of a file of this size; reads its header if need be. None: unreadable."""
        known = self._folders.get(str(path.parent), {}).get(path.name)
        if known is not None and known.size == size:
            return known
        header = read_file(path)
        if header is None or not header.sop_uid:
            return None
        self.put(path, header, size)
        return self._folders[str(path.parent)][path.name]

    def _made(self, header: Header, size: int) -> Instance:
        series = Series(header.study_uid, header.series_uid, header.series_number, header.series_description,
                        header.modality, header.study_date, header.study_time, header.patient_name,
                        header.patient_id)  # fmt: skip
        return Instance(header.sop_class, header.sop_uid, self._series.setdefault(series, series), size)


def read_file(path: Path) -> Header | None:
    """Read the header of a file; None if it is not readable DICOM."""
    try:
        with path.open("rb") as file:
            data = file.read(_FIRST_READ_BYTES)
            complete = len(data) < _FIRST_READ_BYTES
            while True:
                try:
                    return read_header(data, complete=complete)
                except NeedMore:
                    more = file.read(len(data))
                    complete = len(more) < len(data)
                    data += more
    except (OSError, Unreadable):
        return None
