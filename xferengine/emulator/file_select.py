"""Which files a files URL names: resources, entries, folders, patterns, filters (FIL 1.1, FIL 1.5, FIL 1.6)."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xferengine.emulator.file_names import decoded
from xferengine.emulator.holders import Holder
from xferengine.emulator.http import HttpError, Query, Request
from xferengine.emulator.records import CatalogEntry, Resource
from xferengine.emulator.world import World

_ZIP_STEP = re.compile(r"(?<=\.(?:zip|jar|rar|ear|gar|mrb))[!/]", re.IGNORECASE)  # zip and mrb have equal lengths


@dataclass(frozen=True, slots=True)
class Found:
    """A catalog entry with the resource and holder it belongs to."""

    holder: Holder
    resource: Resource
    entry: CatalogEntry


def find_entries(world: World, pairs: Iterable[tuple[Holder, Resource]], path: str) -> list[Found]:
    """Return what a path names in some resources: everything, a folder ending in `/`, a `*` pattern, or one file."""
    found: list[Found] = []
    for holder, resource in pairs:
        entries = world.entries(resource)
        if path and not path.endswith(("/", "*")):
            entry = find_entry(entries, path)
            chosen: Iterable[CatalogEntry] = () if entry is None else (entry,)
        else:
            accepts = PathPattern(path) if path else None
            chosen = [entry for uri, entry in entries.items() if accepts is None or accepts(uri)]
        found += [Found(holder, resource, entry) for entry in chosen]
    return found


def find_entry(entries: dict[str, CatalogEntry], path: str) -> CatalogEntry | None:
    """Return the entry of a path as it is, else of its decoded form (FIL 1.6)."""
    return entries.get(path) or entries.get(decoded(path))


class PathPattern:
    """Says whether a catalog path equals or starts with a text, or matches it as a `*` pattern (FIL 1.7)."""

    def __init__(self, path: str) -> None:
        self._path = path
        parts = path.split("*")
        self._pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL) if len(parts) > 1 else None

    def __call__(self, uri: str) -> bool:
        """Match one path."""
        return uri.startswith(self._path) or (self._pattern is not None and self._pattern.match(uri) is not None)


def filtered(found: list[Found], path: str, query: Query, *, is_single: bool) -> list[Found]:
    """Apply `recursive`, `file_content`, `file_format` and `index`; the last needs a filter in a single resource."""
    contents = {"" if value == "NULL" else value for value in query.all("file_content")}
    formats = set(query.all("file_format")) - {"NULL"}
    if path.endswith("/") and query.has("recursive") and not query.flag("recursive"):
        # The test is inverted: what stays are the deeper rows (FIL 1.5).
        found = [item for item in found if "/" in item.entry.uri[len(path) :]]
    if contents:
        found = [item for item in found if item.entry.content in contents]
    if query.has("file_format"):
        found = [item for item in found if item.entry.format in formats]
    index = query.get("index")
    if index.isdecimal() and (contents or formats or not is_single):
        found = found[int(index) : int(index) + 1]
    return found


def split_zip_path(path: str) -> tuple[str, str]:
    """Return the path of a zip and of a member in it; the latter is empty when no zip is stepped into (FIL 1.6)."""
    found = _ZIP_STEP.search(path)
    if found is None or not path[found.end() :]:
        return path, ""
    return path[: found.start()], decoded(path[found.end() :])


def refuse_foreign_numbers(world: World, request: Request, slot: str) -> None:
    """Refuse numbers of resources the caller may not read: 404, since it happens in a constructor (FIL 1.1)."""
    for name in slot.split(","):
        resource = world.resources.get(int(name)) if name.isdecimal() else None
        if resource is not None and not world.can_read(request.user, _project_of(world, resource)):
            raise HttpError(404)


def _project_of(world: World, resource: Resource) -> str:
    _, level, name, *_ = resource.owner.split("/")
    owner = {"subjects": world.subjects, "experiments": world.experiments}.get(level, {}).get(name)
    return name if owner is None else owner.project


class Folder:
    """Finds the files of one resource on disk; names and links that lead out of it are never followed."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._is_safe: dict[str, bool] = {}

    def find(self, uri: str) -> Path | None:
        """Return the file of an entry, or its gzipped twin, which is sent as it is (FIL 1.6); None if there is none."""
        folder, _, name = uri.rpartition("/")
        if name in ("", ".", "..") or "\x00" in uri or not self._safe(folder):
            return None
        path = f"{self._root}/{uri}"
        return self._regular(path) or self._regular(path + ".gz")

    def _safe(self, folder: str) -> bool:
        found = self._is_safe.get(folder)
        if found is None:
            found = self._is_safe[folder] = not folder or self._is_plain(folder)
        return found

    def _is_plain(self, folder: str) -> bool:
        parent, _, name = folder.rpartition("/")
        if name in ("", ".", "..") or not self._safe(parent):
            return False
        path = f"{self._root}/{folder}"
        return not os.path.islink(path) or self._inside(path)

    def _inside(self, path: str) -> bool:
        real = os.path.realpath(self._root)
        return os.path.commonpath((real, os.path.realpath(path))) == real

    def _regular(self, path: str) -> Path | None:
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            return None
        if stat.S_ISREG(mode) or (stat.S_ISLNK(mode) and os.path.isfile(path) and self._inside(path)):
            return Path(path)
        return None
