"""Sending one stored file: ranges and conditions the way Restlet 1.1 does them (FIL 1.6, FIL 3)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

import anyio.to_thread

from xferengine.emulator.file_names import media_of
from xferengine.emulator.http import HttpError, Request, Response

_CHUNK_BYTES = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def send_file(request: Request, path: Path) -> Response:
    """Answer a GET of a file that exists.

    Raises:
        HttpError: 304 and 412 by the conditions, 501 for several ranges (FIL 3).
    """
    status = path.stat()
    size, modified = status.st_size, int(status.st_mtime)
    _check_conditions(request, modified)
    headers = {
        "Content-Disposition": f'attachment; filename="{path.name}";',
        "Cache-Control": "must-revalidate",
        "Last-Modified": formatdate(modified, usegmt=True),
    }
    span = _span(request.headers.get("range", ""), size)
    if span is None:
        headers["Content-Length"] = str(size)
        return Response(200, _read(path, 0, size), media_of(path.name), headers)
    start, end = span
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    headers["Content-Length"] = str(max(end + 1 - start, 0))
    if end >= size:
        # Never a 416: more is announced than follows, and only the closed connection tells (FIL 3).
        headers["Connection"] = "close"
    return Response(206, _read(path, start, min(end + 1, size)), media_of(path.name), headers)


def _check_conditions(request: Request, modified: int) -> None:
    """Evaluate dates; there is no ETag, so `If-Match` fails on any tag and `If-None-Match` never holds (FIL 3)."""
    match = request.headers.get("if-match", "").strip()
    if match and match != "*":
        raise HttpError(412)
    unmodified = _date(request.headers.get("if-unmodified-since"))
    if unmodified is not None and modified > unmodified:
        raise HttpError(412)
    since = _date(request.headers.get("if-modified-since"))
    if since is not None and modified <= since:
        raise HttpError(304)


def _date(value: str | None) -> float | None:
    if not value:
        return None
    try:
        return parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None


def _span(value: str, size: int) -> tuple[int, int] | None:
    """Return first and last byte of a single range, both inclusive; None for the whole file."""
    if not value:
        return None
    if "," in value:
        raise HttpError(501)
    found = _RANGE.fullmatch(value.strip())
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        count = min(int(found[2]), size)
        return size - count, size - 1
    start = int(found[1])
    end = int(found[2]) if found[2] else max(size - 1, start - 1)
    return start, max(end, start - 1)


async def _read(path: Path, start: int, stop: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        left = stop - start
        while left > 0 and (chunk := await anyio.to_thread.run_sync(file.read, min(_CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
