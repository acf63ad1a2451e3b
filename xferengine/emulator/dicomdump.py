"""`GET /data/services/dicomdump`: the header of one file of a scan, or a summary over its files (FIL 8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import anyio.to_thread
import pydicom
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from xferengine.emulator import tables
from xferengine.emulator.archive_uris import parse_uri, place_of
from xferengine.emulator.holders import experiment_holder, resources_of, scan_holder
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.records import PrearcRow
from xferengine.emulator.router import Route
from xferengine.emulator.site import Site, chosen_media, table_response
from xferengine.emulator.world import World

_COLUMNS = ("tag1", "tag2", "vr", "value", "desc")
_SUMMARY_FILES = 10_000
_VALUE_CHARS = 64


class DicomDump:
    """The service."""

    def __init__(self, site: Site) -> None:
        self._world: World = site.world

    def routes(self) -> list[Route]:
        """Return the routes inside the `/data` application."""
        return [("GET", "/services/dicomdump", self.get)]

    async def get(self, request: Request) -> Response:
        """Return tag, value, VR and description of the elements of a file."""
        media = chosen_media(request, tables.TABLE_VARIANTS)
        src = request.query.get("src")
        if not src:
            raise HttpError(400, "Please set the src parameter")
        files = self._prearchived(request, src) if "/prearchive/" in src else self._archived(request, src)
        fields = _fields(request.query.all("field"))
        count = _SUMMARY_FILES if request.query.flag("summary") else 1
        rows = await anyio.to_thread.run_sync(_dump, files, fields, count)
        if not rows:
            raise HttpError(404)
        return table_response(request, tables.Table(columns=_COLUMNS, rows=rows), media)

    def _archived(self, request: Request, src: str) -> list[Path]:
        uri = parse_uri(src)
        place = place_of(self._world, request, uri)
        if place.experiment is None:
            raise HttpError(400, f"Invalid URI: {src}")
        holders = place.holders
        if not place.scans:
            scans = place.experiment.scans.values()
            holders = [experiment_holder(self._world, place.experiment)]
            holders += [scan_holder(self._world, place.experiment, scan) for scan in scans]
        slot = uri.names.get("R")
        found: list[Path] = []
        for _, resource in resources_of(self._world, holders):
            if slot in (None, resource.label, str(resource.id)):
                root = self._world.resource_dir(resource)
                names = (name for name in self._world.entries(resource) if not uri.file or name == uri.file)
                found += [root / name for name in names]
        return found

    def _prearchived(self, request: Request, src: str) -> list[Path]:
        parts = src.removeprefix("/data").strip("/").split("/")
        row = self._row(parts)
        if row is None or not self._world.can_read(request.user, row.project):
            raise HttpError(404)
        folder = self._world.prearc_dir(row)
        if len(parts) > 6 and parts[5] == "scans":
            folder = folder / "SCANS" / Path(parts[6]).name
        return sorted(path for path in folder.rglob("*") if path.is_file())

    def _row(self, parts: list[str]) -> PrearcRow | None:
        if len(parts) < 5 or parts[:2] != ["prearchive", "projects"]:
            return None
        return self._world.rows.get("/".join(parts[2:5]))


def _fields(names: Iterable[str]) -> frozenset[int]:
    """Turn tags in hex and keywords into tags; `:private` behind one is dropped."""
    found: set[int] = set()
    for name in names:
        text = name.partition(":")[0]
        tag = tag_for_keyword(text)
        if tag is None:
            try:
                tag = int(text.strip("()").replace(",", ""), 16)
            except ValueError as error:
                raise HttpError(400, f"Unknown field {text}") from error
        found.add(int(tag))
    return frozenset(found)


def _dump(files: list[Path], fields: frozenset[int], count: int) -> list[dict[str, str]]:
    """Return the rows of the first file that is DICOM; over several files each distinct value once."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    read = 0
    for path in files:
        dataset = _header(path)
        if dataset is None:
            continue
        read += 1
        for element in _elements(dataset, fields):
            row = _row(element)
            rows.setdefault((row["tag1"], row["value"]), row)
        if read >= count:
            break
    return list(rows.values())


def _header(path: Path) -> Dataset | None:
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError):
        return None


def _elements(dataset: Dataset, fields: frozenset[int]) -> Iterator[DataElement]:
    meta = getattr(dataset, "file_meta", None)
    for part in (meta, dataset):
        for element in part if part is not None else ():
            if not fields or int(element.tag) in fields:
                yield element


def _row(element: DataElement) -> dict[str, str]:
    tag = element.tag
    value = "" if element.VR in ("SQ", "OB", "OW", "UN") else str(element.value)
    return {
        "tag1": f"({tag.group:04X},{tag.element:04X})",
        "tag2": "",
        "vr": element.VR,
        "value": value[:_VALUE_CHARS],
        "desc": element.name if not tag.is_private else keyword_for_tag(tag) or "?",
    }
