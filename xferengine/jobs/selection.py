"""``--include/--exclude/--since`` for what a scan found: filters over DICOM fields and file names."""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec

from xferengine.errors import SettingsError
from xferengine.jobs.spec import UploadSpec
from xferengine.model.dicom import ScanBatch, ScannedFile

KEYS = {"subject": "PatientID", "scan-type": "SeriesDescription", "scan": "SeriesNumber", "modality": "Modality"}
"""Filter key → DICOM keyword; ``file`` is the name of the file itself."""


class Selection:
    """Which instances of a scan are taken.

    Several ``--include`` of one key: any of them; of different keys: all. ``--exclude`` wins.
    """

    def __init__(self, spec: UploadSpec) -> None:
        self._include = _parse(spec.include, "--include")
        self._exclude = _parse(spec.exclude, "--exclude")
        self._since = spec.since.replace("-", "")
        if self._since and (len(self._since) != 8 or not self._since.isdigit()):
            raise SettingsError(f"--since takes a StudyDate as YYYY-MM-DD, not {spec.since!r}")

    @property
    def keywords(self) -> tuple[str, ...]:
        """Keywords the scan must read for these filters."""
        return tuple({KEYS[key] for key in (*self._include, *self._exclude) if key != "file"})

    def apply(self, batch: ScanBatch) -> ScanBatch:
        """Return the batch without what is filtered out."""
        if not (self._include or self._exclude or self._since):
            return batch
        return msgspec.structs.replace(batch, files=tuple(f for f in batch.files if self._takes(f)))

    def _takes(self, file: ScannedFile) -> bool:
        if self._since and file.fields.get("StudyDate", "") < self._since:
            return False
        if any(_matches(file, key, globs) for key, globs in self._exclude.items()):
            return False
        return all(_matches(file, key, globs) for key, globs in self._include.items())


def _matches(file: ScannedFile, key: str, globs: list[str]) -> bool:
    if key == "file":
        value = (file.source.member or file.source.path).rsplit("/", 1)[-1]
    else:
        value = file.fields.get(KEYS[key], "")
    return any(fnmatchcase(value, glob) for glob in globs)


def _parse(options: tuple[str, ...], name: str) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for option in options:
        key, equals, glob = option.partition("=")
        if not equals or not glob or key not in {*KEYS, "file"}:
            known = ", ".join((*KEYS, "file"))
            raise SettingsError(f"{name} {option!r}: write KEY=GLOB; keys for an upload are {known}")
        result.setdefault(key, []).append(glob)
    return result
