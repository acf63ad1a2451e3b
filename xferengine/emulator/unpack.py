"""`extract=true`: unpacking an uploaded archive into a resource, recognised by its name only (FIL 1.4)."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import anyio.to_thread

from xferengine.emulator.file_names import inside
from xferengine.emulator.http import HttpError

_ZIP = (".zip", ".zar")
_TAR = (".tar", ".xar")
_TAR_GZ = (".tar.gz", ".tgz")
_GZ = ".gz"

Members = Iterator[tuple[str, IO[bytes]]]


def is_archive(name: str) -> bool:
    """Say whether a name is that of an archive; upper case does not count (FIL 1.4)."""
    return name.endswith((*_ZIP, *_TAR, *_TAR_GZ, _GZ))


async def unpack(
    name: str, chunks: AsyncIterator[bytes], root: Path, *, overwrite: bool
) -> tuple[list[str], list[str]]:
    """Unpack an archive at the root of a resource; the archive itself is not kept.

    Returns:
        Paths that were written, and paths that existed and were left alone.

    Raises:
        HttpError: 500 for a broken archive or one whose members leave the folder.
    """
    with TemporaryFile() as spool:
        async for chunk in chunks:
            spool.write(chunk)
        spool.seek(0)
        return await anyio.to_thread.run_sync(_unpack, name, spool, root, overwrite)


def _unpack(name: str, spool: IO[bytes], root: Path, overwrite: bool) -> tuple[list[str], list[str]]:
    written: list[str] = []
    present: list[str] = []
    try:
        for path, content in _members(name, spool):
            target = inside(root, path)
            if target.exists() and not overwrite:
                present.append(path)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(content, file, 1 << 18)
            written.append(path)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, OSError, RuntimeError, ValueError) as error:
        raise HttpError(500, "Unable to extract the archive.") from error
    except HttpError as error:
        raise HttpError(500, error.message) from error
    return written, present


def _members(name: str, spool: IO[bytes]) -> Members:
    if name.endswith(_ZIP):
        return _zip_members(spool)
    if name.endswith(_TAR):
        return _tar_members(spool, "r:")
    if name.endswith(_TAR_GZ):
        return _tar_members(spool, "r:gz")
    # A lone .gz is one compressed file: x.nii.gz becomes x.nii (FIL 1.4).
    return iter([(name.rpartition("/")[2].removesuffix(_GZ), gzip.GzipFile(fileobj=spool))])  # type: ignore[list-item]


def _zip_members(spool: IO[bytes]) -> Members:
    with zipfile.ZipFile(spool) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                with archive.open(info) as content:
                    yield info.filename, content


def _tar_members(spool: IO[bytes], mode: str) -> Members:
    with tarfile.open(fileobj=spool, mode=mode) as archive:  # type: ignore[call-overload]
        for info in archive:
            content = archive.extractfile(info) if info.isreg() else None
            if content is not None:
                yield info.name.removeprefix("./"), content
