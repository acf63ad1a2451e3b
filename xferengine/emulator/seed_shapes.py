"""What seeding takes and returns: places, shapes, files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xferengine.emulator.world import World

OWN = "own"


class HasWorld(Protocol):
    """A running emulator, or whatever else has a world."""

    @property
    def world(self) -> World:
        """State of the site."""
        ...


@dataclass(frozen=True, slots=True)
class SeedPlace:
    """Something that holds resources; empty fields end the path. Names are labels, scan and reconstruction IDs.

    `kind` is the type of the scan or reconstruction, or the xsiType of the assessor, when it has to be made.
    `direction` is ``in``, ``out`` or ``own`` (assessors only) and matters to assessors and reconstructions.
    """

    project: str
    subject: str = ""
    experiment: str = ""
    scan: str = ""
    assessor: str = ""
    reconstruction: str = ""
    kind: str = ""
    direction: str = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededFile:
    """A file as the server has it now.

    `level` is project, subject, experiment, scan, assessor or reconstruction; `subject` and `experiment` are labels,
    `accession` the session's accession id, `child_id` a scan ID, an assessor's accession id or a reconstruction ID.
    `direction` is ``in``, ``out`` or empty. `size` and `md5` are those of the bytes, whatever the catalog says; a file
    that was not put on disk has the size and MD5 of the bytes that it would have.
    """

    project: str
    subject: str
    experiment: str
    accession: str
    level: str
    child_id: str
    child_type: str
    direction: str
    resource: str
    resource_id: str
    path: str
    size: int
    md5: str
    disk_path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedShape:
    """How much to seed.

    `resources` are the labels in each scan, `files` the files in each of them, of `file_bytes` random bytes.
    `digests` off leaves the catalogs without MD5. `awkward` adds to the first session all that a Linux disk and XNAT
    can hold between them: every awkward name in two scans and several resources, subject and project resources, an
    assessor with in, out and own resources, a reconstruction with in and out, an unlabelled resource, scan types that
    need escaping or equal another scan's ID.
    """

    sessions: int = 1
    scans: int = 2
    resources: Sequence[str] = ("DICOM",)
    files: int = 3
    file_bytes: int = 1000
    digests: bool = True
    awkward: bool = False
    seed: int = 0
