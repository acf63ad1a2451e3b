"""``--plan-out F`` and ``--plan F``: the whole plan as JSON lines, so that exactly it can be run later."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from xferengine.errors import SettingsError
from xferengine.jobs.spec import UploadSpec
from xferengine.kit.atomicfile import map_disk_errors
from xferengine.manifest import intake, overview, studies
from xferengine.manifest.rows import FileRow, StudyRow, file_row
from xferengine.manifest.store import Manifest
from xferengine.model.dicom import ScanBatch, ScannedFile


class PlanHeader(msgspec.Struct, frozen=True, kw_only=True, tag="plan", tag_field="record"):
    """First line."""

    v: int = 1
    spec: UploadSpec


class PlanTarget(msgspec.Struct, frozen=True, kw_only=True, tag="session", tag_field="record"):
    """A session with its labels; its files follow."""

    study_uid: str
    project: str
    subject: str
    session: str
    raw_subject: str
    files: int
    bytes: int


class PlanFile(msgspec.Struct, frozen=True, kw_only=True, tag="file", tag_field="record"):
    """One instance of the session before it."""

    file: FileRow


Record = PlanHeader | PlanTarget | PlanFile


def write_plan(con: sqlite3.Connection, spec: UploadSpec, path: Path) -> None:
    """Write the plan (mode 0600: it carries labels); refused sessions are left out.

    Raises:
        DiskFull, BadInput: it cannot be written.
    """
    encode = msgspec.json.encode
    with map_disk_errors(path), open(path, "wb", opener=_private) as out:
        out.write(encode(PlanHeader(spec=spec)) + b"\n")
        for study in studies.iter_all(con):
            if study.state.is_final:
                continue
            out.write(encode(_target(study)) + b"\n")
            for row in con.execute("SELECT * FROM file WHERE study_id=? AND state='planned' ORDER BY id", (study.id,)):
                out.write(encode(PlanFile(file=file_row(row))) + b"\n")


def _target(study: StudyRow) -> PlanTarget:
    return PlanTarget(
        study_uid=study.study_uid,
        project=study.project,
        subject=study.subject,
        session=study.session,
        raw_subject=study.raw_subject,
        files=study.files,
        bytes=study.bytes,
    )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def spec_of_plan(path: Path) -> UploadSpec:
    """Return the spec that a plan file was made for: ``--plan F`` runs exactly that.

    Raises:
        SettingsError: it is no plan file.
        BadInput: it cannot be read.
    """
    for record in _records(path):
        if isinstance(record, PlanHeader):
            return record.spec
        break
    raise SettingsError(f"not a plan of xferengine: {path}", path=str(path))


def _records(path: Path) -> Iterator[Record]:
    decoder = msgspec.json.Decoder(Record)
    with map_disk_errors(path), open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise SettingsError(f"{path}, line {number}: not a plan of xferengine ({error})") from error


async def load_plan(manifest: Manifest, path: Path) -> None:
    """Take a plan file into an empty manifest instead of a scan; its labels stay as they are.

    Raises:
        SettingsError: it is no plan, or files come before their session.
    """
    target: PlanTarget | None = None
    files: list[ScannedFile] = []
    for record in _records(path):
        if isinstance(record, PlanTarget):
            await _take(manifest, target, files)
            target, files = record, []
        elif isinstance(record, PlanFile):
            if target is None:
                raise SettingsError(f"not a plan of xferengine: {path}", path=str(path))
            files.append(_scanned(record.file, target.study_uid))
            if len(files) >= 1000:
                await _take(manifest, target, files)
                files = []
    await _take(manifest, target, files)
    await manifest.write(lambda con: overview.set_meta(con, "scan_run", "1"))


async def _take(manifest: Manifest, target: PlanTarget | None, files: list[ScannedFile]) -> None:
    if target is None:
        return

    def write(con: sqlite3.Connection) -> None:
        intake.insert_batch(con, ScanBatch(files=tuple(files)), 1)
        row = con.execute("SELECT id FROM study WHERE study_uid=?", (target.study_uid,)).fetchone()
        if row is not None:
            studies.set_target(
                con, row["id"], project=target.project, subject=target.subject, session=target.session,
                raw_subject=target.raw_subject,
            )  # fmt: skip

    await manifest.write(write)


def _scanned(file: FileRow, study_uid: str) -> ScannedFile:
    return ScannedFile(
        source=file.source,
        sop_uid=file.sop_uid,
        sop_class_uid="",
        study_uid=study_uid,
        series_uid=file.series_uid,
        series_number="",
        transfer_syntax="",
        payload_bytes=file.payload_bytes,
        fields={},
    )
