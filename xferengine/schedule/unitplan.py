"""What is wanted of an experiment's resources, and the units that bring it."""

from __future__ import annotations

from collections.abc import Hashable
from enum import StrEnum

import msgspec

from xferengine.schedule.choice import Route


class Scope(StrEnum):
    """What one unit brings."""

    EXPERIMENT = "experiment"
    SCAN = "scan"
    RESOURCE = "resource"
    FILE = "file"


class ResourceNeed(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of one resource, and what it holds; also of resources nothing is wanted of, since a zip of their
    scan or experiment carries them."""

    key: Hashable
    scan: str
    """Id of its scan; empty for a resource of the experiment itself or of an assessor."""
    in_all: bool
    """Whether ``files?all=true`` of the experiment carries it; ``in`` resources are not carried."""
    wanted_files: int
    wanted_bytes: int
    total_files: int
    total_bytes: int
    big: tuple[tuple[Hashable, int], ...] = ()
    """Key and size of the wanted files that are large enough for ranges; counted in the wanted ones too."""


class UnitPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One unit, or the single requests of one resource (``route`` GET: the caller makes one unit of each file)."""

    route: Route
    scope: Scope
    keys: tuple[Hashable, ...]
    """Of the resources it brings: all of their wanted files, or all that are not big where ``route`` is GET. Of the
    file where ``scope`` is file."""
    files: int
    bytes: int
    """Wanted; a zip may carry more."""
    predicted_s: float
    why: str
    scan: str = ""
    """The scan, where that is the scope."""
    deflate: bool = False
    is_trial: bool = False


class Wave(msgspec.Struct, frozen=True, kw_only=True):
    """Units to begin now, and what is planned later, by what they teach."""

    units: list[UnitPlan]
    """The longest first, but those that teach most before them."""
    rest: list[ResourceNeed]
    """The experiment again, with nothing wanted of what the units bring; empty when all is planned."""
