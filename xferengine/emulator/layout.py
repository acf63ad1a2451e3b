"""Paths inside downloaded archives: the four `structure=` layouts with their textual replacements (FIL 2.1)."""

from __future__ import annotations

import re

from xferengine.emulator import tables
from xferengine.emulator.file_select import Found
from xferengine.emulator.http import Query
from xferengine.emulator.places import Place
from xferengine.emulator.world import World


class ArchiveLayout:
    """Names the files of one archive.

    `structure` is simplified, improved, legacy, or anything else for the default. Replacements are textual, as XNAT's:
    they also hit folders inside a file's own path.
    """

    def __init__(self, world: World, place: Place, query: Query, media: str) -> None:
        self._structure = query.get("structure")
        self._is_zip = media == tables.ZIP
        self._prefix = _prefix(world, place, query)
        self._suffixes = [
            (f"/{scan.id}/", f"/{scan.id}-{re.sub(r'[^A-Za-z0-9_]', '_', scan.type)}/")
            for scan in place.scans
            if scan.type
        ]

    def path(self, item: Found) -> str:
        """Return the path of a file in the archive; an unlabelled resource goes by its number."""
        holder, uri = item.holder, item.entry.uri
        label = item.resource.label or str(item.resource.id)
        match self._structure:
            case "improved":
                return self._improved(item, label)
            case "legacy":
                return f"{_from_session_on(item.resource.folder)}/{uri}"
            case "simplified":
                path = f"{self._prefix}{holder.archive_path}/resources/{label}/files/{uri}"
                return path.replace("/resources", "").replace("/files", "")
        path = f"{self._prefix}{holder.archive_path}/resources/{label}/files/{uri}"
        for plain, suffixed in self._suffixes:
            path = path.replace(plain, suffixed)
        return path

    def _improved(self, item: Found, label: str) -> str:
        """No session folder; a missing description leaves its blank, tars have none (FIL 2.1)."""
        holder = item.holder
        if not holder.cat_id:
            return f"{holder.category}/{label}/{item.entry.uri}"
        name = f"{holder.cat_id}_{holder.cat_desc or ' '}" if self._is_zip else holder.cat_id
        return f"{holder.category}/{_reserved(name)}/{label}/{item.entry.uri}"


def _prefix(world: World, place: Place, query: Query) -> str:
    """Return project and subject folders, which only URLs of scans, reconstructions and assessors can have."""
    if place.experiment is None or not (place.scans or place.reconstructions or place.assessors):
        return ""
    parts: list[str] = []
    if query.flag("projectIncludedInPath"):
        parts.append(place.experiment.project)
    if query.flag("subjectIncludedInPath"):
        subject = world.subjects.get(place.experiment.subject_id)
        parts.append(subject.label if subject is not None else place.experiment.subject_id)
    return "".join(f"{part}/" for part in parts)


def _from_session_on(folder: str) -> str:
    """Cut the folder of a resource on disk, ``archive/PROJECT/ARC/SESSION/...``, to what begins with the session."""
    _, project, place, *rest = folder.split("/")
    return f"{project}/{place}/{'/'.join(rest)}" if place == "resources" else "/".join(rest)


def _reserved(name: str) -> str:
    return re.sub(r'[<>:"/\\|?*]', "_", name)
