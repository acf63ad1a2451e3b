"""`POST /data/services/move-files`: from the user's cache into a resource (FIL 8)."""

from __future__ import annotations

from pathlib import Path

from xferengine.emulator.archive_uris import parse_uri, place_of
from xferengine.emulator.catalog_writer import CatalogWriter, Marks
from xferengine.emulator.holders import resources_of
from xferengine.emulator.http import HttpError, Query, Request, Response
from xferengine.emulator.places import Place
from xferengine.emulator.records import Resource
from xferengine.emulator.resource_rows import Attributes, make_resource, match_slot
from xferengine.emulator.router import Route
from xferengine.emulator.server_files import ServerFiles, Source, files_below, remove_empty
from xferengine.emulator.site import Site
from xferengine.emulator.unpack import is_archive, unpack
from xferengine.emulator.uploads import file_chunks
from xferengine.emulator.world import World, safe_name

_CACHE = ["user", "cache", "resources"]
_FORM_LIMIT = 4 << 20


class MoveFiles:
    """The service."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._catalogs = CatalogWriter(site)
        self._server_files = ServerFiles(site)

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        return [("POST", "/services/move-files", self.handle)]

    async def handle(self, request: Request) -> Response:
        """Move what `src` names to `dest`, or what each parameter named by a source URI names to its value."""
        query = request.query
        if request.content_type.startswith("application/x-www-form-urlencoded"):
            query = query.merged(Query.parse((await request.read(_FORM_LIMIT)).decode("utf-8", "replace")))
        overwrite = query.parsed("overwrite")
        for src, dest in _pairs(query):
            root = self._source(request, src)
            resource, path = await self._destination(request, dest)
            marks = Marks(user=request.user.name)
            if overwrite:
                # The flag doubles as `extract` (FIL 8).
                await self._unpack_archives(root, resource, marks)
            sources = _sources(root, path)
            await self._server_files.take(resource, sources, marks, overwrite=overwrite)
            remove_empty(root)
        return Response(200)

    async def _unpack_archives(self, root: Path, resource: Resource, marks: Marks) -> None:
        for file in [root] if root.is_file() else files_below(root):
            if is_archive(file.name):
                snapshot = await self._catalogs.begin(resource)
                writer = self._catalogs.writer(snapshot, overwrite=True)
                await unpack(file.name, file_chunks(file), writer)
                await self._catalogs.commit(snapshot, writer.stored, marks)
                file.unlink()

    def _source(self, request: Request, uri: str) -> Path:
        text = uri.removeprefix("/data").removeprefix("/REST").strip("/")
        parts = text.split("/")
        is_named = len(parts) == 4 or (len(parts) > 4 and parts[4] == "files")
        if parts[:3] != _CACHE or not is_named or not all(safe_name(part) for part in parts[3:]):
            raise HttpError(400, f"Invalid Source:{uri}")
        path = self._world.data_dir.joinpath("cache", request.user.name, parts[3], *parts[5:])
        if not safe_name(request.user.name) or not path.exists():
            raise HttpError(400, f"Invalid Source:{uri}")
        return path

    async def _destination(self, request: Request, text: str) -> tuple[Resource, str]:
        try:
            uri = parse_uri(text)
            place = place_of(self._world, request, uri)
        except HttpError as error:
            raise HttpError(400, f"Invalid Destination:{text}") from error
        if uri.file is None or "R" not in uri.names:
            raise HttpError(400, f"Invalid Destination:{text}")
        if not self._world.can_edit(request.user, place.project_id):
            raise HttpError(403)
        return self._resource(place, uri.names["R"]), uri.file

    def _resource(self, place: Place, slot: str) -> Resource:
        found = match_slot(resources_of(self._world, place.holders), slot, reads=False)
        if found:
            return found[0][1]
        return make_resource(self._world, place.holders[0], slot, Attributes())


def _pairs(query: Query) -> list[tuple[str, str]]:
    """Return sources and destinations.

    Raises:
        HttpError: 400 when one of them is missing.
    """
    if query.has("src"):
        if not query.get("dest"):
            raise HttpError(400, "Missing dest path")
        return [(query.get("src"), query.get("dest"))]
    pairs = [(name, value) for name, value in query.pairs if name.startswith("/") and value]
    if not pairs:
        raise HttpError(400, "Missing src and dest path")
    return pairs


def _sources(root: Path, path: str) -> list[Source]:
    if root.is_file():
        name = path if path and not path.endswith("/") else path + root.name
        return [Source(root, name, True)]
    prefix = f"{path.rstrip('/')}/" if path else ""
    return [Source(file, prefix + file.relative_to(root).as_posix(), True) for file in files_below(root)]
