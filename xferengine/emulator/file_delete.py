"""DELETE of files: a prefix match, and the same read, compare and write of the catalog as any change (FIL 1.7)."""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread

from xferengine.emulator.catalog_writer import CatalogWriter
from xferengine.emulator.catalogs import find_resources
from xferengine.emulator.event_policy import require_event
from xferengine.emulator.file_names import inside, tail_path
from xferengine.emulator.file_select import PathPattern
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.places import FILE_TAILS, locate
from xferengine.emulator.router import REST, Route
from xferengine.emulator.site import Site
from xferengine.emulator.world import World


class FileDelete:
    """The handler."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._config = site.config
        self._catalogs = CatalogWriter(site)

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        return [("DELETE", tail, self.delete) for tail in FILE_TAILS]

    async def delete(self, request: Request) -> Response:
        """Delete every entry whose path starts with the given text, undecoded (FIL 1.7).

        Cancellation: files may be gone whose entries stay.
        """
        place = locate(self._world, request)
        found = find_resources(self._world, place, request.vars["R"], reads=False) if "R" in request.vars else []
        if not found:
            raise HttpError(400, "Unable to determine resource, parent, or security.")
        if not self._world.can_delete(request.user, place.project_id):
            raise HttpError(403, "User account doesn't have permission to delete this file.")
        _, resource = found[0]
        snapshot = await self._catalogs.begin(resource)
        accepts = PathPattern(tail_path(request.vars[REST]))
        gone = [uri for uri in self._world.entries(resource) if accepts(uri)]
        if not gone:
            raise HttpError(404, "No matched files")
        require_event(self._config, request.query)
        if request.query.get("removeFiles").lower() != "false":
            await anyio.to_thread.run_sync(_remove, snapshot.root, gone)
        await self._catalogs.drop(snapshot, gone)
        return Response(200)


def _remove(root: Path, uris: list[str]) -> None:
    """Delete files, and the folders that become empty."""
    folders: dict[str, Path] = {}
    for uri in uris:
        folder, _, name = uri.rpartition("/")
        if folder not in folders:
            folders[folder] = inside(root, folder) if folder else root
        (folders[folder] / name).unlink(missing_ok=True)
    for folder in folders.values():
        for path in (folder, *folder.parents):
            if path == root or not path.is_dir() or any(path.iterdir()):
                break
            path.rmdir()
