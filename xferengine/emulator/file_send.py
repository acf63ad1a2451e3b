"""Sending one stored file: ranges and conditions the way Restlet 1.1 does them (FIL 1.6, FIL 3)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

import anyio.to_thread

from xferengine.emulator.file_names import media_of
from xferengine.emulator.hooks import Hooks
from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.tables import OCTETS, XML

_CHUNK_BYTES = 1 << 20
_WHOLE_BYTES = 1 << 18  # files up to this size are read at once, without a thread
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def send_file(request: Request, path: Path, hooks: Hooks, *, negotiated: str = "") -> Response:
    """Answer a GET of a file that exists; `negotiated` is what `Accept` chose.

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
    kind = media_of(path.name)
    if kind == OCTETS and negotiated == XML:
        kind = "*/*"
    change_after = hooks.change_after(path) if request.method == "GET" else None
    span = _span(request.headers.get("range", ""), size)
    if span is None:
        headers["Content-Length"] = str(size)
        return Response(200, _body(path, 0, size, change_after), kind, headers)
    start, end = span
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    headers["Content-Length"] = str(max(end + 1 - start, 0))
    if end >= size:
        # Never a 416: more is announced than follows, and only the closed connection tells (FIL 3).
        headers["Connection"] = "close"
        return Response(206, _read(path, start, size, change_after), kind, headers)
    return Response(206, _body(path, start, end + 1, change_after), kind, headers)


def refuse_unsized_range(request: Request) -> None:
    """Judge a range on an answer without a known size: closed ones are ignored, open ones an error (FIL 3).

    Raises:
        HttpError: 500 for an open or suffix range, 501 for several ranges.
    """
    value = request.headers.get("range", "").strip()
    if "," in value:
        raise HttpError(501)
    found = _RANGE.fullmatch(value)
    if found is not None and (found[1] == "") != (found[2] == ""):
        raise HttpError(500)


def _check_conditions(request: Request, modified: int) -> None:
    """Evaluate dates; there is no ETag, so `If-Match` fails on any tag and `If-None-Match` never holds (FIL 3)."""
    match = request.headers.get("if-match", "").strip()
    if match and match != "*":
        raise HttpError(412)
    unmodified = _date(request.headers.get("if-unmodified-since"))
    if unmodified is not None and modified > unmodified:
        raise HttpError(412)
    since = _date(request.headers.get("if-modified-since"))
    if since is not None and modified <= since <= time.time():  # a date in the future is none
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


def _body(path: Path, start: int, stop: int, change_after: int | None) -> bytes | AsyncIterator[bytes]:
    """Return a small part of a file as it is, a bigger one in chunks."""
    if stop - start > _WHOLE_BYTES or change_after is not None:
        return _read(path, start, stop, change_after)
    file = os.open(path, os.O_RDONLY)
    try:
        return os.pread(file, stop - start, start)
    finally:
        os.close(file)


async def _read(path: Path, start: int, stop: int, change_after: int | None) -> AsyncIterator[bytes]:
    """Read in threads; with `change_after` the file changes under the reader after that many bytes."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        left = stop - start
        while left > 0 and (chunk := await anyio.to_thread.run_sync(file.read, min(_CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
            if change_after is not None and stop - left >= change_after:
                _change(path, stop - left)
                change_after = None


def _change(path: Path, sent: int) -> None:
    """Turn the bits of what was not sent yet (1 MiB at most), and make the file newer."""
    status = path.stat()
    with path.open("r+b") as file:
        start = sent if sent < status.st_size else 0
        file.seek(start)
        data = file.read(_CHUNK_BYTES)
        file.seek(start)
        file.write(bytes(byte ^ 0xFF for byte in data))
    os.utime(path, (status.st_atime, status.st_mtime + 10))
