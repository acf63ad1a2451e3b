"""``--map FILE.csv``: which study goes where, in a person's own words.

Columns: one or more of ``path``, ``StudyInstanceUID``, ``PatientID`` (which study), and ``project``, ``subject``,
``session`` (where to; empty cells fall back to ``-P`` and the templates). The most precise line wins: study UID, then
the longest path, then PatientID.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from xferengine.errors import BadInput, SettingsError
from xferengine.jobs.labels import check_label

KEYS = ("path", "StudyInstanceUID", "PatientID")
TARGETS = ("project", "subject", "session")


class MapLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line: empty strings are cells left out."""

    line: int
    path: str = ""
    study_uid: str = ""
    patient_id: str = ""
    project: str = ""
    subject: str = ""
    session: str = ""


class StudyMap:
    """Lines of a map, by what they name."""

    def __init__(self, lines: Iterable[MapLine]) -> None:
        self._by_uid: dict[str, MapLine] = {}
        self._by_path: dict[str, MapLine] = {}
        self._by_patient: dict[str, MapLine] = {}
        for line in lines:
            keyed = ((self._by_uid, line.study_uid), (self._by_path, line.path), (self._by_patient, line.patient_id))
            for table, key in keyed:
                if key:
                    self._put(table, key, line)
                    break

    @staticmethod
    def _put(table: dict[str, MapLine], key: str, line: MapLine) -> None:
        if key in table:
            raise SettingsError(f"map line {line.line}: the same study is named on line {table[key].line}")
        table[key] = line

    def find(self, study_uid: str, folders: Iterable[str], patient_ids: list[str]) -> MapLine | None:
        """Return the line for a study whose files lie in ``folders``; None when the map does not name it.

        Raises:
            SettingsError: two path lines of equal right name it.
        """
        if study_uid in self._by_uid:
            return self._by_uid[study_uid]
        found = {line.line: line for folder in folders if (line := self._nearest(folder)) is not None}
        if len(found) > 1:
            raise SettingsError(f"map lines {', '.join(map(str, sorted(found)))}: one study lies in several paths")
        if found:
            return next(iter(found.values()))
        matches = [self._by_patient[p] for p in patient_ids if p in self._by_patient]
        return matches[0] if len(matches) == 1 else None

    def _nearest(self, folder: str) -> MapLine | None:
        current = folder
        while True:
            if current in self._by_path:
                return self._by_path[current]
            parent = os.path.dirname(current)
            if parent == current:
                return None
            current = parent


def map_digest(path: Path) -> str:
    """Return the sha256 of a map's bytes.

    Raises:
        SettingsError: it cannot be read.
    """
    return hashlib.sha256(_bytes(path)).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"the map cannot be read: {path}: {error.strerror}", path=str(path)) from error


def read_map(path: Path) -> StudyMap:
    """Read and check a map; relative paths in it are relative to the map's own folder.

    Raises:
        SettingsError: naming the line that is wrong, and why.
    """
    try:
        text = _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"the map is not UTF-8 text (byte {error.start}): {path}", path=str(path)) from error
    reader = csv.DictReader(text.splitlines(), strict=True, skipinitialspace=True)
    try:
        header = [name.strip() for name in reader.fieldnames or []]
        _check_header(header, path)
        reader.fieldnames = header
        return StudyMap([_line(row, reader.line_num, path) for row in reader if any(_cells(row))])
    except csv.Error as error:
        raise SettingsError(f"map line {reader.line_num}: {error}", path=str(path)) from error


def _cells(row: dict[str, str | None]) -> list[str]:
    return [value.strip() for value in row.values() if isinstance(value, str) and value.strip()]


def _check_header(header: list[str], path: Path) -> None:
    unknown = [name for name in header if name not in (*KEYS, *TARGETS)]
    if unknown or len(set(header)) != len(header) or not set(header) & set(KEYS) or not set(header) & set(TARGETS):
        raise SettingsError(
            f"map line 1: the columns are {', '.join(header) or '(none)'}; needed are one of {', '.join(KEYS)}"
            f" and one of {', '.join(TARGETS)}",
            path=str(path),
        )


def _line(row: dict[str, str | None], number: int, path: Path) -> MapLine:
    if None in row or None in row.values():
        raise SettingsError(f"map line {number}: it has another number of cells than line 1", path=str(path))
    cells = {name: (value or "").strip() for name, value in row.items()}
    if not any(cells.get(key) for key in KEYS):
        raise SettingsError(f"map line {number}: it names no study ({', '.join(KEYS)} are empty)", path=str(path))
    for target in TARGETS:
        if cells.get(target):
            try:
                check_label(cells[target], target)
            except BadInput as error:
                raise SettingsError(f"map line {number}: {error}", path=str(path)) from error
    place = cells.get("path", "")
    return MapLine(
        line=number,
        path=os.path.normpath(path.parent.absolute() / place) if place else "",
        study_uid=cells.get("StudyInstanceUID", ""),
        patient_id=cells.get("PatientID", ""),
        project=cells.get("project", ""),
        subject=cells.get("subject", ""),
        session=cells.get("session", ""),
    )
