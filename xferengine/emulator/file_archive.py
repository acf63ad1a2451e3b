"""Archives of many files from a files URL: zip, tar, tar.gz (FIL 2.1)."""

from __future__ import annotations

from collections.abc import Iterable

import anyio.to_thread

from xferengine.emulator import tables
from xferengine.emulator.archive_members import Member
from xferengine.emulator.archives import archive_chunks
from xferengine.emulator.file_select import Folder, Found
from xferengine.emulator.http import HttpError, Request, Response, no_body
from xferengine.emulator.layout import ArchiveLayout
from xferengine.emulator.places import Place
from xferengine.emulator.site import Site
from xferengine.emulator.world import World

ARCHIVES = {tables.ZIP: "zip", tables.TAR: "tar", tables.TAR_GZ: "tar.gz"}
"""Media types of archives, with their extensions."""


class FileArchive:
    """Makes archives of found files."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._hooks = site.core.hooks

    async def answer(
        self, request: Request, place: Place, found: list[Found], media: str, *, bare_name: bool
    ) -> Response:
        """Answer with an archive of the files that exist now, chunked; 404 (or 204) when there are none.

        `bare_name` puts them at the archive's root by their base names.

        Raises:
            HttpError: 400 for a `compression=` that is no number, 404.
        """
        method = request.query.get("compression", "0")
        if not method.lstrip("-").isdecimal():
            raise HttpError(400)
        layout = ArchiveLayout(self._world, place, request.query, media)
        named = ((item.entry.name if bare_name else layout.path(item), item) for item in found)
        members = await anyio.to_thread.run_sync(lambda: _present(self._world, named))
        if not members:
            if request.query.flag("accept-not-found"):
                return Response(204)
            raise HttpError(404)
        name = f"{place.archive_name}.{ARCHIVES[media]}"
        headers = {"Content-Disposition": f'attachment; filename="{name}";'}
        if media == tables.ZIP and method not in ("0", "8"):
            # The JDK refuses the method when the first member is written: after the 200 (FIL 2.1).
            return Response(200, no_body(), media, headers)
        if request.method == "GET":
            members = self._hooks.on_members(members)
        return Response(200, archive_chunks(members, media, deflate=method == "8"), media, headers)


def _present(world: World, named: Iterable[tuple[str, Found]]) -> list[Member]:
    """Return the files that are on disk."""
    folders: dict[int, Folder] = {}
    members: list[Member] = []
    for name, item in named:
        folder = folders.get(item.resource.id)
        if folder is None:
            folder = folders[item.resource.id] = Folder(world.resource_dir(item.resource))
        path = folder.find(item.entry.uri)
        if path is not None:
            members.append(Member(name, path))
    return members
