"""Moving a built session into the archive (IMP 3.4; PrearcSessionArchiver).

Safe against ``kill -9``: files are linked into the archive first, then one transaction makes them known and removes
the row, then the prearchive folder is deleted. A death before the transaction leaves the row ``_ARCHIVING`` with all
its files; rebuild with overrideLock frees it.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.lowlevel

from xferengine.emulator.build import drop_model, load_model
from xferengine.emulator.conflicts import ArchiveRefused, PlannedScan, file_findings, plan_scans, session_findings
from xferengine.emulator.core import Core
from xferengine.emulator.http import Query
from xferengine.emulator.merge_flags import MergeFlags
from xferengine.emulator.prearc_table import remove_folder
from xferengine.emulator.records import SCAN_OWNER, CatalogEntry, Experiment, PrearcRow, Scan, User
from xferengine.emulator.scripts import remapped_uid, with_remapped_uid
from xferengine.emulator.session_extras import archive_extras, extras_findings
from xferengine.emulator.session_model import SessionModel
from xferengine.emulator.world import safe_name

_LINKS_PER_TURN = 200
_NO_DOCUMENT = (
    "The named session exists, but its XNAT session document is not available. "
    "The session is likely invalid or incomplete."
)


@dataclass(frozen=True, slots=True)
class ArchiveJob:
    """One session to archive, on whose behalf, with which liberties and parameters."""

    row: PrearcRow
    user: User
    flags: MergeFlags
    query: Query
    track: str = ""  # key of event tracking; by default the row's own


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a session goes."""

    label: str
    subject: str
    existing: Experiment | None


async def archive(core: Core, job: ArchiveJob) -> str:
    """Archive a session: ``_ARCHIVING``, then the row is gone; return the URI without ``/data``.

    Raises:
        ArchiveRefused: The row is now CONFLICT (409) or ERROR; the reason is in its log.
    """
    row, key = job.row, job.track or job.row.key
    if not core.table.set_status(row, "ARCHIVING") or not core.table.set_status(row, "_ARCHIVING"):
        raise ArchiveRefused(403, "Operation already in progress on this prearchive entry.")
    core.tracker.add(key, "InProgress", f"Archiving {row.url}")
    try:
        uri = await _archive_alone(core, job)
    except Exception as error:
        refused = error if isinstance(error, ArchiveRefused) else ArchiveRefused(500, str(error) or repr(error))
        core.table.log(row, refused.message)
        core.table.unlock(row, "CONFLICT" if refused.status == 409 else "ERROR")
        core.tracker.finish(key, succeeded=False, message=refused.message)
        raise refused from error
    core.tracker.finish(key, succeeded=True, message=f"Archive:{uri}")
    return uri


async def _archive_alone(core: Core, job: ArchiveJob) -> str:
    """Hold the archiver's in-memory locks: the prearchive URL and the destination (IMP 2.3)."""
    model = load_model(core, job.row)
    if model is None:
        raise ArchiveRefused(404, _NO_DOCUMENT)
    if not job.row.project:
        raise ArchiveRefused(400, "Cannot archive sessions from the Unassigned folder.")
    destination = find_destination(core, job.row, model, job.query)
    place = f"{job.row.project}/{destination.label}"
    if job.row.url in core.archiving:
        raise ArchiveRefused(423, "Duplicate archive attempt. Prearchive session already archiving.")
    if place in core.archiving:
        raise ArchiveRefused(423, "Duplicate archive attempt. Destination session in use.")
    core.archiving |= {job.row.url, place}
    try:
        return await _archive_model(core, job, model, destination)
    finally:
        core.archiving -= {job.row.url, place}


def find_destination(core: Core, row: PrearcRow, model: SessionModel, query: Query) -> Destination:
    """Decide label and subject; label precedence as in IMP 3.4."""
    names = ("session", f"{model.xsi_type}/label", "EXPT_LABEL", "label")
    label = next((query.get(name) for name in names if query.get(name)), "") or model.label or row.folder
    subject = query.get("subject") or query.get("SUBJECT_ID") or row.subject or model.subject
    if not subject:
        raise ArchiveRefused(400, "Unable to identify subject.")
    if not safe_name(label):
        raise ArchiveRefused(400, f"Invalid session label: {label}")
    return Destination(label, subject, core.world.find_experiment(row.project, label))


def plan_archive(core: Core, job: ArchiveJob, model: SessionModel, to: Destination) -> list[PlannedScan]:
    """Check every rule and return the plan.

    Raises:
        ArchiveRefused: The first rule that the flags do not excuse.
    """
    plan, renumbering = plan_scans(model, to.existing, core.world)
    findings = session_findings(core.world, core.settings, model, to.existing, to.subject)
    findings += renumbering
    findings += file_findings(plan, core.settings, core.world)
    findings += extras_findings(core.world, core.folder_of(job.row), to.existing)
    for finding in findings:
        if not finding.is_excused(job.flags, core.settings):
            raise ArchiveRefused(finding.status, finding.message)
    return plan


async def _archive_model(core: Core, job: ArchiveJob, model: SessionModel, to: Destination) -> str:
    await core.hooks.on_archiving(job.row)
    plan = plan_archive(core, job, model, to)
    root = core.folder_of(job.row)

    def forget() -> None:
        core.table.forget(job.row)
        drop_model(core, job.row.key)

    uri = await _register(core, job, model, to, plan, forget)
    await anyio.to_thread.run_sync(remove_folder, root)
    return uri


