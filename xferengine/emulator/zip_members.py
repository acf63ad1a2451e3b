"""Members of stored zips: sent by themselves, or listed (FIL 1.6)."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import anyio.to_thread

from xferengine.emulator.archive_members import READ_BYTES
from xferengine.emulator.file_names import media_of
from xferengine.emulator.http import Request, Response
from xferengine.emulator.site import table_response
from xferengine.emulator.tables import Table

_COLUMNS = ("File Name", "Size")


async def send_member(path: Path, inner: str) -> Response | None:
    """Answer with a member, without a length; None if there is none of exactly this name, 415 for a broken zip."""
    try:
        archive = await anyio.to_thread.run_sync(zipfile.ZipFile, path)
    except zipfile.BadZipFile:
        return Response(415)
    if inner not in archive.NameToInfo:
        archive.close()
        return None
    name = inner.rpartition("/")[2]
    headers = {"Content-Disposition": f'attachment; filename="{name}";', "Cache-Control": "must-revalidate"}
    return Response(200, _member_chunks(archive, inner), media_of(name), headers)


async def _member_chunks(archive: zipfile.ZipFile, inner: str) -> AsyncIterator[bytes]:
    with archive, archive.open(inner) as file:
        while chunk := await anyio.to_thread.run_sync(file.read, READ_BYTES):
            yield chunk


async def zip_contents(request: Request, path: Path) -> Response:
    """Answer with a table of the members: 415 with an empty body for a broken zip."""
    try:
        with await anyio.to_thread.run_sync(zipfile.ZipFile, path) as archive:
            rows = [
                {"File Name": info.filename, "Size": str(info.file_size)}
                for info in archive.infolist()
                if not info.is_dir()
            ]
    except zipfile.BadZipFile:
        return Response(415)
    return table_response(request, Table(columns=_COLUMNS, rows=rows))
