"""Items of an archive that can hold resources, their resources and files: what a listing says."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """Where a resource hangs."""

    PROJECT = "project"
    SUBJECT = "subject"
    EXPERIMENT = "experiment"
    SCAN = "scan"
    ASSESSOR = "assessor"
    RECONSTRUCTION = "reconstruction"


class ItemRef(msgspec.Struct, frozen=True, kw_only=True):
    """One item, addressed by ids where there are ids (FIL 10.4). Labels stay out of its repr."""

    level: Level
    project: str
    """Project id."""
    subject: str = ""
    """Subject label."""
    subject_id: str = ""
    """Subject accession id."""
    experiment: str = ""
    """Experiment label."""
    experiment_id: str = ""
    """Experiment accession id."""
    child_id: str = ""
    """Scan ID, assessor accession id or reconstruction ID."""
    child_type: str = ""
    """Scan type (or xsiType of an assessor), as the server writes it."""
    direction: str = ""
    """``in`` or ``out`` of an assessor or reconstruction; empty for what hangs on the assessor itself."""

    def __repr__(self) -> str:
        return f"ItemRef({self.level}, {self.experiment_id or self.subject_id or self.project})"

    @property
    def segments(self) -> tuple[str, ...]:
        """Decoded URL path segments of the item, from ``data`` on (FIL 1.1)."""
        match self.level:
            case Level.PROJECT:
                return ("data", "projects", self.project)
            case Level.SUBJECT:
                return ("data", "subjects", self.subject_id)
            case Level.EXPERIMENT:
                return ("data", "experiments", self.experiment_id)
            case Level.SCAN:
                # raw, a slash would end the segment and a comma begin another scan (FIL 1.1)
                scan = self.child_id.replace("/", "[SLASH]").replace(",", "[COMMA]")
                return ("data", "experiments", self.experiment_id, "scans", scan)
            case Level.ASSESSOR if not self.direction:
                # below the session "out" would be meant (FIL 1.1); an assessor is an experiment of its own, too
                return ("data", "experiments", self.child_id)
            case Level.ASSESSOR:
                base = ("data", "experiments", self.experiment_id, "assessors", self.child_id)
            case Level.RECONSTRUCTION:
                base = ("data", "experiments", self.experiment_id, "reconstructions", self.child_id)
        return (*base, self.direction) if self.direction else base


class ResourceRef(msgspec.Struct, frozen=True, kw_only=True):
    """One resource of an item."""

    item: ItemRef
    id: str
    """Numeric id; empty while the resource does not exist."""
    label: str
    """Empty for an unlabelled one."""

    def __repr__(self) -> str:
        return f"ResourceRef({self.item!r}, {self.id or self.label})"

    @property
    def name(self) -> str:
        """Label, or the numeric id of an unlabelled one: what archives and folders are named by (FIL 2.1)."""
        return self.label or self.id

    @property
    def segments(self) -> tuple[str, ...]:
        """Decoded URL path segments; the numeric id where it is known (FIL 10.4)."""
        return (*self.item.segments, "resources", self.id or self.label)


class RemoteFile(msgspec.Struct, frozen=True, kw_only=True):
    """One catalogued file of a resource."""

    path: str
    """Inside the resource, decoded, with ``/``; exactly the catalog's text."""
    size: int
    """Bytes as the catalog recorded them; -1 when it does not say."""
    digest: str
    """MD5 in lower-case hex; empty where the catalog has none."""


class ResourceFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A resource with its catalogued files, in the catalog's order."""

    ref: ResourceRef
    files: tuple[RemoteFile, ...]
