"""How the tail of a files URL becomes a stored name, and what may be written where (FIL 1.4, FIL 9.3)."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, unquote_plus

from xferengine.emulator.http import HttpError

IN_BODY_TYPES = {
    "text/*": "txt",
    "text/plain": "txt",
    "text/xml": "xml",
    "text/csv": "csv",
    "text/html": "html",
    "application/*": "",
    "application/octet-stream": "",
    "application/dicom": "dcm",
    "application/json": "json",
    "application/zip": "zip",
    "application/x-gtar": "tar.gz",
    "application/x-tar": "tar",
    "application/x-gzip": "gzip",
    "application/gzip": "gzip",
    "application/pdf": "pdf",
    "application/xml": "xml",
    "application/msword": "doc",
    "application/excel": "xls",
    "application/powerpoint": "ppt",
    "image/*": "",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/jpeg": "jpeg",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tiff",
    "video/*": "",
    "video/mpeg": "mpeg",
    "video/quicktime": "mov",
    "video/x-msvideo": "avi",
}
"""Content types taken as a file in the body, with the extension of the made-up name (FIL 1.4)."""

_MEDIA = {
    "bmp": "image/bmp",
    "gif": "image/gif",
    "html": "text/html",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "tiff": "image/tiff",
    "txt": "text/plain",
    "xml": "text/xml",
}


def bare_type(content_type: str) -> str:
    """Return a content type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def media_of(name: str) -> str:
    """Return the media type of a file by its extension (FIL 1.6)."""
    return _MEDIA.get(name.rpartition(".")[2].lower(), "application/octet-stream")


def tail_path(rest: str) -> str:
    """Return the path a URL tail names: form-decoded as a whole once `%20` or `%2B` is in it, else raw (FIL 9.3)."""
    path = rest.removeprefix("/")
    if "%20" in path or "%2B" in path or "%2b" in path:
        return unquote_plus(path)
    return path


def decoded(path: str) -> str:
    """Return the URL-decoded form that a GET tries after the raw one (FIL 1.6)."""
    return unquote(path)


def made_up_name(content_type: str) -> str:
    """Return the name of an in-body file without a path (FIL 1.4)."""
    extension = IN_BODY_TYPES.get(bare_type(content_type))
    if extension is None:
        return "upload.unsupported"
    return f"upload.{extension}" if extension else "upload"


def is_catalogable(path: str) -> bool:
    """Say whether a name may become an entry: catalogs and lock files may not (FIL 1.4)."""
    name = path.rpartition("/")[2]
    return not name.endswith("_catalog.xml") and not name.startswith(".~lock-")


def checked_path(path: str) -> str:
    """Return a relative path that stays inside its folder.

    Raises:
        HttpError: 400 for anything else.
    """
    parts = path.split("/")
    for part in parts:
        if part in ("", ".", "..") or "\x00" in part or "\\" in part or len(part.encode()) > 240:
            raise HttpError(400, f"Invalid path: {path!r}".replace("<", "&lt;"))
    if len(path.encode()) > 2000:
        raise HttpError(400, "Invalid path: too long")
    return path


def inside(root: Path, path: str) -> Path:
    """Return the file of a checked path, refusing links that lead out of the folder."""
    target = root / checked_path(path)
    if not target.resolve().is_relative_to(root.resolve()):
        raise HttpError(400, "Invalid path")
    return target
