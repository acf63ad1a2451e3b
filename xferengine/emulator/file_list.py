"""Listings of files: tables, `locator=`, and `format=xcat` (FIL 1.5)."""

from __future__ import annotations

from dataclasses import replace

from xferengine.emulator import tables
from xferengine.emulator.catalogs import catalog_xml
from xferengine.emulator.file_select import Found
from xferengine.emulator.http import Request, Response
from xferengine.emulator.places import Place
from xferengine.emulator.records import Resource
from xferengine.emulator.site import Site, table_response

HEADERS = ("Name", "Size", "URI", "collection", "file_tags", "file_format", "file_content", "cat_ID", "digest")
_LOCATORS = ("absolutePath", "projectPath")


class FileList:
    """Makes listings of found files."""

    def __init__(self, site: Site) -> None:
        self._world = site.world
        self._url = site.url

    def answer(self, request: Request, place: Place, found: list[Found], media: str, *, is_single: bool) -> Response:
        """Answer with a table, or with a catalog whose entries point back to this server."""
        if media == tables.XCAT:
            return self._xcat(place, found, is_single=is_single)
        locator = request.query.get("locator")
        uri_column = locator if locator in _LOCATORS else "URI"
        columns = tuple(uri_column if name == "URI" else name for name in HEADERS)
        rows: list[dict[str, str]] = []
        for item in found:
            row = self._row(item)
            if uri_column == "URI":
                row["URI"] = file_uri(place, item, is_single=is_single)
            else:
                row[uri_column] = self._location(item, uri_column)
            rows.append(row)
        properties = ({"key": "URI", "serverRoot": ""},) if uri_column == "URI" else ()
        table = tables.Table(columns=columns, rows=rows, title="Files", total=False, column_properties=properties)
        return table_response(request, table, media)

    def _row(self, item: Found) -> dict[str, str]:
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

    def _location(self, item: Found, locator: str) -> str:
        path = self._world.resource_dir(item.resource) / item.entry.uri
        if locator == "absolutePath":
            return str(path)
        return "/".join(path.relative_to(self._world.data_dir).parts[2:])

    def _xcat(self, place: Place, found: list[Found], *, is_single: bool) -> Response:
        entries = [replace(item.entry, uri=self._url + file_uri(place, item, is_single=is_single)) for item in found]
        catalog = Resource(id=0, label="files", owner="", folder="")
        headers = {"Content-Disposition": 'inline; filename="files.xcat";'}
        return Response(200, catalog_xml(catalog, entries), tables.XCAT, headers)


def file_uri(place: Place, item: Found, *, is_single: bool) -> str:
    """Return the URI of a file: accession and numeric ids, never labels, not percent-encoded (FIL 1.5)."""
    base = item.holder.uri
    if is_single and place.uri_prefix:
        base = place.uri_prefix if base.startswith("/subjects/") else place.uri_prefix + base
    return f"/data{base}/resources/{item.resource.id}/files/{item.entry.uri}"
