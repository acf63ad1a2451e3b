"""Reading and deleting files: what a files URL asks for, and who answers it (FIL 1.5 - 1.7, FIL 2.1)."""

from __future__ import annotations

from pathlib import Path

from xferengine.emulator import tables
from xferengine.emulator.catalogs import find_resources
from xferengine.emulator.file_archive import ARCHIVES, FileArchive
from xferengine.emulator.file_list import FileList
from xferengine.emulator.file_names import inside, tail_path
from xferengine.emulator.file_select import (
    Folder,
    PathPattern,
    filtered,
    find_entries,
    find_entry,
    refuse_foreign_numbers,
    split_zip_path,
)
from xferengine.emulator.file_send import refuse_unsized_range, send_file
from xferengine.emulator.holders import Holder, resources_of
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.places import FILE_TAILS, Place, locate
from xferengine.emulator.records import Resource
from xferengine.emulator.router import REST, Route
from xferengine.emulator.site import Site, chosen_media
from xferengine.emulator.world import World
from xferengine.emulator.zip_members import send_member, zip_contents

_Pairs = list[tuple[Holder, Resource]]


class FileGet:
    """Handlers that read and delete files."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._versions = site.versions
        self._hooks = site.core.hooks
        self._list = FileList(site)
        self._archive = FileArchive(site)

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        calls = (("GET", self.get), ("DELETE", self.delete))
        return [(method, tail, call) for tail in FILE_TAILS for method, call in calls]

    async def get(self, request: Request) -> Response:
        """List files, send one, or send an archive of many."""
        media = chosen_media(request, tables.FILE_VARIANTS)
        place = locate(self._world, request, all_below=request.query.flag("all"))
        if not place.holders:
            # Nothing to fall back to: XNAT runs into a null project (FIL 1.1).
            raise HttpError(500)
        pairs = self._resources(request, place)
        is_single = "R" in request.vars and len(pairs) == 1
        path = tail_path(request.vars[REST])
        if media in ARCHIVES and not path.endswith("." + ARCHIVES[media]):
            refuse_unsized_range(request)
            is_file = bool(path) and not path.endswith(("/", "*"))
            found = filtered(find_entries(self._world, pairs, path), path, request.query, is_single=is_single)
            return await self._archive.answer(request, place, found, media, bare_name=is_file and is_single)
        # Patterns are honoured among several resources only (FIL 1.5).
        if path and not path.endswith("/" if is_single else ("/", "*")):
            return await self._one(request, pairs, path, is_single=is_single)
        refuse_unsized_range(request)
        found = filtered(find_entries(self._world, pairs, path), path, request.query, is_single=is_single)
        return self._list.answer(request, place, found, media, is_single=is_single)

    def _resources(self, request: Request, place: Place) -> _Pairs:
        slot = request.vars.get("R")
        if slot is None:
            return resources_of(self._world, place.holders)
        refuse_foreign_numbers(self._world, request, slot)
        return find_resources(self._world, place, slot, reads=True)

    async def _one(self, request: Request, pairs: _Pairs, path: str, *, is_single: bool) -> Response:
        """Send a stored file, or a member of a stored zip."""
        zip_path, inner = split_zip_path(path)
        file = self._file(pairs, zip_path)
        if file is not None and inner:
            refuse_unsized_range(request)
            answer = await send_member(file, inner)
            if answer is not None:
                return answer
        elif file is not None and request.query.flag("listContents"):
            return await zip_contents(request, file)
        elif file is not None:
            return send_file(request, file, self._hooks, negotiated=chosen_media(request, tables.FILE_VARIANTS))
        status = 204 if request.query.flag("accept-not-found") else 404
        if is_single or status == 204:
            # The texts are lost: an empty body (FIL 1.6).
            return Response(status)
        raise HttpError(status)

    def _file(self, pairs: _Pairs, path: str) -> Path | None:
        # Without a resource in the URL only the first resource is searched (FIL 1.6).
        for _, resource in pairs[:1]:
            entry = find_entry(self._world.entries(resource), path)
            if entry is not None:
                return Folder(self._world.resource_dir(resource)).find(entry.uri)
        return None

    async def delete(self, request: Request) -> Response:
        """Delete every entry whose path starts with the given text, undecoded (FIL 1.7)."""
        place = locate(self._world, request)
        pairs = self._resources(request, place)
        if "R" not in request.vars or not pairs:
            raise HttpError(400, "Unable to determine resource, parent, or security.")
        if not self._world.can_delete(request.user, place.project_id):
            raise HttpError(403, "User account doesn't have permission to delete this file.")
        path = tail_path(request.vars[REST])
        _, resource = pairs[0]
        accepts = PathPattern(path)
        gone = [uri for uri in self._world.entries(resource) if accepts(uri)]
        if not gone:
            raise HttpError(404, "No matched files")
        root = self._world.resource_dir(resource)
        if request.query.get("removeFiles").lower() != "false":
            for uri in gone:
                _remove(root, uri)
        self._versions.bump(resource)
        self._world.drop_entries(resource, gone)
        return Response(200)


def _remove(root: Path, uri: str) -> None:
    """Delete a file and the folders that become empty."""
    path = inside(root, uri)
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == root or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()
