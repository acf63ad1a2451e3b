"""Test content put straight on the server's disk and into its catalogs, without HTTP.

    files = seed_project(emulator, "P", SeedShape(sessions=2, scans=3, files=10))
    put_file(emulator.world, SeedPlace("P", "S1", "E1", scan="1"), "R", "a/b.txt", b"x", digest="0" * 32)

Missing subjects, sessions, scans, assessors, reconstructions and resources are made on the way. Everything is visible
to the next request; run it on the event loop's thread, with no upload under way.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xferengine.emulator.holders import (
    Holder,
    assessor_holder,
    experiment_holder,
    project_holder,
    reconstruction_holder,
    scan_holder,
    subject_holder,
)
from xferengine.emulator.records import CatalogEntry, Experiment, Reconstruction, Resource, Scan
from xferengine.emulator.seed_names import AWKWARD_FILES, AWKWARD_SCANS
from xferengine.emulator.seed_shapes import OWN, HasWorld, SeededFile, SeedPlace, SeedShape
from xferengine.emulator.world import World

__all__ = ["HasWorld", "SeedPlace", "SeedShape", "SeededFile", "make_place", "put_file", "seed_project"]

_TAIL_BYTES = 16
_BLOCK_BYTES = 16 << 20  # larger bodies repeat it
_VARIANTS = 16  # different bodies; files of one body differ in their last bytes, which makes MD5 cheap
_SESSION_TYPE, _SCAN_TYPE, _ASSESSOR_TYPE = "xnat:mrSessionData", "xnat:mrScanData", "xnat:qcAssessmentData"


def seed_project(target: World | HasWorld, project: str, shape: SeedShape) -> list[SeededFile]:
    """Fill a project (made if missing) and return every file that was put, in order.

    Sessions are called ``{project}_E001``, their subjects ``{project}_S001``, scans ``1`` and so on.
    """
    world = _world(target)
    bodies = _Bodies(shape.file_bytes, shape.seed)
    names = [f"{number:05d}.dcm" for number in range(1, shape.files + 1)]
    seeded: list[SeededFile] = []
    with world.store.transaction():
        for place, label in _plain_places(project, shape):
            seeded += _put_many(world, place, label, zip(names, bodies, strict=False), digest=shape.digests)
        if shape.awkward:
            for place, label, path in _awkward_places(project):
                data = b"" if path.endswith("empty") else f"{label}/{path} {place.scan}{place.direction}".encode()
                seeded.append(put_file(world, place, label, path, data, digest=shape.digests))
    return seeded


def put_file(
    target: World | HasWorld,
    place: SeedPlace,
    label: str,
    path: str,
    data: bytes,
    *,
    digest: bool | str = True,
    size: int | None = None,
    on_disk: bool = True,
    catalogued: bool = True,
) -> SeededFile:
    """Put one file into a resource; what the catalog says of it need not be true.

    Args:
        target: World or emulator.
        place: What holds the resource.
        label: Resource label; empty for an unlabelled resource.
        path: Path below the resource, exactly as it shall be on disk.
        data: Content.
        digest: Record the MD5; a text is recorded instead of it.
        size: Recorded size, None for the true one.
        on_disk: False makes an entry without a file.
        catalogued: False makes a file without an entry.
    """
    world = _world(target)
    resource, template = _resource(world, place, label)
    file = world.resource_dir(resource) / path
    if on_disk:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if catalogued:
        entry = _entry(world.stamp(), path, len(data) if size is None else size)
        entry.digest = digest if isinstance(digest, str) else md5 if digest else ""
        world.put_entries(resource, [entry])
    return template.file(path, len(data), md5, file)


def make_place(target: World | HasWorld, place: SeedPlace) -> Holder:
    """Make what is missing of a place and return its holder."""
    return _made(_world(target), place)[0]


# -- making what is missing -----------------------------------------------------------------------------------------


def _world(target: World | HasWorld) -> World:
    return target if isinstance(target, World) else target.world


@dataclass(frozen=True, slots=True)
class _Template:
    """What all files of one resource have in common."""

    place: SeedPlace
    accession: str
    level: str
    child_id: str
    child_type: str
    resource: str
    resource_id: str

    def file(self, path: str, size: int, md5: str, disk_path: Path) -> SeededFile:
        """Describe a file."""
        place = self.place
        has_sides = self.level in ("assessor", "reconstruction") and place.direction != OWN
        return SeededFile(
            project=place.project,
            subject=place.subject,
            experiment=place.experiment,
            accession=self.accession,
            level=self.level,
            child_id=self.child_id,
            child_type=self.child_type,
            direction=place.direction if has_sides else "",
            resource=self.resource,
            resource_id=self.resource_id,
            path=path,
            size=size,
            md5=md5,
            disk_path=disk_path,
        )


def _resource(world: World, place: SeedPlace, label: str) -> tuple[Resource, _Template]:
    holder, level, accession = _made(world, place)
    found = next((r for r in world.resources_of(holder.owner) if r.label == label), None)
    if found is None:
        found = world.add_resource(holder.owner, label, "")
        found.folder = f"{holder.folder}/{label or found.id}"
        world.save(found)
        world.resource_dir(found).mkdir(parents=True, exist_ok=True)
    is_child = level in ("scan", "assessor", "reconstruction")
    child = (holder.cat_id, holder.cat_desc) if is_child else ("", "")
    return found, _Template(place, accession, level, *child, label, str(found.id))


def _made(world: World, place: SeedPlace) -> tuple[Holder, str, str]:
    """Return the holder of a place, its level, and the accession id of its session."""
    project = world.projects.get(place.project) or world.add_project(place.project)
    if not place.subject:
        return project_holder(project), "project", ""
    subject = world.subject(place.project, place.subject) or world.add_subject(place.project, place.subject)
    if not place.experiment:
        return subject_holder(subject), "subject", ""
    session = world.find_experiment(place.project, place.experiment) or world.add_experiment(
        place.project, subject.id, place.experiment, _SESSION_TYPE
    )
    if place.scan:
        return scan_holder(world, session, _scan(world, session, place)), "scan", session.id
    if place.assessor:
        assessor = next((a for a in world.assessors_of(session.id) if a.label == place.assessor), None)
        assessor = assessor or world.add_experiment(
            place.project, subject.id, place.assessor, place.kind or _ASSESSOR_TYPE, session_id=session.id
        )
        side = "" if place.direction == OWN else place.direction
        return assessor_holder(world, session, assessor, side), "assessor", session.id
    if place.reconstruction:
        image = _reconstruction(world, session, place)
        return reconstruction_holder(world, session, image, place.direction), "reconstruction", session.id
    return experiment_holder(world, session), "experiment", session.id


def _scan(world: World, session: Experiment, place: SeedPlace) -> Scan:
    scan = session.scans.get(place.scan)
    if scan is None:
        stamp = world.stamp()
        scan = session.scans[place.scan] = Scan(
            id=place.scan,
            number=world.next_number("scan"),
            type=place.kind,
            xsi_type=_SCAN_TYPE,
            insert_date=stamp,
            last_modified=stamp,
        )
        world.save(session)
    return scan


def _reconstruction(world: World, session: Experiment, place: SeedPlace) -> Reconstruction:
    image = session.reconstructions.get(place.reconstruction)
    if image is None:
        image = Reconstruction(id=place.reconstruction, number=world.next_number("reconstruction"), type=place.kind)
        session.reconstructions[image.id] = image
        world.save(session)
    return image


# -- many files -----------------------------------------------------------------------------------------------------


class _Bodies:
    """Endless different contents of one size, each as (parts, MD5)."""

    def __init__(self, size: int, seed: int) -> None:
        self._tail = min(size, _TAIL_BYTES)
        shared = size - self._tail
        self._variants = _VARIANTS if size <= _BLOCK_BYTES else 1
        length = shared + self._variants
        block = random.Random(seed).randbytes(min(length, _BLOCK_BYTES))
        base = memoryview(block * -(-length // max(len(block), 1)))
        self._heads = [base[start : start + shared] for start in range(self._variants)]
        self._digests = [hashlib.md5(head, usedforsecurity=False) for head in self._heads]
        self._number = 0

    def __iter__(self) -> Iterator[tuple[tuple[bytes | memoryview, bytes], str]]:
        return self

    def __next__(self) -> tuple[tuple[bytes | memoryview, bytes], str]:
        number, self._number = self._number, self._number + 1
        tail = number.to_bytes(_TAIL_BYTES, "little")[: self._tail]
        digest = self._digests[number % self._variants].copy()
        digest.update(tail)
        return (self._heads[number % self._variants], tail), digest.hexdigest()


def _put_many(
    world: World,
    place: SeedPlace,
    label: str,
    files: Iterable[tuple[str, tuple[tuple[bytes | memoryview, bytes], str]]],
    *,
    digest: bool,
) -> list[SeededFile]:
    resource, template = _resource(world, place, label)
    root, stamp = world.resource_dir(resource), world.stamp()
    entries: list[CatalogEntry] = []
    seeded: list[SeededFile] = []
    for name, (parts, md5) in files:
        file = root / name
        _write(file, parts)
        size = sum(map(len, parts))
        entry = _entry(stamp, name, size)
        entry.digest = md5 if digest else ""
        entries.append(entry)
        seeded.append(template.file(name, size, md5, file))
    world.put_entries(resource, entries)
    return seeded


def _write(path: Path, parts: tuple[bytes | memoryview, bytes]) -> None:
    with path.open("wb", buffering=0) as file:
        if os.writev(file.fileno(), parts) != sum(map(len, parts)):
            raise OSError(f"short write: {path.name}")


def _entry(stamp: str, path: str, size: int) -> CatalogEntry:
    name = path.rpartition("/")[2]
    return CatalogEntry(uri=path, name=name, size=size, created=stamp, created_by="admin")


def _plain_places(project: str, shape: SeedShape) -> Iterator[tuple[SeedPlace, str]]:
    types = ("T1", "T2", "BOLD rest", "DTI (64)")
    for session in range(1, shape.sessions + 1):
        for scan in range(1, shape.scans + 1):
            kind = types[(scan - 1) % len(types)]
            place = SeedPlace(project, f"{project}_S{session:03d}", f"{project}_E{session:03d}", str(scan), kind=kind)
            yield from ((place, label) for label in shape.resources)


def _awkward_places(project: str) -> Iterator[tuple[SeedPlace, str, str]]:
    subject, session = f"{project}_S001", f"{project}_E001"
    for scan, kind in AWKWARD_SCANS:
        for label in ("AWKWARD", "awkward"):
            place = SeedPlace(project, subject, session, scan, kind=kind)
            yield from ((place, label, path) for path in AWKWARD_FILES)
    places = [
        SeedPlace(project),
        SeedPlace(project, subject),
        SeedPlace(project, subject, session),
        *(SeedPlace(project, subject, session, assessor="QC", direction=side) for side in ("in", "out", OWN)),
        *(SeedPlace(project, subject, session, reconstruction="R1", kind="T1 mean", direction=side)
          for side in ("in", "out")),
    ]  # fmt: skip
    for place in places:
        for label in ("NOTES", "DATA") if place.scan == place.assessor == "" else ("DATA",):
            yield from ((place, label, path) for path in ("a b.txt", "sub/same.txt", "same.txt", "empty"))
    yield SeedPlace(project, subject, session, "1"), "", "unlabelled.txt"
