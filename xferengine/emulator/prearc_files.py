"""The prearchive below a session: scans, resources, files (IMP 4.3)."""

import shutil
from pathlib import Path
from urllib.parse import unquote

from xferengine.emulator.answers import table_answer, zip_answer
from xferengine.emulator.build import load_model, save_model
from xferengine.emulator.core import Core, RouteSpec
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.prearc_access import SESSION, editable_row, readable_row
from xferengine.emulator.records import PrearcRow
from xferengine.emulator.session_extras import extra_files
from xferengine.emulator.session_model import ScanModel, SessionModel
from xferengine.emulator.uploads import file_chunks, receive
from xferengine.emulator.world import safe_name

_UNITS = ("B", "KB", "MB", "GB")
_SCAN = SESSION + r"/scans/(?P<scan>[^/]+)"
_RESOURCE = SESSION + r"/resources/(?P<resource>[^/]+)"


def routes(core: Core) -> list[RouteSpec]:
    """Return the routes of this module."""
    scans, extras = PrearchiveScans(core), PrearchiveExtras(core)
    return [
        ("GET", SESSION + r"/scans/?", scans.get_scans),
        ("GET", _SCAN + r"/?", scans.get_scan),
        ("DELETE", _SCAN + r"/?", scans.delete_scan),
        ("GET", _SCAN + r"/resources/?", scans.get_resources),
        ("GET", _SCAN + r"/resources/(?P<resource>[^/]+)/files/?", scans.get_files),
        ("GET", _SCAN + r"/resources/(?P<resource>[^/]+)/files/(?P<file>.+)", scans.get_file),
        ("GET", SESSION + r"/resources/?", extras.get_resources),
        ("GET", _RESOURCE + r"/files/?", extras.get_files),
        ("GET", _RESOURCE + r"/files/(?P<file>.+)", extras.get_file),
        ("PUT", _RESOURCE + r"/files(?P<file>/.*)?", extras.put_file),
        ("DELETE", _RESOURCE + r"/files(?P<file>/.*)?", extras.delete_files),
    ]


def _built(core: Core, row: PrearcRow | None) -> tuple[PrearcRow, SessionModel]:
    """Return the row with its document.

    Raises:
        HttpError: 404 before the first build.
    """
    model = load_model(core, row) if row is not None else None
    if row is None or model is None:
        raise HttpError(404, "Unable to locate prearc resource.")
    return row, model


class PrearchiveScans:
    """Scans of a built session."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def _scan(self, request: Request) -> tuple[PrearcRow, ScanModel]:
        row, model = _built(self._core, readable_row(self._core, request))
        scan = model.scan(unquote(request.vars["scan"]))
        if scan is None:
            raise HttpError(404, "Unable to locate prearc resource.")
        return row, scan

    async def get_scans(self, request: Request) -> Response:
        """List scans."""
        _, model = _built(self._core, readable_row(self._core, request))
        rows = [{"ID": s.id, "xsiType": s.xsi_type, "series_description": s.series_description} for s in model.scans]
        return table_answer(request, ("ID", "xsiType", "series_description"), rows)

    async def get_scan(self, request: Request) -> Response:
        """Zip a scan's folder; any other format is refused."""
        row, scan = self._scan(request)
        if request.query.get("format") not in ("zip", "application/zip"):
            raise HttpError(400)
        return zip_answer(self._core.folder_of(row) / "SCANS" / scan.files[0].folder, scan.id)

    async def delete_scan(self, request: Request) -> Response:
        """Remove a scan with its files, also what could not be read there."""
        row, model = _built(self._core, editable_row(self._core, request))
        scan_id = unquote(request.vars["scan"])
        scan = model.scan(scan_id)
        folder_name = scan.files[0].folder if scan is not None else scan_id
        folder = self._core.folder_of(row) / "SCANS" / folder_name
        if not safe_name(folder_name) or not folder.is_dir():
            raise HttpError(404, "Unable to locate prearc resource.")
        model.scans = [other for other in model.scans if other is not scan]
        keep = {f.name for other in model.scans for f in other.files if f.folder == folder_name}
        for path in (folder / "DICOM").iterdir():
            if path.name not in keep:
                self._core.instances.drop(path)
                path.unlink()
        if not keep:
            shutil.rmtree(folder)
        save_model(self._core, row, model)
        return Response()

    async def get_resources(self, request: Request) -> Response:
        """List the one resource of a scan."""
        _, scan = self._scan(request)
        cells = {"label": "DICOM", "file_count": str(len(scan.files)), "file_size": str(scan.size)}
        return table_answer(request, ("label", "file_count", "file_size"), [cells])

    async def get_files(self, request: Request) -> Response:
        """List files: sizes in bytes, no digest."""
        row, scan = self._scan(request)
        if request.vars["resource"] != "DICOM":
            raise HttpError(404, "Unable to locate prearc resource.")
        base = f"/data{row.url}/scans/{scan.id}/resources/DICOM/files"
        files = [(file.name, file.size) for file in scan.files]
        return _file_table(request, base, files)

    async def get_file(self, request: Request) -> Response:
        """Send a file; an unknown one is 404 with an empty body."""
        row, scan = self._scan(request)
        name = unquote(request.vars["file"])
        found = next((file for file in scan.files if file.name == name), None)
        if found is None:
            return Response(404)
        return _send(self._core.folder_of(row) / found.path)


