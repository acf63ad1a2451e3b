"""Whole-selection downloads: a catalog is made of a JSON selection, then sent as a zip (FIL 2.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

import anyio.to_thread

from xferengine.emulator import tables
from xferengine.emulator.archive_members import Member
from xferengine.emulator.archives import archive_chunks
from xferengine.emulator.clock import folder_stamp
from xferengine.emulator.file_select import Folder
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.records import Resource
from xferengine.emulator.router import REST, Handler, Route
from xferengine.emulator.selection import Selection, entries_of
from xferengine.emulator.site import Site
from xferengine.emulator.tables import xml_bytes
from xferengine.emulator.world import World

_BODY_LIMIT = 16 << 20
_KIND = "download"
_DUMMY = b"Dummy content.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One resource of a download: its folder in the zip, and whether sub-folders are found again below it."""

    resource: int
    path: str
    keeps_folders: bool


class ArchiveDownload:
    """Handlers of `/xapi/archive/download`."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._hooks = site.core.hooks

    def routes(self) -> list[Route]:
        """Return the routes outside the `/data` application; Spring matches whole paths."""
        base = "/xapi/archive/download"
        calls: list[tuple[str, str, Handler]] = [
            ("POST", base, self.post),
            ("POST", base + "withsize", self.post_with_size),
            ("GET", base + "/{id}", self.get_plain),
            ("GET", base + "/{id}/xml", self.get_xml),
            ("GET", base + "/{id}/zip", self.get_zip),
            ("GET", base + "/{id}/test", self.get_test),
        ]
        return [(method, pattern, _whole(handler)) for method, pattern, handler in calls]

    # -- making a catalog ---------------------------------------------------------------------------------------

    async def post(self, request: Request) -> Response:
        """Answer with the bare id of a catalog, declared as XML; 204 without sessions or projects."""
        if tables.negotiate(request.headers.get("accept"), ("application/xml",)) is None:
            raise HttpError(406)
        made = await self._make(request)
        return Response(204) if made is None else Response(200, made[0].encode(), "application/xml")

    async def post_with_size(self, request: Request) -> Response:
        """Answer with id, size by the database's counters, and how many resources have none."""
        made = await self._make(request)
        if made is None:
            return Response(204)
        name, listed = made
        sizes = [self._world.resources[each.resource].file_size for each in listed]
        unknown = sum(1 for size in sizes if not size)
        return Response.json({"id": name, "size": str(sum(sizes)), "resourcesOfUnknownSize": str(unknown)})

    async def _make(self, request: Request) -> tuple[str, list[Listed]] | None:
        _require_json(request)
        selection = Selection.parse(await _body(request))
        if selection is None:
            return None
        listed = [
            Listed(resource=resource.id, path=path, keeps_folders=keeps)
            for resource, path, keeps in entries_of(self._world, request.user, selection)
        ]
        name = self._free_name(request.user.name)
        doc = {"user": request.user.name, "listed": [asdict(each) for each in listed]}
        self._world.store.put_doc(_KIND, name, doc)
        return name, listed

    def _free_name(self, user: str) -> str:
        name = f"{user}-{folder_stamp(self._world.clock.now())}"
        number = 0
        while self._world.store.doc(_KIND, name if not number else f"{name}{number}") is not None:
            number += 1
        return name if not number else f"{name}{number}"

    def _listed(self, request: Request) -> list[Listed]:
        doc = self._world.store.doc(_KIND, request.vars["id"])
        if doc is None or doc["user"] != request.user.name:
            # Not a 404, for unknown ones neither (FIL 2.2).
            raise HttpError(403)
        return [Listed(**each) for each in doc["listed"]]

    # -- sending it ---------------------------------------------------------------------------------------------

    async def get_zip(self, request: Request) -> Response:
        """Send the zip: deflated with descriptors, chunked, last entry first; a duplicate name breaks it."""
        return await self._zip(request, dummy=None)

    async def get_test(self, request: Request) -> Response:
        """Send the same zip with dummy contents."""
        return await self._zip(request, dummy=_DUMMY)

    async def _zip(self, request: Request, dummy: bytes | None) -> Response:
        named = list(_named(self._world, self._listed(request)))
        members = await anyio.to_thread.run_sync(lambda: list(_members(self._world, named, dummy)))
        members = self._hooks.on_members(members[::-1])
        headers = {"Content-Disposition": f'attachment; filename="{request.vars["id"]}.zip"'}
        return Response(200, archive_chunks(members, tables.ZIP, deflate=True, breaks=True), tables.ZIP, headers)

    async def get_xml(self, request: Request) -> Response:
        """Send the catalog as an attachment."""
        headers = {"Content-Disposition": f'attachment; filename="{request.vars["id"]}.xml"'}
        return Response(200, self._document(request), "application/xml", headers)

    async def get_plain(self, request: Request) -> Response:
        """Send the catalog to whoever sends a JSON content type with a GET."""
        _require_json(request)
        return Response(200, self._document(request), "application/xml")

    def _document(self, request: Request) -> bytes:
        listed = self._listed(request)
        parts = ['<?xml version="1.0" encoding="UTF-8"?>\n<cat:Catalog xmlns:cat="http://nrg.wustl.edu/catalog" ']
        parts.append(f"ID={quoteattr(request.vars['id'])}>\n<cat:sets>\n")
        for each in listed:
            resource = self._world.resources.get(each.resource)
            if resource is None:
                continue
            uri = f"/archive{resource.owner}/resources/{resource.id}"
            parts.append(f"<cat:entrySet ID={quoteattr(each.path)}>\n<cat:entries>\n")
            parts.append(f"<cat:entry name={quoteattr(each.path)} URI={quoteattr(uri)}/>\n")
            parts.append("</cat:entries>\n</cat:entrySet>\n")
        parts.append("</cat:sets>\n</cat:Catalog>\n")
        return xml_bytes("".join(parts))


def _named(world: World, listed: list[Listed]) -> Iterator[tuple[Listed, Resource, list[str]]]:
    """Yield the resources that are still there with the paths of their entries."""
    for each in listed:
        resource = world.resources.get(each.resource)
        if resource is not None:
            yield each, resource, list(world.entries(resource))


def _members(world: World, named: list[tuple[Listed, Resource, list[str]]], dummy: bytes | None) -> Iterator[Member]:
    """Yield the files on disk under their names in the zip; missing ones are skipped (FIL 2.2)."""
    for each, resource, uris in named:
        folder = Folder(world.resource_dir(resource))
        for uri in uris:
            path = folder.find(uri)
            if path is not None:
                yield Member(each.path + (uri if each.keeps_folders else path.name), path, dummy)


def _require_json(request: Request) -> None:
    if request.content_type.partition(";")[0].strip().lower() != "application/json":
        raise HttpError(415)


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read(_BODY_LIMIT))
    except ValueError as error:
        raise HttpError(400) from error
    if not isinstance(body, dict):
        raise HttpError(400)
    return body


def _whole(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        if request.vars[REST]:
            raise HttpError(404)
        return await handler(request)

    return handle
