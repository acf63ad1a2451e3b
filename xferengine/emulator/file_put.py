"""PUT and POST of files: body forms, catalog snapshot, overwrite, extract, duplicates (FIL 1.4, FIL 4.3)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from xferengine.emulator.catalogs import find_resources, make_resource
from xferengine.emulator.clock import folder_stamp
from xferengine.emulator.file_names import IN_BODY_TYPES, bare_type, checked_path, inside, made_up_name, tail_path
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.multipart import Part, is_multipart, read_multipart
from xferengine.emulator.places import FILE_TAILS, Place, locate
from xferengine.emulator.records import CatalogEntry, Resource
from xferengine.emulator.refresh import md5_of
from xferengine.emulator.router import REST, Route
from xferengine.emulator.site import Site
from xferengine.emulator.unpack import is_archive, unpack
from xferengine.emulator.world import World

_IN_BODY_TEXT = "In-body File posts must include the file directly as the body of the message."
_NO_DATA_TEXT = (
    "You tried to PUT to this service, but didn't provide any data (found request entity size of 0). "
    "Please check the format of your service request."
)
_CHANGED_TEXT = (
    "Another thread or process modified {} since I last read it. To avoid overwriting changes, I'm throwing an "
    "exception."
)


@dataclass(frozen=True, slots=True)
class Incoming:
    """One file of a request: the path it shall have, and its bytes."""

    path: str
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A resource with the state of its catalog when the request began (FIL 4.3, step 2)."""

    resource: Resource
    version: int
    root: Path


