"""How the body of an import request is understood (IMP 1.1): in the body, multipart, from the user cache, or none."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from xferengine.emulator.http import HttpError, Query, Request
from xferengine.emulator.multipart import Part, is_multipart, read_multipart
from xferengine.emulator.naming import last_component
from xferengine.emulator.world import World, safe_name

_UPLOAD_NAMES = {
    "application/zip": "upload.zip",
    "application/x-tar": "upload.tar",
    "application/x-gtar": "upload.tar.gz",
    "application/xar": "upload.xar",
    "application/x-gzip": "upload.gzip",
    "application/gzip": "upload.gzip",
    "application/octet-stream": "upload",
    "application/*": "upload",
    "application/dicom": "upload.dcm",
    "application/pdf": "upload.pdf",
    "text/plain": "upload.txt",
    "text/xml": "upload.xml",
    "text/csv": "upload.csv",
}
_READ_BYTES = 1 << 18


@dataclass(slots=True)
class Upload:
    """A file that came with a request, and how to read it."""

    name: str
    chunks: AsyncIterator[bytes]


@dataclass(slots=True)
class Received:
    """What a request brought: files, and form fields as parameters. Close it."""

    uploads: list[Upload] = field(default_factory=list)
    fields: Query = field(default_factory=Query)
    parts: list[Part] = field(default_factory=list)

    def close(self) -> None:
        """Remove temporary files."""
        for part in self.parts:
            part.file.close()


async def receive(request: Request, remainder: str) -> Received:
    """Take the body in one of XNAT's forms; `remainder` is the path behind the service.

    Raises:
        HttpError: 400 and 500 as in IMP 1.1.
    """
    kind = _bare_type(request.content_type)
    in_body = request.query.flag("inbody")
    if is_multipart(request.content_type):
        if in_body:
            raise HttpError(500, "The server encountered an unexpected condition which prevented it from fulfilling "
                                 "the request")  # fmt: skip
        return await _receive_form(request)
    if kind == "application/x-www-form-urlencoded" and not in_body:
        raise HttpError(400, "the request doesn't contain a multipart/form-data or multipart/mixed stream")
    if not in_body and kind not in _UPLOAD_NAMES:
        return Received()
    _check_length(request, kind)
    name = last_component(unquote(remainder.strip("/"))) or _UPLOAD_NAMES.get(kind, "upload.unsupported")
    return Received([Upload(name, request.body)])


def _bare_type(content_type: str) -> str:
    """Strip a charset parameter only: any other parameter makes it another type (IMP 1.1)."""
    base, _, parameters = content_type.partition(";")
    if not parameters or parameters.strip().lower().startswith("charset="):
        return base.strip().lower()
    return content_type.lower()


def _check_length(request: Request, kind: str) -> None:
    """Accept an unknown or zero length for application/zip only."""
    if request.content_length or kind == "application/zip":
        return
    if not kind:
        raise HttpError(500)
    size = -1 if request.content_length is None else 0
    raise HttpError(
        400,
        "In-body File posts must include the file directly as the body of the message. "
        f"The entity size is {size}, but the type is {kind}, not application/zip.",
    )


async def _receive_form(request: Request) -> Received:
    parts = await read_multipart(request.content_type, request.body)
    received = Received(parts=parts)
    for part in parts:
        if part.filename is None:
            if part.name == "reference":
                received.close()
                raise HttpError(400, "Reference uploads are not supported by this service.")
            received.fields.pairs.append((part.name, part.text()))
        elif not part.filename:
            received.close()
            raise HttpError(400, "multi-part form posts must contain the file name of the uploaded file.")
        else:
            received.uploads.append(Upload(part.filename, part.chunks()))
    return received


def cached_upload(world: World, user: str, src: str) -> Upload:
    """Open a file of the user cache for `src=` (IMP 1.3); its last component is its name.

    Raises:
        HttpError: 400 for a bad shape, 404 for a missing file.
    """
    path = cache_path(world, user, src)
    if not path.is_file():
        raise HttpError(404, "Unknown src file.")
    return Upload(path.name, file_chunks(path))


def cache_path(world: World, user: str, src: str) -> Path:
    """Return the file behind ``/user/cache/resources/{NAME}/files/{path}``."""
    parts = src.split("/")
    shape = len(parts) > 6 and parts[:4] == ["", "user", "cache", "resources"] and parts[5] == "files"
    if not shape or not all(safe_name(part) for part in (parts[4], *parts[6:])):
        raise HttpError(400, "src uri is invalid.")
    return world.data_dir.joinpath("cache", user, parts[4], *parts[6:])


async def file_chunks(path: Path) -> AsyncIterator[bytes]:
    """Read a file piece by piece."""
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            yield data


async def drain(request: Request) -> None:
    """Read what is left of a body, so that the connection can be used again."""
    with suppress(StopAsyncIteration):
        while True:
            await anext(request.body)
