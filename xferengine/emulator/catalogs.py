"""Resources: their listing, their catalogs, making and deleting them, refreshing (FIL 1.2, FIL 1.3, FIL 4.2)."""

from __future__ import annotations

import shutil
from xml.sax.saxutils import quoteattr

from xferengine.emulator import tables
from xferengine.emulator.event_policy import require_event
from xferengine.emulator.file_select import refuse_foreign_numbers
from xferengine.emulator.holders import Holder, resources_of
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.places import RESOURCE_BASES, Place, locate
from xferengine.emulator.records import CatalogEntry, Resource
from xferengine.emulator.refresh import Refresh
from xferengine.emulator.resource_rows import Attributes, make_resource, match_slot, out_side, read_document
from xferengine.emulator.router import REST, Route
from xferengine.emulator.site import Site, chosen_media, table_response
from xferengine.emulator.world import World

COLUMNS = (
    "xnat_abstractresource_id", "label", "element_name", "category", "cat_id", "cat_desc", "file_count", "file_size",
    "tags", "content", "format",
)  # fmt: skip


class Catalogs:
    """Handlers of resources as a whole."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._config = site.config
        self._refresh = Refresh(site)

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        found: list[Route] = [
            ("POST", "/services/refresh/catalog", self._refresh.handle),
            ("GET", "/services/refresh/catalog", self._refresh.refuse),
        ]
        for base in RESOURCE_BASES:
            found += [
                ("GET", base + "/resources", self.list_resources),
                ("POST", base + "/resources", self.post_resource),
                ("GET", base + "/resources/{R}", self.get_catalog),
                ("PUT", base + "/resources/{R}", self.put_resource),
                ("POST", base + "/resources/{R}", self.put_resource),
                ("DELETE", base + "/resources/{R}", self.delete_resource),
            ]
        return found

    async def list_resources(self, request: Request) -> Response:
        """List the resources of a place; `all=true` adds those below a session (FIL 1.2)."""
        media = chosen_media(request, tables.TABLE_VARIANTS)
        place = locate(self._world, request, all_below=request.query.flag("all"))
        if not place.holders:
            raise HttpError(404)
        found = resources_of(self._world, place.holders)
        if request.query.flag("file_stats") or request.query.flag("cache_file_stats"):
            self._count_missing(found, saves=request.query.flag("cache_file_stats"))
        rows = [_row(holder, resource) for holder, resource in found]
        return table_response(request, tables.Table(columns=COLUMNS, rows=rows, title="Resources"), media)

    def _count_missing(self, found: list[tuple[Holder, Resource]], *, saves: bool) -> None:
        """Count where the database has no counts yet; reading a listing may save them (FIL 1.2)."""
        for _, resource in found:
            if resource.file_count == 0:
                entries = self._world.entries(resource).values()
                resource.file_count, resource.file_size = len(entries), sum(entry.size for entry in entries)
                if saves:
                    self._world.save(resource)

    async def get_catalog(self, request: Request) -> Response:
        """Return the catalog document; only XML is offered (FIL 1.2)."""
        if tables.negotiate(request.headers.get("accept"), (tables.XML,)) is None:
            raise HttpError(406)
        place = locate(self._world, request)
        refuse_foreign_numbers(self._world, request, request.vars["R"])
        found = find_resources(self._world, place, request.vars["R"], reads=True)
        if not found:
            raise HttpError(404, "Unable to find the specified catalog.")
        if len(found) > 1:
            raise HttpError(404)
        _, resource = found[0]
        entries = self._world.entries(resource).values()
        location = str(self._world.resource_dir(resource)) if request.query.flag("includeRootPath") else ""
        return Response(200, catalog_xml(resource, list(entries), location), tables.XML)

    async def put_resource(self, request: Request) -> Response:
        """Make a resource folder: 200, or 409 when the label is taken (FIL 1.3)."""
        if request.vars[REST].strip("/"):
            raise HttpError(400, "Unexpected file path: append /files to the resource URL to add files.")
        place = locate(self._world, request)
        require_edit(self._world, request, place)
        holder, label = out_side(place.holders[0]), request.vars["R"]
        attributes = await read_document(self._world, request)
        if match_slot(resources_of(self._world, [holder]), label, reads=False):
            raise HttpError(409, "Specified resource already exists.")
        if label.isdigit():
            # Digits are a number, and this one is nobody's (FIL 1.1).
            raise HttpError(404)
        require_event(self._config, request.query)
        make_resource(self._world, holder, "" if label == "NULL" else label, attributes)
        return Response(200)

    async def post_resource(self, request: Request) -> Response:
        """Make a resource without a label: body and Location are its URL (FIL 1.3)."""
        if request.vars[REST].strip("/"):
            raise HttpError(404)
        place = locate(self._world, request)
        require_edit(self._world, request, place)
        require_event(self._config, request.query)
        holder = out_side(place.holders[0])
        resource = make_resource(self._world, holder, "", Attributes.of(request.query))
        url = f"/data{holder.uri}/resources/{resource.id}"
        return Response(200, url.encode(), "text/plain", {"Location": url})

    async def delete_resource(self, request: Request) -> Response:
        """Delete resources with their files; a missing one is a 200 all the same (FIL 1.3)."""
        if request.vars[REST].strip("/"):
            raise HttpError(404)
        place = locate(self._world, request)
        found = [
            pair
            for name in request.vars["R"].split(",")
            for pair in find_resources(self._world, place, name, reads=False)
        ]
        if found and not self._world.can_delete(request.user, place.project_id):
            raise HttpError(403, "User account doesn't have permission to delete this resource.")
        if found:
            require_event(self._config, request.query)
        for _, resource in found:
            shutil.rmtree(self._world.resource_dir(resource), ignore_errors=True)
            self._world.delete(resource)
        return Response(200)


def find_resources(world: World, place: Place, slot: str, *, reads: bool) -> list[tuple[Holder, Resource]]:
    """Match the resource slot of a URL among the resources of a place."""
    return match_slot(resources_of(world, place.holders), slot, reads=reads)


def require_edit(world: World, request: Request, place: Place) -> None:
    """Refuse a change without the right to edit (FIL 1.3)."""
    if not place.holders:
        raise HttpError(404)
    if not world.can_edit(request.user, place.project_id):
        raise HttpError(403, "User account doesn't have permission to modify this session.")


def catalog_xml(resource: Resource, entries: list[CatalogEntry], location: str = "") -> bytes:
    """Return the catalog as XNAT writes it; DICOM entries carry the SOP Instance UID (FIL 1.2, IMP 7).

    Clients look for the exact first line and a root named `cat:Catalog` or `cat:DCMCatalog` (peers 3.1).
    """
    is_dicom = any(entry.uid for entry in entries)
    root = "DCMCatalog" if is_dicom else "Catalog"
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<cat:{root} ID={quoteattr(resource.label or str(resource.id))} xmlns:cat="http://nrg.wustl.edu/catalog" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
    ]
    if location:
        parts.append(
            "<cat:metaFields>\n<cat:metaField "
            f'name="CATALOG_LOCATION">{location.replace("&", "&amp;").replace("<", "&lt;")}</cat:metaField>\n'
            "</cat:metaFields>\n"
        )
    parts.append("<cat:entries>\n")
    parts += [_entry_xml(entry) for entry in entries]
    parts.append(f"</cat:entries>\n</cat:{root}>\n")
    return tables.xml_bytes("".join(parts))


def _entry_xml(entry: CatalogEntry) -> str:
    attributes = [("URI", entry.uri), ("ID", entry.uri), ("name", entry.name), ("format", entry.format)]
    attributes += [("content", entry.content), ("digest", entry.digest), ("UID", entry.uid)]
    attributes += [("createdTime", entry.created), ("createdBy", entry.created_by), ("modifiedTime", entry.modified)]
    text = " ".join(f"{name}={quoteattr(value)}" for name, value in attributes if value)
    kind = ' xsi:type="cat:dcmEntry"' if entry.uid else ""
    return (
        f"<cat:entry {text}{kind}>\n<cat:metaFields>\n"
        f'<cat:metaField name="SIZE">{entry.size}</cat:metaField>\n</cat:metaFields>\n</cat:entry>\n'
    )


def _row(holder: Holder, resource: Resource) -> dict[str, str]:
    return {
        "xnat_abstractresource_id": str(resource.id),
        "label": resource.label,
        "element_name": resource.element_name,
        "category": holder.category,
        "cat_id": holder.cat_id,
        "cat_desc": holder.cat_desc,
        "file_count": str(resource.file_count),
        "file_size": str(resource.file_size),
        "tags": ",".join(resource.tags),
        "content": resource.content,
        "format": resource.format,
    }
