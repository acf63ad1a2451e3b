"""Bringing catalogs in line with the files on disk: the service of `/data` and its twin in `/xapi` (FIL 4.2)."""

from __future__ import annotations

import json
from pathlib import Path

import anyio.to_thread

from xferengine.emulator.archive_uris import parse_uri, place_of, resources_at
from xferengine.emulator.catalog_writer import spend
from xferengine.emulator.digests import md5_of
from xferengine.emulator.file_names import is_catalogable
from xferengine.emulator.http import HttpError, Query, Request, Response
from xferengine.emulator.records import CatalogEntry, Resource
from xferengine.emulator.router import REST, Route
from xferengine.emulator.site import Site
from xferengine.emulator.world import World

OPERATIONS = frozenset({"append", "checksum", "delete", "populateStats"})
_XAPI_OPERATIONS = {
    "append": "append",
    "checksum": "checksum",
    "delete": "delete",
    "populatestats": "populateStats",
}
_FORM_LIMIT = 4 << 20


class Refresh:
    """The refresh service."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._world: World = site.world

    async def handle(self, request: Request) -> Response:
        """Refresh every resource named by `resource`, given in query or form."""
        query = request.query
        if request.content_type.startswith("application/x-www-form-urlencoded"):
            query = query.merged(Query.parse((await request.read(_FORM_LIMIT)).decode("utf-8", "replace")))
        names = query.all("resource")
        if not names:
            raise HttpError(400, "Missing resource parameter.")
        await self.refresh_uris(request, names, wanted_operations(query, checksums=self._world.checksums))
        return Response(200)

    async def refuse(self, request: Request) -> Response:
        """Answer a GET: 404."""
        raise HttpError(404)

    async def refresh_uris(self, request: Request, names: list[str], operations: frozenset[str]) -> None:
        """Refresh what URIs name, one after another.

        Raises:
            HttpError: 400 for a URI that is malformed, of a file, or of nothing; 403 without the right to edit.
        """
        for name in names:
            uri = parse_uri(name)
            if uri.file is not None:
                raise HttpError(400, f"Invalid URI: {name}")
            place = place_of(self._world, request, uri)
            if not self._world.can_edit(request.user, place.project_id):
                raise HttpError(403)
            for resource in resources_at(self._world, place, uri):
                await self.refresh(resource, operations)

    async def refresh(self, resource: Resource, operations: frozenset[str]) -> None:
        """Refresh one catalog. A lock that is not obtained, or a second catalog in the folder: nothing happens."""
        site, world = self._site, self._world
        root = world.resource_dir(resource)
        async with site.locks.held(resource, world.clock, site.config.refresh_lock_s) as is_obtained:
            if not is_obtained or await anyio.to_thread.run_sync(_catalog_count, root, resource) > 1:
                return
            await spend(site, len(world.entries(resource)))
            site.versions.bump(resource)
            await self._change_entries(resource, root, operations)
            if "populateStats" in operations:
                world.refresh_counters(resource)

    async def _change_entries(self, resource: Resource, root: Path, operations: frozenset[str]) -> None:
        world = self._world
        known = dict(world.entries(resource))
        if "append" in operations:
            fresh = await anyio.to_thread.run_sync(found_files, root, set(known), world.stamp())
            world.put_entries(resource, fresh, recount=False)
        if "delete" in operations:
            gone = await anyio.to_thread.run_sync(_missing, root, list(known))
            world.drop_entries(resource, gone, recount=False)
        if "checksum" in operations:
            entries = list(world.entries(resource).values())
            digests = await anyio.to_thread.run_sync(lambda: {e.uri: md5_of(root / e.uri) for e in entries})
            for entry in entries:
                entry.digest = digests.get(entry.uri) or entry.digest
            world.put_entries(resource, entries, recount=False)


class XapiRefresh:
    """`PUT /xapi/archive/catalogs/refresh[/{operation}]`: the same, with a JSON array of URIs (FIL 4.2)."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._refresh = Refresh(site)

    def routes(self) -> list[Route]:
        """Return the routes outside the `/data` application."""
        return [("PUT", "/xapi/archive/catalogs/refresh", self.handle)]

    async def handle(self, request: Request) -> Response:
        """Refresh; what would be a client's error elsewhere is a 500 here, save the 403 (FIL 9.1)."""
        operations = self._operations(request.vars[REST].strip("/"))
        if not request.content_type.startswith("application/json"):
            raise HttpError(415)
        try:
            names = json.loads(await request.read(_FORM_LIMIT))
        except ValueError as error:
            raise HttpError(400) from error
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise HttpError(400)
        try:
            await self._refresh.refresh_uris(request, names, operations)
        except HttpError as error:
            raise HttpError(403 if error.status == 403 else 500, error.message) from error
        return Response(200)

    def _operations(self, name: str) -> frozenset[str]:
        if name.lower() in ("", "all"):
            return OPERATIONS if self._world.checksums else OPERATIONS - {"checksum"}
        operation = _XAPI_OPERATIONS.get(name.lower())
        if operation is None:
            raise HttpError(500 if "/" not in name else 404)
        return frozenset({operation})


def wanted_operations(query: Query, *, checksums: bool) -> frozenset[str]:
    """Return the operations; no flag at all means all four, checksum only if the site keeps them (FIL 4.2)."""
    named = {name for name in OPERATIONS if query.flag(name)}
    named |= {part.strip() for value in query.all("options") for part in value.split(",")} & OPERATIONS
    if not named:
        return OPERATIONS if checksums else OPERATIONS - {"checksum"}
    return frozenset(named)


def found_files(root: Path, known: set[str], stamp: str) -> list[CatalogEntry]:
    """Return entries for files on disk that are not known; catalogs and lock files are never registered."""
    found: list[CatalogEntry] = []
    for path in sorted(root.rglob("*")) if root.is_dir() else ():
        uri = path.relative_to(root).as_posix()
        if uri not in known and path.is_file() and is_catalogable(uri):
            found.append(CatalogEntry(uri=uri, name=path.name, size=path.stat().st_size, created=stamp))
    return found


def _missing(root: Path, uris: list[str]) -> list[str]:
    """Return entries without a file; its gzipped twin counts, since it would be served (FIL 1.6)."""
    return [uri for uri in uris if not (root / uri).is_file() and not (root / f"{uri}.gz").is_file()]


def _catalog_count(root: Path, resource: Resource) -> int:
    """Count the catalogs in a folder: its own, which the emulator keeps elsewhere, and others lying there."""
    own = f"{resource.label or resource.id}_catalog.xml"
    return 1 + sum(1 for path in root.glob("*_catalog.xml") if path.name != own)