class FilePut:
    """The upload handler."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._versions = site.versions

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application; PUT and POST are one code path."""
        return [(method, tail, self.put) for tail in FILE_TAILS for method in ("PUT", "POST")]

    async def put(self, request: Request) -> Response:
        """Store what the request brings."""
        place = locate(self._world, request)
        if not place.holders or not self._world.can_edit(request.user, place.project_id):
            # Without the right to edit the handler does nothing and says 200 (FIL 1.4).
            return Response(200)
        if is_multipart(request.content_type) and not request.query.flag("inbody"):
            return await self._put_form(request, place)
        path = self._in_body_path(request)
        return await self._store(request, place, [Incoming(path, request.body)])

    # -- body forms ---------------------------------------------------------------------------------------------

    def _in_body_path(self, request: Request) -> str:
        """Return the path of an in-body file, or raise what its form deserves (FIL 1.4, answers)."""
        kind = bare_type(request.content_type)
        in_body = request.query.flag("inbody") and not is_multipart(request.content_type)
        if not in_body and kind not in IN_BODY_TYPES:
            if not request.content_length and request.content_length is not None:
                raise HttpError(400, _NO_DATA_TEXT)
            raise HttpError(
                400,
                f"You tried to PUT a payload of {kind or 'unknown type'}, but it can not be used as is: try "
                "inbody=true or use multipart/form-data encoding.",
            )
        if not request.content_length and kind != "application/zip":
            # Zero and unknown lengths alike; without a type XNAT runs into a null pointer (FIL 1.4).
            raise HttpError(500, _IN_BODY_TEXT if kind else "")
        path = tail_path(request.vars[REST])
        return checked_path(path) if path else made_up_name(request.content_type)

    async def _put_form(self, request: Request, place: Place) -> Response:
        parts = await read_multipart(request.content_type, request.body)
        try:
            path = tail_path(request.vars[REST])
            incoming = [_form_file(part, path) for part in parts if part.filename is not None]
            if not incoming:
                raise HttpError(400, _NO_DATA_TEXT)
            return await self._store(request, place, incoming)
        finally:
            for part in parts:
                part.file.close()

    # -- storing ------------------------------------------------------------------------------------------------

    async def _store(self, request: Request, place: Place, incoming: list[Incoming]) -> Response:
        resource = self._target(request, place)
        snapshot = Snapshot(resource, self._versions.of(resource), self._world.resource_dir(resource))
        overwrite = request.query.flag("overwrite")
        stored: list[str] = []
        duplicates: list[str] = []
        for item in incoming:
            if request.query.flag("extract") and is_archive(item.path):
                fresh, present = await unpack(item.path, item.chunks, snapshot.root, overwrite=overwrite)
                stored += fresh
                duplicates += present
            elif await self._write(snapshot.root, item, overwrite=overwrite):
                stored.append(item.path)
            else:
                duplicates.append(item.path)
        if stored:
            await self._catalog(request, snapshot, stored)
        if duplicates:
            return Response(200, json.dumps({"duplicates": duplicates}).encode(), "text/html")
        return Response(200)

    def _target(self, request: Request, place: Place) -> Resource:
        """Return the resource of the URL, made on the fly; without one the first, else an unlabelled (FIL 1.4)."""
        slot = request.vars.get("R")
        if slot is None:
            present = self._world.resources_of(place.holders[0].owner)
            return present[0] if present else self._make(request, place, "")
        found = find_resources(self._world, place, slot, reads=False)
        if found:
            return found[0][1]
        return self._make(request, place, "" if slot == "NULL" else slot)

    def _make(self, request: Request, place: Place, label: str) -> Resource:
        resource = make_resource(self._world, place.holders[0], label, request)
        if not label:
            stamp = folder_stamp(self._world.clock.now())
            resource.folder = f"{place.holders[0].folder}/{stamp}"
            self._world.save(resource)
        return resource

    async def _write(self, root: Path, item: Incoming, *, overwrite: bool) -> bool:
        """Stream a file to its final place without a lock; False if it exists and may not be replaced.

        A body that breaks off leaves a partial file that no catalog knows (FIL 1.4).
        """
        target = inside(root, item.path)
        if target.exists():
            if not overwrite:
                return False
            if target.name.endswith("_catalog.xml") or target.name.startswith(".~lock-") or target.is_dir():
                raise HttpError(500, f"XNAT cannot catalog {target.name}")
            target.unlink()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                async for chunk in item.chunks:
                    file.write(chunk)
        except (FileExistsError, NotADirectoryError) as error:
            raise HttpError(500) from error
        return True

    async def _catalog(self, request: Request, snapshot: Snapshot, paths: list[str]) -> None:
        """Add entries unless the catalog changed since the request began; then the files stay orphans (FIL 4.3)."""
        world, query = self._world, request.query
        resource = snapshot.resource
        known = world.entries(resource)
        now = world.stamp()
        entries: list[CatalogEntry] = []
        for path in dict.fromkeys(paths):
            old = known.get(path)
            size = (snapshot.root / path).stat().st_size
            entry = CatalogEntry(uri=path, name=path.rpartition("/")[2], size=size)
            entry.created, entry.created_by = (old.created, old.created_by) if old else (now, request.user.name)
            entry.modified = now if old else ""
            entry.format, entry.content = query.get("format"), query.get("content")
            entry.description, entry.tags = query.get("description"), query.all("tags")
            entries.append(entry)
        backlog = [entry for entry in known.values() if not entry.digest and entry.uri not in paths]
        if world.checksums:
            await anyio.to_thread.run_sync(_add_digests, snapshot.root, [*entries, *backlog])
        if self._versions.of(resource) != snapshot.version or resource.id not in world.resources:
            label = resource.label or resource.id
            raise HttpError(500, _CHANGED_TEXT.format(snapshot.root / f"{label}_catalog.xml"))
        counters = resource.file_count, resource.file_size
        self._versions.bump(resource)
        world.put_entries(resource, [*entries, *backlog])
        if query.has("update-stats") and query.get("update-stats").lower() not in ("true", "1"):
            # The fast path leaves the database's counters as they were (FIL 1.4).
            resource.file_count, resource.file_size = counters
        self._describe(request, resource)

    def _describe(self, request: Request, resource: Resource) -> None:
        """Every PUT writes its format, content, description and tags to the resource as well (FIL 1.4)."""
        query = request.query
        resource.format = query.get("format") or resource.format
        resource.content = query.get("content") or resource.content
        resource.description = query.get("description") or resource.description
        resource.tags += [tag for tag in query.all("tags") if tag and tag not in resource.tags]
        self._world.save(resource)


def _form_file(part: Part, path: str) -> Incoming:
    name = (part.filename or "").rpartition("/")[2]
    if not name:
        raise HttpError(500, "multi-part form posts must contain the file name of the uploaded file.")
    return Incoming(checked_path(path or name), part.chunks())


def _add_digests(root: Path, entries: list[CatalogEntry]) -> None:
    for entry in entries:
        if not entry.digest:
            entry.digest = md5_of(root / entry.uri)
