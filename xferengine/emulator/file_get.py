"""Files of resources: listings, single files, archives, deletion (FIL 1.5 - 1.7, FIL 2.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from xferengine.emulator import tables
from xferengine.emulator.archives import Member, archive_chunks
from xferengine.emulator.catalogs import find_resources
from xferengine.emulator.file_names import decoded, inside, tail_path
from xferengine.emulator.file_send import send_file
from xferengine.emulator.holders import Holder, resources_of
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.layout import archive_path
from xferengine.emulator.places import FILE_TAILS, Place, locate
from xferengine.emulator.records import CatalogEntry, Resource
from xferengine.emulator.router import REST, Route
from xferengine.emulator.site import Site, chosen_media, table_response
from xferengine.emulator.world import World

HEADERS = ("Name", "Size", "URI", "collection", "file_tags", "file_format", "file_content", "cat_ID", "digest")
_LOCATORS = ("absolutePath", "projectPath")
_ARCHIVES = {tables.ZIP: "zip", tables.TAR: "tar", tables.TAR_GZ: "tar.gz"}


@dataclass(frozen=True, slots=True)
class Found:
    """A catalog entry with the resource and holder it belongs to."""

    holder: Holder
    resource: Resource
    entry: CatalogEntry


class FileGet:
    """Handlers that read and delete files."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world
        self._versions = site.versions

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
        found = [Found(holder, r, entry) for holder, r in pairs for entry in self._world.entries(r).values()]
        if media in _ARCHIVES:
            return self._archive(request, place, _below(found, path), media)
        if path and not path.endswith(("/", "*")):
            return self._one(request, pairs, path, is_single=is_single)
        found = self._filtered(request, _below(found, path))
        return self._listing(request, place, found, media, is_single=is_single)

    def _resources(self, request: Request, place: Place) -> list[tuple[Holder, Resource]]:
        slot = request.vars.get("R")
        if slot is None:
            return resources_of(self._world, place.holders)
        return find_resources(self._world, place, slot, reads=True)

    # -- listings -----------------------------------------------------------------------------------------------

    def _listing(self, request: Request, place: Place, found: list[Found], media: str, *, is_single: bool) -> Response:
        locator = request.query.get("locator")
        uri_column = locator if locator in _LOCATORS else "URI"
        columns = tuple(uri_column if name == "URI" else name for name in HEADERS)
        rows: list[dict[str, str]] = []
        for item in found:
            row = _row(item)
            if uri_column == "URI":
                row["URI"] = _uri(place, item, is_single=is_single)
            else:
                row[uri_column] = self._location(item, uri_column)
            rows.append(row)
        properties = ({"key": "URI", "serverRoot": ""},) if uri_column == "URI" else ()
        table = tables.Table(columns=columns, rows=rows, title="Files", total=False, column_properties=properties)
        return table_response(request, table, media)

    def _location(self, item: Found, locator: str) -> str:
        path = self._world.resource_dir(item.resource) / item.entry.uri
        if locator == "absolutePath":
            return str(path)
        return "/".join(path.relative_to(self._world.data_dir).parts[2:])

    def _filtered(self, request: Request, found: list[Found]) -> list[Found]:
        """Apply `file_content`, `file_format` and, together with one of them, `index` (FIL 1.5)."""
        query = request.query
        contents = {"" if value == "NULL" else value for value in query.all("file_content")}
        formats = set(query.all("file_format")) - {"NULL"}
        if contents:
            found = [item for item in found if item.entry.content in contents]
        if query.has("file_format"):
            found = [item for item in found if item.entry.format in formats]
        index = query.get("index")
        if index.isdigit() and (contents or formats):
            found = found[int(index) : int(index) + 1]
        return found

    # -- one file -----------------------------------------------------------------------------------------------

    def _one(self, request: Request, pairs: list[tuple[Holder, Resource]], path: str, *, is_single: bool) -> Response:
        # Without a resource in the URL only the first resource is searched (FIL 1.6).
        for _, resource in pairs[:1]:
            entries = self._world.entries(resource)
            entry = entries.get(path) or entries.get(decoded(path))
            if entry is None:
                break
            file = _on_disk(self._world.resource_dir(resource), entry.uri)
            if file is not None:
                return send_file(request, file)
        status = 204 if request.query.flag("accept-not-found") else 404
        if is_single or status == 204:
            # The texts are lost: an empty body (FIL 1.6).
            return Response(status)
        raise HttpError(status)

    # -- archives -----------------------------------------------------------------------------------------------

    def _archive(self, request: Request, place: Place, found: list[Found], media: str) -> Response:
        method = request.query.get("compression", "0")
        if method not in ("0", "8"):
            raise HttpError(400 if not method.lstrip("-").isdigit() else 500)
        members: list[Member] = []
        for item in found:
            path = _on_disk(self._world.resource_dir(item.resource), item.entry.uri)
            if path is not None:
                label = item.resource.label or str(item.resource.id)
                named_scans = "N" in request.vars
                name = archive_path(item.holder, label, item.entry.uri, request.query, named_scans=named_scans)
                members.append(Member(name, path))
        if not members:
            if request.query.flag("accept-not-found"):
                return Response(204)
            raise HttpError(404)
        name = f"{place.archive_name}.{_ARCHIVES[media]}"
        headers = {"Content-Disposition": f'attachment; filename="{name}";'}
        return Response(200, archive_chunks(members, media, deflate=method == "8"), media, headers)

    # -- deleting -----------------------------------------------------------------------------------------------

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
        accepts = _matcher(path)
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


