"""Tables of the REST answers: string cells only, as JSON, CSV, XML or HTML (FIL 0, FIL 1.2, FIL 1.5, FIL 6.1).

Also holds the two-step choice of a representation: `Accept` is negotiated against the handler's variants
first (no match is a 406 even with `format=`), then `format=` overrides the winner.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

JSON, XML, HTML, CSV, TEXT = "application/json", "text/xml", "text/html", "text/csv", "text/plain"
ZIP, TAR, TAR_GZ, XCAT = "application/zip", "application/x-tar", "application/x-gtar", "application/x-xcat"
JPEG, OCTETS = "image/jpeg", "application/octet-stream"

TABLE_VARIANTS = (JSON, HTML, XML)
"""What list resources offer; the first wins on `*/*` (FIL 0)."""

ITEM_VARIANTS = (HTML, XML)
"""What single projects, subjects, experiments and scans offer (FIL 0)."""

FILE_VARIANTS = (JSON, HTML, XML, JPEG)
"""What the files resource offers (FIL 0)."""

_FORMATS = {
    "json": JSON,
    "xml": XML,
    "csv": CSV,
    "txt": TEXT,
    "html": HTML,
    "zip": ZIP,
    "tar.gz": TAR_GZ,
    "tar": TAR,
    "xlist": "application/x-xList",
    "xcat": XCAT,
    "xar": "application/xar",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of string cells with the metadata of their JSON wrapper.

    `total` adds `totalRecords` (absent on file lists and on paged lists); `title` is omitted when empty;
    `column_properties` becomes the wrapper's `Columns` list.
    """

    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, str | None]]
    title: str = ""
    total: bool = True
    column_properties: Sequence[Mapping[str, str]] = field(default_factory=tuple)

    def cells(self, row: Mapping[str, str | None]) -> list[str]:
        """Return the cells of one row in column order; null is the empty string (FIL 1.2)."""
        return [row.get(column) or "" for column in self.columns]


_NOT_XML = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ud800-\\udfff\\ufffe\\uffff]")


def negotiate(accept: str | None, variants: Sequence[str]) -> str | None:
    """Return the variant `Accept` likes best, or None for a 406 (FIL 0)."""
    ranges = _media_ranges(accept)
    best, best_quality = None, 0.0
    for variant in variants:
        quality = _quality(variant, ranges)
        if quality > best_quality:
            best, best_quality = variant, quality
    return best


def format_media(value: str) -> str:
    """Return the media type a `format=` value names; unknown words are media types themselves (FIL 0)."""
    return _FORMATS.get(value.lower(), value)


def render(table: Table, media: str) -> tuple[str, bytes]:
    """Return content type and bytes of a table; an unknown media type gives HTML (FIL 0, `tgz`)."""
    if media == JSON:
        return JSON, _json(table)
    if media == CSV:
        return CSV, _csv(table)
    if media in (XML, "application/xml"):
        return XML, _xml(table)
    return HTML, _html(table)


def sort_rows(
    rows: Sequence[Mapping[str, str | None]], sort_by: str, sort_order: str
) -> Sequence[Mapping[str, str | None]]:
    """Sort fetched rows in memory by `sortBy` columns (FIL 1.5)."""
    keys = [key for key in sort_by.split(",") if key]
    if not keys:
        return rows
    return sorted(rows, key=lambda row: [row.get(key) or "" for key in keys], reverse=sort_order.upper() == "DESC")


def _media_ranges(accept: str | None) -> list[tuple[str, float]]:
    if not accept or not accept.strip():
        return [("*/*", 1.0)]
    ranges = []
    for part in accept.split(","):
        name, _, parameters = part.partition(";")
        quality = 1.0
        for parameter in parameters.split(";"):
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                quality = _number(value)
        if name.strip():
            ranges.append((name.strip().lower(), quality))
    return ranges


def _number(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 1.0


def _quality(variant: str, ranges: Sequence[tuple[str, float]]) -> float:
    main = variant.partition("/")[0]
    exactness, best = -1, 0.0
    for name, quality in ranges:
        rank = 2 if name == variant else 1 if name == f"{main}/*" else 0 if name in ("*/*", "*") else -1
        if rank > exactness:
            exactness, best = rank, quality
    return best


def _json(table: Table) -> bytes:
    result: dict[str, object] = {}
    if table.column_properties:
        result["Columns"] = list(table.column_properties)
    names = table.columns
    result["Result"] = [dict(zip(names, table.cells(row), strict=True)) for row in table.rows]
    if table.title:
        result["title"] = table.title
    if table.total:
        result["totalRecords"] = str(len(table.rows))
    return json.dumps({"ResultSet": result}, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _csv(table: Table) -> bytes:
    lines = [",".join(table.columns)]
    for row in table.rows:
        cells = (cell.replace("\r", " ").replace("\n", " ").replace('"', '""') for cell in table.cells(row))
        lines.append(",".join(f'"{cell}"' for cell in cells))
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def xml_bytes(text: str) -> bytes:
    """Encode a document, without the characters XML does not allow (they come from DICOM values and labels)."""
    return _NOT_XML.sub("", text).encode("utf-8", "replace")


def _xml(table: Table) -> bytes:
    attributes = f' title="{escape(table.title)}"' if table.title else ""
    if table.total:
        attributes += f' totalRecords="{len(table.rows)}"'
    parts = [f'<?xml version="1.0" encoding="UTF-8"?>\n<ResultSet{attributes}><results><columns>']
    parts += [f"<column>{escape(column)}</column>" for column in table.columns]
    parts.append("</columns><rows>")
    for row in table.rows:
        parts.append("<row>" + "".join(f"<cell>{escape(cell)}</cell>" for cell in table.cells(row)) + "</row>")
    parts.append("</rows></results></ResultSet>")
    return xml_bytes("".join(parts))


def _html(table: Table) -> bytes:
    parts = ["<html><body><table><tr>"]
    parts += [f"<th>{escape(column)}</th>" for column in table.columns]
    parts.append("</tr>")
    for row in table.rows:
        parts.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in table.cells(row)) + "</tr>")
    parts.append("</table></body></html>")
    return "".join(parts).encode("utf-8", "replace")
