"""multipart/form-data as commons-fileupload reads it: the whole body first, big parts on temporary disk (IMP 1.1)."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO

from xferengine.emulator.http import HttpError

_SPOOL_BYTES = 10 << 10
_HEADER_LIMIT = 16 << 10
_READ_BYTES = 1 << 18
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))')


@dataclass(slots=True)
class Part:
    """One part; `filename` is None for a form field. Close `file` after use."""

    name: str
    filename: str | None
    file: IO[bytes]

    def text(self) -> str:
        """Return the value of a form field."""
        self.file.seek(0)
        return self.file.read().decode("utf-8", "replace")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Read the part from its beginning."""
        self.file.seek(0)
        while data := self.file.read(_READ_BYTES):
            yield data


def is_multipart(content_type: str) -> bool:
    """Say whether a Content-Type announces form data."""
    return content_type.lower().startswith("multipart/form-data")


async def read_multipart(content_type: str, body: AsyncIterator[bytes]) -> list[Part]:
    """Read every part.

    Raises:
        HttpError: 400 without a boundary, or for a body that ends early.
    """
    boundary = dict(_parameters(content_type)).get("boundary")
    if not boundary:
        raise HttpError(400, "the request was rejected because no multipart boundary was found")
    return await _Parser(boundary.encode("latin-1"), body).run()


def _parameters(text: str) -> list[tuple[str, str]]:
    return [
        (key.lower(), quoted.replace("\\\\", "\\").replace('\\"', '"') or bare)
        for key, quoted, bare in _PARAMETER.findall(text)
    ]


class _Parser:
    """Splits a body at its boundaries, holding no more than a chunk."""

    def __init__(self, boundary: bytes, body: AsyncIterator[bytes]) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._body = body
        self._buffer = bytearray(b"\r\n")  # so that the first boundary looks like the others
        self._parts: list[Part] = []

    async def run(self) -> list[Part]:
        """Read to the last boundary."""
        try:
            await self._copy_until_delimiter(None)
            while not await self._is_last():
                part = _part(await self._read_headers())
                self._parts.append(part)
                await self._copy_until_delimiter(part.file)
        except BaseException:
            for part in self._parts:
                part.file.close()
            raise
        return self._parts

    async def _fill(self) -> None:
        try:
            self._buffer += await anext(self._body)
        except StopAsyncIteration:
            raise HttpError(400, "Stream ended unexpectedly") from None

    async def _copy_until_delimiter(self, file: IO[bytes] | None) -> None:
        keep = len(self._delimiter) - 1
        while (at := self._buffer.find(self._delimiter)) < 0:
            ready = len(self._buffer) - keep
            if ready > 0:
                if file is not None:
                    file.write(self._buffer[:ready])
                del self._buffer[:ready]
            await self._fill()
        if file is not None:
            file.write(self._buffer[:at])
        del self._buffer[: at + len(self._delimiter)]

    async def _is_last(self) -> bool:
        while len(self._buffer) < 2:
            await self._fill()
        return self._buffer.startswith(b"--")

    async def _read_headers(self) -> str:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _HEADER_LIMIT:
                raise HttpError(400, "Header section has more than 16384 bytes")
            await self._fill()
        text = self._buffer[:end].decode("utf-8", "replace")
        del self._buffer[: end + 4]
        return text


def _part(headers: str) -> Part:
    for line in headers.split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == "content-disposition":
            found = dict(_parameters(value))
            filename = found.get("filename")
            if filename is not None:
                filename = filename.rsplit("\\", 1)[-1]  # a Windows path of old browsers
            return Part(found.get("name", ""), filename, SpooledTemporaryFile(_SPOOL_BYTES))
    raise HttpError(400, "a part without Content-Disposition")
