"""The data that is sent: synthetic sessions, written once, with what is known about each file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from xferengine.emulator.cohort import CohortFile, CohortShape, make_cohort

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Session:
    """One session of a cohort: where its files lie, and under which labels rivals send it."""

    folder: Path
    subject: str
    label: str
    files: list[CohortFile]
    zips: list[Path] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """One scenario's data."""

    name: str
    folder: Path
    sessions: list[Session]

    @property
    def files(self) -> list[CohortFile]:
        """All files."""
        return [file for session in self.sessions for file in session.files]

    @property
    def bytes(self) -> int:
        """Their size."""
        return sum(file.size for session in self.sessions for file in session.files)


def open_cohort(work: Path, name: str, shape: CohortShape, *, zips_each: int) -> Cohort:
    """Write a cohort below ``work`` and, beside it, STORED zips of each session."""
    folder = work / name / "dicom"
    by_study: dict[str, list[CohortFile]] = {}
    for file in make_cohort(folder, shape):
        by_study.setdefault(file.study_uid, []).append(file)
    sessions = []
    for files in by_study.values():
        subject = files[0].subject
        session = Session(folder=_common(files), subject=subject, label=f"{subject}_bench", files=files)
        session.zips.extend(_write_zips(work / name / "zips", session, zips_each))
        sessions.append(session)
    return Cohort(name=name, folder=folder, sessions=sessions)


def warm(cohort: Cohort) -> None:
    """Read everything once, so that no client pays for the disk."""
    for path in _everything(cohort):
        with path.open("rb", buffering=0) as stream:
            while stream.read(CHUNK_BYTES):
                pass


def _everything(cohort: Cohort) -> Iterator[Path]:
    for session in cohort.sessions:
        yield from (file.path for file in session.files)
        yield from session.zips


def _common(files: list[CohortFile]) -> Path:
    return Path(os.path.commonpath([str(file.path.parent) for file in files]))


def _write_zips(folder: Path, session: Session, count: int) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    count = min(count, len(session.files))
    for number in range(count):
        target = folder / f"{session.subject}_{number:03d}.zip"
        _write_zip(target, [(file.path, f"{file.sop_uid}.dcm") for file in session.files[number::count]])
        yield target


def _write_zip(target: Path, files: list[tuple[Path, str]]) -> None:
    """Write a STORED zip with sizes and CRCs in its local headers, as XNAT's streaming reader needs."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path, name in files:
            archive.write(path, name)
