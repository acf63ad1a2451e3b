"""Who has resources: projects, subjects, sessions, scans, reconstructions, assessors (FIL 1.1, FIL 1.2)."""

from __future__ import annotations

from dataclasses import dataclass

from xferengine.emulator.records import (
    EXPERIMENT_OWNER,
    PROJECT_OWNER,
    RECON_OWNER,
    SCAN_OWNER,
    SUBJECT_OWNER,
    Experiment,
    Project,
    Reconstruction,
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
    """Describe the own resources of a session, or of an assessor that its accession id names."""
    session = world.experiments.get(experiment.session_id)
    folder = world.experiment_folder(experiment) if session is None else assessor_folder(world, session, experiment)
    return Holder(
        owner=EXPERIMENT_OWNER.format(experiment.id),
        uri=f"/experiments/{experiment.id}",
        folder=f"{folder}/RESOURCES",
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
    """Describe an assessor's in or out resources; the empty side are its own, found by its accession id only."""
    tail = f"/{side}" if side else ""
    own = EXPERIMENT_OWNER.format(assessor.id)
    return Holder(
        owner=own + tail,
        uri=f"/experiments/{session.id}/assessors/{assessor.id}{tail}" if side else own,
        folder=f"{assessor_folder(world, session, assessor)}/{side or 'RESOURCES'}",
        archive_path=f"{session.label}/assessors/{assessor.label}{tail}",
        category="assessors",
        cat_id=assessor.id,
        cat_desc=assessor.xsi_type,
    )


def assessor_folder(world: World, session: Experiment, assessor: Experiment) -> str:
    """Return the folder of an assessor, inside that of its session."""
    return f"{world.experiment_folder(session)}/ASSESSORS/{assessor.label}"


def reconstruction_holder(world: World, session: Experiment, image: Reconstruction, side: str) -> Holder:
    """Describe the in or out resources of a reconstruction."""
    return Holder(
        owner=f"{RECON_OWNER.format(session.id, image.id)}/{side}",
        uri=f"/experiments/{session.id}/reconstructions/{image.id}/{side}",
        folder=f"{world.experiment_folder(session)}/RECONSTRUCTIONS/{image.id}/{side}",
        archive_path=f"{session.label}/reconstructions/{image.id}/{side}",
        category="reconstructions",
        cat_id=image.id,
        cat_desc=image.type,
    )


def below(world: World, session: Experiment) -> list[Holder]:
    """Return what `all=true` adds: scans, reconstructions out, assessors out and own, never `in` (FIL 1.2)."""
    holders = [scan_holder(world, session, scan) for scan in session.scans.values()]
    holders += [reconstruction_holder(world, session, image, "out") for image in session.reconstructions.values()]
    for assessor in world.assessors_of(session.id):
        holders.append(assessor_holder(world, session, assessor, "out"))
        holders.append(assessor_holder(world, session, assessor, ""))
    return holders


def resources_of(world: World, holders: list[Holder]) -> list[tuple[Holder, Resource]]:
    """Return every resource of some holders."""
    return [(holder, resource) for holder in holders for resource in world.resources_of(holder.owner)]