def _row(item: Found) -> dict[str, str]:
    entry = item.entry
    return {
        "Name": entry.name,
        "Size": str(entry.size),
        "collection": item.resource.label,
        "file_tags": ",".join(entry.tags),
        "file_format": entry.format,
        "file_content": entry.content,
        "cat_ID": str(item.resource.id),
        "digest": entry.digest,
    }


def _uri(place: Place, item: Found, *, is_single: bool) -> str:
    """Return the URI of a file: accession and numeric ids, never labels, not percent-encoded (FIL 1.5)."""
    base = item.holder.uri
    if is_single and place.uri_prefix:
        base = place.uri_prefix if base.startswith("/subjects/") else place.uri_prefix + base
    return f"/data{base}/resources/{item.resource.id}/files/{item.entry.uri}"


def _below(found: list[Found], path: str) -> list[Found]:
    """Keep what a path tail names: a folder ending in `/`, a pattern ending in `*`, one file, or everything."""
    if not path:
        return found
    if path.endswith("/"):
        return [item for item in found if item.entry.uri.startswith(path)]
    if path.endswith("*"):
        accepts = _matcher(path)
        return [item for item in found if accepts(item.entry.uri)]
    return [item for item in found if item.entry.uri in (path, decoded(path))]


class _matcher:
    """Says whether a catalog path equals or starts with a text, or matches it as a `*` pattern (FIL 1.7)."""

    def __init__(self, path: str) -> None:
        self._path = path
        parts = path.split("*")
        self._pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL) if len(parts) > 1 else None

    def __call__(self, uri: str) -> bool:
        return uri.startswith(self._path) or (self._pattern is not None and self._pattern.match(uri) is not None)


def _on_disk(root: Path, uri: str) -> Path | None:
    """Return the file of an entry, or its gzipped twin, which is sent as it is (FIL 1.6)."""
    try:
        path = inside(root, uri)
    except HttpError:
        return None
    if path.is_file():
        return path
    twin = path.with_name(path.name + ".gz")
    return twin if twin.is_file() else None


def _remove(root: Path, uri: str) -> None:
    """Delete a file and the folders that become empty."""
    path = inside(root, uri)
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == root or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()