async def catalog_in_place(core: Core, job: ArchiveJob, model: SessionModel, forget: Callable[[], None]) -> str:
    """Make an experiment of a direct-archive session, whose files lie in the archive already (IMP 6).

    Conflict checks are skipped; a session that exists by now is refused all the same.

    Raises:
        ArchiveRefused: The experiment exists, or the session cannot be identified.
    """
    to = find_destination(core, job.row, model, job.query)
    if to.existing is not None:
        raise ArchiveRefused(409, "Session already exists, retry with overwrite enabled")
    plan, _ = plan_scans(model, None, core.world)
    return await _register(core, job, model, to, plan, forget)


async def _register(
    core: Core,
    job: ArchiveJob,
    model: SessionModel,
    to: Destination,
    plan: list[PlannedScan],
    forget: Callable[[], None],
) -> str:
    """Link the files into place, then make everything known in one transaction with `forget`."""
    root = core.folder_of(job.row)
    base = f"archive/{job.row.project}/{core.world.projects[job.row.project].current_arc}/{to.label}"
    entries: list[list[CatalogEntry]] = []
    for planned in plan:
        entries.append(await anyio.to_thread.run_sync(_catalogued, core, job, root, planned))
        await _link_files(root, core.world.data_dir / _scan_folder(base, planned), planned)
    with core.world.store.transaction():
        experiment = _save_experiment(core, job, model, to)
        for planned, catalog in zip(plan, entries, strict=True):
            _save_scan(core, experiment, planned, catalog, base)
        archive_extras(core.world, root, experiment, base, job.user.name)
        core.world.save(experiment)
        forget()
    core.instances.drop_folder(root)
    subject = core.world.subjects[experiment.subject_id]
    return f"/archive/projects/{experiment.project}/subjects/{subject.label}/experiments/{experiment.label}"


def _scan_folder(base: str, planned: PlannedScan) -> str:
    return planned.resource.folder if planned.resource else f"{base}/SCANS/{planned.target_id}/DICOM"


def _catalogued(core: Core, job: ArchiveJob, root: Path, planned: PlannedScan) -> list[CatalogEntry]:
    """Make the catalog of a scan, with UID and MD5 of each file; the project's script runs here (IMP 7)."""
    remap = core.settings.script.remap_uids == "archive" and not job.row.prevent_anon
    now = core.world.stamp()
    entries: list[CatalogEntry] = []
    for file in planned.source.files:
        path = root / file.path
        digest, size, uid = "", file.size, file.uid
        if remap or core.world.checksums:
            data = path.read_bytes()
            if remap:
                data = with_remapped_uid(data)
                fresh = path.with_name(f".{path.name}.remapped")
                fresh.write_bytes(data)
                fresh.replace(path)
                uid, size = remapped_uid(uid), len(data)
            digest = hashlib.md5(data, usedforsecurity=False).hexdigest() if core.world.checksums else ""
        entries.append(CatalogEntry(uri=file.name, name=file.name, size=size, digest=digest, uid=uid,
                                    content="RAW", format="DICOM", created=now, created_by=job.user.name))  # fmt: skip
    return entries


async def _link_files(root: Path, target: Path, planned: PlannedScan) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(planned.source.files, 1):
        _link(root / file.path, target / file.name)
        if number % _LINKS_PER_TURN == 0:
            await anyio.lowlevel.checkpoint()


def _link(source: Path, target: Path) -> None:
    if source == target:
        return  # a direct-archive session: its files are in place
    try:
        os.link(source, target)
    except FileExistsError:  # replaced, or left by a dead attempt
        target.unlink()
        os.link(source, target)


def _save_experiment(core: Core, job: ArchiveJob, model: SessionModel, to: Destination) -> Experiment:
    world, now = core.world, core.world.stamp()
    if to.existing is not None:
        to.existing.last_modified = now
        if job.flags.override and model.uid:
            to.existing.uid = model.uid
        return to.existing
    subject = world.subject(job.row.project, to.subject, any_case=True)
    if subject is None:
        subject = world.add_subject(job.row.project, to.subject, user=job.user.name)
    experiment = world.add_experiment(job.row.project, subject.id, to.label, model.xsi_type, user=job.user.name)
    experiment.uid, experiment.date, experiment.time = model.uid, model.date, model.time
    experiment.fields = {"modality": model.modality, "dcmPatientId": model.patient_id,
                         "dcmPatientName": model.patient_name, **model.fields}  # fmt: skip
    return experiment


def _save_scan(
    core: Core, experiment: Experiment, planned: PlannedScan, catalog: list[CatalogEntry], base: str
) -> None:
    world, source, now = core.world, planned.source, core.world.stamp()
    scan = planned.existing
    if scan is None:
        scan = Scan(id=planned.target_id, number=world.next_number("scan"), type=source.series_description,
                    xsi_type=source.xsi_type, uid=source.uid, series_description=source.series_description,
                    modality=source.modality, insert_date=now)  # fmt: skip
        experiment.scans[scan.id] = scan
    scan.last_modified = now
    owner = SCAN_OWNER.format(experiment.id, scan.id)
    resource = planned.resource or world.find_resource(owner, "DICOM")
    if resource is None:
        resource = world.add_resource(owner, "DICOM", _scan_folder(base, planned), content="RAW", format="DICOM")
    known = world.entries(resource)
    new_uids, new_uris = {entry.uid for entry in catalog}, {entry.uri for entry in catalog}
    replaced = [uri for uri, entry in known.items() if entry.uid in new_uids and uri not in new_uris]
    for uri in replaced:
        (world.resource_dir(resource) / uri).unlink(missing_ok=True)
    world.drop_entries(resource, replaced)
    world.put_entries(resource, catalog)
    scan.frames = str(resource.file_count)
