"""A long table read while it arrives: the rows of a million files need the memory of a few hundred."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from xferengine.errors import ProtocolViolation
from xferengine.model.items import RemoteFile, ResourceRef
from xferengine.xnat import wire
from xferengine.xnat.files import place_rows
from xferengine.xnat.transport import Answer, OpenStream, Request

_HEAD = b'{"ResultSet":{"Result":['
_TAIL = b"]}}"
_RESULT = re.compile(rb'"Result"\s*:\s*\[')
_TRIES = 8
"""Candidates for the end of a row that are looked at, from the last one back; a name may hold ``},`` too."""


class RowPages:
    """Cuts a table into pages of whole rows. Feed it the body piece by piece, then ``finish`` it."""

    def __init__(self) -> None:
        self._buffer = b""
        self._is_inside = False

    def feed(self, data: bytes) -> list[wire.Row]:
        """Return the rows that are complete with these bytes."""
        self._buffer += data
        if not self._is_inside:
            found = _RESULT.search(self._buffer)
            if found is None:
                return []
            self._buffer, self._is_inside = self._buffer[found.end() :], True
        end = len(self._buffer)
        for _ in range(_TRIES):
            end = self._buffer.rfind(b"},", 0, end)
            if end < 0:
                break
            try:
                rows = _table(_HEAD + self._buffer[: end + 1] + _TAIL)
            except ProtocolViolation:  # the end of no row, but a part of a name
                continue
            self._buffer = self._buffer[end + 2 :]
            return rows
        return []

    def finish(self) -> list[wire.Row]:
        """Return the last rows.

        Raises:
            ProtocolViolation: what came is no table, or was cut.
        """
        return _table((_HEAD if self._is_inside else b"") + self._buffer)


def _table(body: bytes) -> list[wire.Row]:
    return wire.table(Answer(status=200, content_type="application/json", body=body))


async def read_listing(
    open_stream: OpenStream, ref: ResourceRef, take: Callable[[list[RemoteFile]], Awaitable[None]]
) -> None:
    """List the files of a resource page by page.

    Args:
        open_stream: sends the request.
        ref: of a resource that exists.
        take: gets each page; the server is held back meanwhile.

    Raises:
        NotFound: no such resource for this account.
        ProtocolViolation: rows of another item, no listing, or one that was cut.
        RemoteError: whatever else the server does; what was taken before says nothing then.

    Source: GET …/resources/{id}/files?format=json, FIL 1.5.
    """
    pages = RowPages()
    request = Request(method="GET", segments=(*ref.segments, "files"), query=(("format", "json"),))
    async with open_stream(request) as stream:
        async for chunk in stream.chunks():
            if rows := pages.feed(chunk):
                await take(_placed(ref, rows))
        if rows := pages.finish():
            await take(_placed(ref, rows))


def _placed(ref: ResourceRef, rows: list[wire.Row]) -> list[RemoteFile]:
    """Return the rows as files of the resource.

    Raises:
        ProtocolViolation: a row of another item or resource.
    """
    found = [one for one in place_rows(ref.item, [ref], rows) if one.files]
    if any(one.ref.id != ref.id for one in found):
        raise ProtocolViolation("a files listing of one resource names another")
    return [file for one in found for file in one.files]
