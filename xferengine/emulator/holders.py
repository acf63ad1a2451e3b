"""Who has resources: projects, subjects, sessions, scans, assessors (FIL 1.1, FIL 1.2)."""

from __future__ import annotations

from dataclasses import dataclass

from xferengine.emulator.records import (
    EXPERIMENT_OWNER,
    PROJECT_OWNER,
    SCAN_OWNER,
    SUBJECT_OWNER,
    Experiment,
    Project,
    Resource,
    Scan,
    Subject,
)
from xferengine.emulator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Something that has resources: the owner path of the store and how listings describe it (FIL 1.2).

    `uri` has no `/data` and names accession ids only; `folder` is where new resources go, `archive_path` the
    path of the holder inside downloaded archives (FIL 2.1).
    """

    owner: str
    uri: str
    folder: str
    archive_path: str
    category: str = "resources"
    cat_id: str = ""
    cat_desc: str = ""


def project_holder(project: Project) -> Holder:
    """Describe a project's own resources."""
    return Holder(
        owner=PROJECT_OWNER.format(project.id),
        uri=f"/projects/{project.id}",
        folder=f"archive/{project.id}/resources",
        archive_path=project.id,
    )


def subject_holder(subject: Subject) -> Holder:
    """Describe a subject's own resources."""
    return Holder(
        owner=SUBJECT_OWNER.format(subject.id),
        uri=f"/subjects/{subject.id}",
        folder=f"archive/{subject.project}/subjects/{subject.label}",
        archive_path=subject.label,
    )


def experiment_holder(world: World, experiment: Experiment) -> Holder:
    """Describe a session's own resources."""
    return Holder(
        owner=EXPERIMENT_OWNER.format(experiment.id),
        uri=f"/experiments/{experiment.id}",
        folder=f"{world.experiment_folder(experiment)}/RESOURCES",
        archive_path=experiment.label,
        cat_id=experiment.id,
    )


def scan_holder(world: World, experiment: Experiment, scan: Scan) -> Holder:
    """Describe a scan's resources."""
    return Holder(
        owner=SCAN_OWNER.format(experiment.id, scan.id),
        uri=f"/experiments/{experiment.id}/scans/{scan.id}",
        folder=f"{world.experiment_folder(experiment)}/SCANS/{scan.id}",
        archive_path=f"{experiment.label}/scans/{scan.id}",
        category="scans",
        cat_id=scan.id,
        cat_desc=scan.type,
    )


def assessor_holder(world: World, session: Experiment, assessor: Experiment, side: str) -> Holder:
    """Describe an assessor's in or out resources."""
    return Holder(
        owner=f"{EXPERIMENT_OWNER.format(assessor.id)}/{side}",
        uri=f"/experiments/{session.id}/assessors/{assessor.id}/{side}",
        folder=f"{world.experiment_folder(session)}/ASSESSORS/{assessor.label}/{side}",
        archive_path=f"{session.label}/assessors/{assessor.label}/{side}",
        category="assessors",
        cat_id=assessor.id,
        cat_desc=assessor.xsi_type,
    )


def below(world: World, session: Experiment) -> list[Holder]:
    """Return what `all=true` adds: scans, then out and plain resources of assessors (FIL 1.2)."""
    holders = [scan_holder(world, session, scan) for scan in session.scans.values()]
    for assessor in world.assessors_of(session.id):
        holders.append(assessor_holder(world, session, assessor, "out"))
        holders.append(experiment_holder(world, assessor))
    return holders


def resources_of(world: World, holders: list[Holder]) -> list[tuple[Holder, Resource]]:
    """Return every resource of some holders."""
    return [(holder, resource) for holder in holders for resource in world.resources_of(holder.owner)]