class PrearchiveExtras:
    """Resources of the session itself, and the overview of all of them."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def get_resources(self, request: Request) -> Response:
        """List the resources of scans and of the session in one call."""
        row, model = _built(self._core, readable_row(self._core, request))
        columns = ("category", "cat_id", "label", "file_count", "file_size")
        rows = [("scans", s.id, "DICOM", str(len(s.files)), str(s.size)) for s in model.scans]
        for label, files in extra_files(self._core.folder_of(row)).items():
            rows.append(("resources", "", label, str(len(files)), str(sum(path.stat().st_size for path in files))))
        return table_answer(request, columns, [dict(zip(columns, cells, strict=True)) for cells in rows])

    def _folder(self, request: Request, row: PrearcRow | None) -> tuple[PrearcRow, Path]:
        known, _ = _built(self._core, row)
        label = request.vars["resource"]
        if not safe_name(label):
            raise HttpError(404, "Unable to locate prearc resource.")
        return known, self._core.folder_of(known) / "RESOURCES" / label

    async def get_files(self, request: Request) -> Response:
        """List the files of a session resource."""
        row, folder = self._folder(request, readable_row(self._core, request))
        files = extra_files(self._core.folder_of(row)).get(folder.name, [])
        base = f"/data{row.url}/resources/{folder.name}/files"
        return _file_table(request, base, [(str(path.relative_to(folder)), path.stat().st_size) for path in files])

    async def get_file(self, request: Request) -> Response:
        """Send a file of a session resource."""
        _, folder = self._folder(request, readable_row(self._core, request))
        path = folder / _relative(request.vars["file"])
        return _send(path) if path.is_file() else Response(404)

    async def put_file(self, request: Request) -> Response:
        """Add files, in the body or as a form."""
        _, folder = self._folder(request, editable_row(self._core, request))
        named = (request.vars.get("file") or "").strip("/")
        received = await receive(request, named)
        try:
            if not received.uploads:
                raise HttpError(400, "You tried to PUT to this service, but didn't provide any data.")
            for upload in received.uploads:
                path = folder / _relative(named or upload.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    async for chunk in upload.chunks:
                        file.write(chunk)
        finally:
            received.close()
        return Response()

    async def delete_files(self, request: Request) -> Response:
        """Remove a file, or the whole resource."""
        _, folder = self._folder(request, editable_row(self._core, request))
        named = (request.vars.get("file") or "").strip("/")
        target = folder / _relative(named) if named else folder
        if target.is_dir():
            shutil.rmtree(target)
        elif target.exists():
            target.unlink()
        else:
            raise HttpError(404)
        return Response()


def _relative(name: str) -> str:
    """Return a path below a resource.

    Raises:
        HttpError: 400 for one that would leave it.
    """
    parts = unquote(name).split("/")
    if not all(safe_name(part) for part in parts):
        raise HttpError(400, "Invalid file name.")
    return "/".join(parts)


def _file_table(request: Request, base: str, files: list[tuple[str, int]]) -> Response:
    pretty = request.query.flag("prettyPrint")
    rows = [
        {"Name": name.rsplit("/", 1)[-1], "Size": _human(size) if pretty else str(size), "URI": f"{base}/{name}"}
        for name, size in files
    ]
    return table_answer(request, ("Name", "Size", "URI"), rows)


def _human(size: float) -> str:
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"


def _send(path: Path) -> Response:
    headers = {
        "Content-Disposition": f'attachment; filename="{path.name}";',
        "Content-Length": str(path.stat().st_size),
    }
    return Response(200, file_chunks(path), "application/octet-stream", headers)
