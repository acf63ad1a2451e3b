"""Where a file of the archive lies in a folder: the names XNAT's own archives use (FIL 2.1), and the way back.

    EXPERIMENT/scans/ID-TYPE/resources/LABEL/files/PATH
    EXPERIMENT/resources/LABEL/files/PATH
    EXPERIMENT/assessors/ACCESSION[/in|/out]/resources/LABEL/files/PATH
    EXPERIMENT/reconstructions/ID[/in|/out]/resources/LABEL/files/PATH
    SUBJECT/resources/LABEL/files/PATH
    PROJECT/resources/LABEL/files/PATH

``TYPE`` is the scan's type with all but ASCII letters, digits and ``_`` replaced by ``_``, so it never holds
a ``-`` and the last ``-`` of ``ID-TYPE`` parts the two. A scan without type is ``ID``, or ``ID-`` where the ID itself
holds a ``-``. An unlabelled resource goes by its numeric id. A selection that spans several projects puts ``PROJECT/``
in front.
"""

from __future__ import annotations

import re

import msgspec

from xferengine.model.items import ItemRef, Level, ResourceRef

_NO_WORD = re.compile(r"[^A-Za-z0-9_]")
FILES = "files"
_CHILDREN = frozenset({"scans", "assessors", "reconstructions"})


def scan_folder(scan_id: str, scan_type: str) -> str:
    """Return the name of a scan's folder."""
    if scan_type:
        return f"{scan_id}-{_NO_WORD.sub('_', scan_type)}"
    return f"{scan_id}-" if "-" in scan_id else scan_id


def scan_of_folder(folder: str) -> tuple[str, str]:
    """Return (scan ID, type as the folder writes it); the type is empty for a scan without one."""
    scan_id, dash, scan_type = folder.rpartition("-")
    return (scan_id, scan_type) if dash else (folder, "")


def item_folder(item: ItemRef, *, with_project: bool = False) -> str:
    """Return the folder of an item, relative to the target."""
    match item.level:
        case Level.PROJECT:
            parts = [item.project]
        case Level.SUBJECT:
            parts = [item.subject]
        case Level.EXPERIMENT:
            parts = [item.experiment]
        case Level.SCAN:
            parts = [item.experiment, "scans", scan_folder(item.child_id, item.child_type)]
        case Level.ASSESSOR:
            parts = [item.experiment, "assessors", item.child_id]
        case Level.RECONSTRUCTION:
            parts = [item.experiment, "reconstructions", item.child_id]
    if item.direction:
        parts.append(item.direction)
    if with_project:
        parts.insert(0, item.project)
    return "/".join(parts)


def resource_folder(ref: ResourceRef, *, with_project: bool = False) -> str:
    """Return the folder that holds a resource's files, relative to the target: ``…/resources/LABEL/files``."""
    return f"{item_folder(ref.item, with_project=with_project)}/resources/{ref.name}/{FILES}"


class LocalPlace(msgspec.Struct, frozen=True, kw_only=True):
    """What a path of the layout says about itself, without any listing."""

    top: str
    """Experiment label; for resources of a subject or project that label or id (the path alone cannot tell which)."""
    child: str = ""
    """``scans``, ``assessors``, ``reconstructions`` or empty."""
    child_id: str = ""
    child_type: str = ""
    """As the folder writes it."""
    direction: str = ""
    resource: str
    path: str


def place_of(relative: str) -> LocalPlace | None:
    """Read a path of the layout (without a project in front); None when it is none.

    What stands in second place tells how many parts are the holder's: a label, an id or a file may be called
    ``resources`` or ``files`` itself.
    """
    parts = relative.split("/")
    child = parts[1] if len(parts) > 1 and parts[1] in _CHILDREN else ""
    has_direction = child not in {"", "scans"} and parts[3:4] in (["in"], ["out"])
    at = 1 if not child else 4 if has_direction else 3
    if parts[at : at + 1] != ["resources"] or parts[at + 2 : at + 3] != [FILES] or len(parts) < at + 4 or "" in parts:
        return None
    child_id, child_type = "", ""
    if child:
        child_id, child_type = scan_of_folder(parts[2]) if child == "scans" else (parts[2], "")
    return LocalPlace(
        top=parts[0],
        child=child,
        child_id=child_id,
        child_type=child_type,
        direction=parts[3] if has_direction else "",
        resource=parts[at + 1],
        path="/".join(parts[at + 3 :]),
    )
