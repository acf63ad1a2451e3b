"""Answers that several services of the core share."""

import json
import os
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import anyio

from xferengine.emulator.http import HttpError, Query, Request, Response
from xferengine.emulator.records import PrearcRow
from xferengine.emulator.tables import JSON, TABLE_VARIANTS, Table, format_media, negotiate, render, sort_rows

_READ_BYTES = 1 << 18
_BODY_LIMIT = 1 << 20


def table_answer(
    request: Request, columns: tuple[str, ...], rows: Sequence[Mapping[str, str]], *, default: str = JSON
) -> Response:
    """Answer with a table; prearchive tables carry no totalRecords (IMP 0)."""
    wanted = request.query.get("format")
    if wanted:
        media = format_media(wanted)
    elif request.headers.get("accept", "*/*") == "*/*":
        media = default
    else:
        media = negotiate(request.headers.get("accept"), TABLE_VARIANTS) or default
    ordered = sort_rows(rows, request.query.get("sortBy"), request.query.get("sortOrder"))
    content_type, body = render(Table(columns=columns, rows=ordered, total=False), media)
    return Response(200, body, content_type)


def row_table(request: Request, rows: Sequence[PrearcRow], *, default: str = JSON) -> Response:
    """Answer with prearchive rows (IMP 4.1)."""
    return table_answer(request, PrearcRow.COLUMNS, [row.columns() for row in rows], default=default)


async def all_parameters(request: Request) -> Query:
    """Merge the query with an urlencoded body (which needs a Content-Length) or a JSON object body (IMP 3.1, 4.2).

    Raises:
        HttpError: 400 for a body that should be JSON and is not.
    """
    kind = request.content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded" and request.content_length:
        form = Query.parse((await request.read(_BODY_LIMIT)).decode("utf-8", "replace"))
        return form.merged(request.query)
    if kind == "application/json" and request.content_length != 0:
        return Query(_json_pairs(await request.read(_BODY_LIMIT))).merged(request.query)
    return request.query


def _json_pairs(body: bytes) -> list[tuple[str, str | None]]:
    try:
        values = json.loads(body or b"{}")
    except ValueError as error:
        raise HttpError(400, "malformed JSON body") from error
    if not isinstance(values, dict):
        raise HttpError(400, "malformed JSON body")
    return [(str(key), value if isinstance(value, str) else json.dumps(value)) for key, value in values.items()]


def zip_answer(folder: Path, name: str) -> Response:
    """Answer with a zip of a folder; it is made when the answer is read."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.zip";'}
    return Response(200, _zip_chunks(folder, name), "application/zip", headers)


async def _zip_chunks(folder: Path, name: str) -> AsyncIterator[bytes]:
    with await anyio.to_thread.run_sync(_zipped, folder, name) as file:
        while data := file.read(_READ_BYTES):
            yield data


def _zipped(folder: Path, name: str) -> IO[bytes]:
    file = TemporaryFile()  # noqa: SIM115  (closed when it has been sent)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as out:
        for root, _, names in os.walk(folder):
            for each in sorted(names):
                path = Path(root) / each
                out.write(path, f"{name}/{path.relative_to(folder)}")
    file.seek(0)
    return file
