"""The folder's side of a comparison: every file that lies there, and whether it is one of those that were asked for."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from xferengine.errors import UnsafePath
from xferengine.jobs.remote_selection import RemoteSelection
from xferengine.jobs.resolve import Scope
from xferengine.jobs.verify_ends import Ends
from xferengine.jobs.verify_listing import Match
from xferengine.kit.atomicfile import map_disk_errors
from xferengine.manifest import transfers
from xferengine.manifest.comparisons import SeenLocal
from xferengine.model.items import ItemRef, Level, RemoteFile, ResourceRef
from xferengine.model.layout import LocalPlace, item_folder, place_of, resource_folder, scan_of_folder
from xferengine.store.filedigest import kind_of
from xferengine.store.names import OWN_FOLDER, check_relative
from xferengine.store.treewalk import TreeFile, TreeProblem, walk_tree

BATCH = 1000
"""Files that are looked at in one hop."""
_LEVELS = {"scans": Level.SCAN, "assessors": Level.ASSESSOR, "reconstructions": Level.RECONSTRUCTION}

Found = TreeFile | TreeProblem


def walk(folder: Path, tops: Sequence[str] | None) -> Iterator[Found]:
    """Yield what lies in a folder, or in some folders of it (those that are there). Blocks.

    Raises:
        BadInput: ``folder`` is no folder.
    """
    if tops is None:
        yield from walk_tree(folder)
        return
    for top in sorted(tops):
        try:
            check_relative(top)
        except UnsafePath:
            continue
        kind = kind_of(str(folder / top))
        if kind == "folder":
            for found in walk_tree(folder / top):
                yield _below(top, found)
        elif kind:
            yield TreeProblem(path=top, detail="links are not followed" if kind == "link" else "it is no folder")


def _below(top: str, found: Found) -> Found:
    path = top if found.path == "." else f"{top}/{found.path}"
    if isinstance(found, TreeProblem):
        return TreeProblem(path=path, detail=found.detail, is_folder=found.is_folder)
    return TreeFile(path=path, size=found.size, mtime_ns=found.mtime_ns, inode=found.inode)


def take(walked: Iterator[Found]) -> list[Found]:
    """Return the next files of a walk; none at its end. Blocks."""
    return list(islice(walked, BATCH))


class Judge:
    """Decides for each local file whose it is, and whether it was asked for.

    Args:
        ends: the two places.
        matches: what is compared.
        selection: which files are wanted; it holds for both sides.
        others: all items of the server, wanted or not.
        broken: projects that the server could not list.
    """

    def __init__(
        self,
        ends: Ends,
        matches: Sequence[Match],
        selection: RemoteSelection,
        others: Iterable[ItemRef],
        *,
        broken: Iterable[str] = (),
    ) -> None:
        (remote,) = ends.remotes.values()
        self._with_project = ends.with_project
        self._selection = selection
        self.is_whole = not remote.subject and not remote.resource
        """Whether all that lies in the folder is meant, not just what lies below the items."""
        self._owners: dict[str, list[Match]] = {}
        for match in matches:
            self._owners.setdefault(self._top(match.ref), []).append(match)
        self._others = {self._top(item) for item in others} - set(self._owners)
        self._broken = frozenset(broken)
        self._known_top = ""
        self._known: dict[str, ResourceRef] = {}

    def _top(self, item: ItemRef) -> str:
        return item_folder(item, with_project=self._with_project)

    @property
    def tops(self) -> list[str] | None:
        """The folders to be walked; None for all."""
        return None if self.is_whole else list(self._owners)

    def count_left(self, folder: Path) -> tuple[int, int]:
        """Return how many (folders, files) of a folder's top are not looked at; its own records are none. Blocks.

        Raises:
            BadInput: it cannot be read.
        """
        folders = files = 0
        if self._with_project or (self.is_whole and not self._others):
            return 0, 0
        with map_disk_errors(folder), os.scandir(folder) as entries:
            for entry in entries:
                is_left = entry.name in self._others if self.is_whole else entry.name not in self._owners
                if is_left and entry.name != OWN_FOLDER:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    folders, files = folders + is_folder, files + (not is_folder)
        return folders, files

    @property
    def shared(self) -> list[list[int]]:
        """Items that share a folder: their rows, the one that comes first in front."""
        return [[match.item_id for match in owners] for owners in self._owners.values() if len(owners) > 1]

    def rows(self, con: sqlite3.Connection, found: Iterable[Found]) -> list[SeenLocal]:
        """Return the rows of what counts."""
        rows: list[SeenLocal] = []
        for one in found:
            item_id = self._item_of(con, one.path)
            if item_id is None:
                continue
            if isinstance(one, TreeFile):
                rows.append(
                    SeenLocal(key=one.path, item_id=item_id, size=one.size, mtime_ns=one.mtime_ns, inode=one.inode)
                )
            else:
                # what cannot be read may hold anything; a link or a device is just something that is there
                is_extra = not one.detail.startswith("it cannot be read")
                rows.append(
                    SeenLocal(key=one.path, item_id=item_id, problem=f"BadInput: {one.detail}", is_extra=is_extra)
                )
        return rows

    def _item_of(self, con: sqlite3.Connection, path: str) -> int | None:
        """Return the item's row, 0 for something that belongs to none, None for what was not asked for."""
        parts = path.split("/")
        depth = 2 if self._with_project else 1
        top, relative = "/".join(parts[:depth]), "/".join(parts[depth - 1 :])
        owners = self._owners.get(top)
        if owners is None:
            return self._stranger(parts, top, relative)
        place = place_of(relative)
        owners = [match for match in owners if place is None or not place.child or _is_experiment(match)]
        for match in owners:
            if self._is_wanted(con, match, top, relative, place):
                return None if match.failed else match.item_id
        return None

    def _stranger(self, parts: list[str], top: str, relative: str) -> int | None:
        """Judge a file below nothing that is compared: too much, unless a filter keeps it out."""
        if not self.is_whole or top in self._others:
            return None
        project = parts[0] if self._with_project else ""
        if project in self._broken:
            return None
        place = place_of(relative)
        experiment = place.top if place is not None else ""
        path = place.path if place is not None else relative
        takes = self._selection
        is_wanted = takes.takes_item(project=project, experiment=experiment) and takes.takes_file(_file(path))
        if place is not None:
            ref = _ref_of(place, ItemRef(level=Level.EXPERIMENT, project=project, experiment=place.top))
            is_wanted = is_wanted and takes.takes_resource(ref)
        return 0 if is_wanted else None

    def _is_wanted(
        self, con: sqlite3.Connection, match: Match, top: str, relative: str, place: LocalPlace | None
    ) -> bool:
        (wanted,) = match.sides.values()
        if place is None:  # below an item, but where no resource has its files
            return self._selection.takes_file(_file(relative)) and any(
                _covers(scope, relative) for scope in wanted.scopes
            )
        ref = self._ref(con, match, top, place)
        return (
            any(scope.takes(ref) and scope.takes_path(place.path) for scope in wanted.scopes)
            and self._selection.takes_resource(ref)
            and self._selection.takes_file(_file(place.path))
        )

    def _ref(self, con: sqlite3.Connection, match: Match, top: str, place: LocalPlace) -> ResourceRef:
        """Return the resource as the server lists it where it does: a folder's name says less of a scan's type."""
        if top != self._known_top:
            self._known_top, self._known = top, {}
            for owner in self._owners[top]:
                for row in transfers.resources(con, transfers.item(con, owner.item_id)).values():
                    self._known.setdefault(f"{owner.item_id}:{resource_folder(row.ref)}", row.ref)
        guess = _ref_of(place, match.ref)
        return self._known.get(f"{match.item_id}:{resource_folder(guess)}", guess)


def _is_experiment(match: Match) -> bool:
    return match.ref.level is Level.EXPERIMENT


def _ref_of(place: LocalPlace, item: ItemRef) -> ResourceRef:
    holder = ItemRef(
        level=_LEVELS.get(place.child, item.level),
        project=item.project,
        subject=item.subject,
        experiment=item.experiment,
        child_id=place.child_id,
        child_type=place.child_type,
        direction=place.direction,
    )
    return ResourceRef(item=holder, id="", label=place.resource)


def _file(path: str) -> RemoteFile:
    return RemoteFile(path=path, size=-1, digest="")


def _covers(scope: Scope, relative: str) -> bool:
    """Say whether a scope means all that lies at some place below an item."""
    if scope.resource or scope.file:
        return False
    if not scope.child:
        return True
    parts = relative.split("/")
    if len(parts) < 3 or parts[1] != scope.child:
        return False
    child_id = scan_of_folder(parts[2])[0] if scope.child == "scans" else parts[2]
    return child_id == scope.child_id and (not scope.direction or parts[3:4] == [scope.direction])
