"""Files written into the folder of a resource: bodies that stream, members of archives, parts of forms (FIL 1.4)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from xferengine.emulator.file_names import checked_path, inside, is_catalogable
from xferengine.emulator.http import HttpError, Response

_BATCH_BYTES = 1 << 20
_SMALL_BYTES = 1 << 16
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that was written; `digest` is its MD5, empty when none was asked for."""

    path: str
    size: int
    digest: str = ""


class FileSink:
    """One file being written, with its MD5 on the way, so that nothing is read a second time."""

    def __init__(self, fd: int, path: str, *, digests: bool) -> None:
        self._fd = fd
        self._path = path
        self._size = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if digests else None

    def write(self, chunks: Sequence[bytes | memoryview]) -> None:
        """Append chunks."""
        for chunk in chunks:
            self._size += len(chunk)
            if self._md5 is not None:
                self._md5.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._fd, view) :]

    def close(self) -> Stored:
        """Close the file and describe it."""
        os.close(self._fd)
        return Stored(self._path, self._size, self._md5.hexdigest() if self._md5 is not None else "")

    def abandon(self) -> None:
        """Close the file and leave what was written, as XNAT does (FIL 1.4)."""
        os.close(self._fd)


class FolderWriter:
    """Writes files of one request below the folder of a resource.

    `stored` lists what the catalog shall hold, `present` what existed and was left alone. Nothing is locked, and
    what was written stays when the request fails (FIL 4.3).
    """

    def __init__(self, root: Path, *, overwrite: bool, digests: bool) -> None:
        self.root = root
        self.stored: list[Stored] = []
        self.present: list[str] = []
        self._overwrite = overwrite
        self._digests = digests
        self._folders: dict[str, str] = {}

    async def write_body(self, path: str, chunks: AsyncIterator[bytes]) -> None:
        """Stream a body to its final place.

        Cancellation: a partial file stays that no catalog knows.

        Raises:
            HttpError: 500 for a name that cannot be catalogued and exists, or one whose parent is a file.
        """
        if not is_catalogable(path) and (self.root / path).exists():
            raise HttpError(500, f"XNAT cannot catalog {path.rpartition('/')[2]}")
        sink = self._open(path)
        if sink is None:
            self.present.append(path)
            return
        try:
            await _pour(sink, chunks)
        except BaseException:
            sink.abandon()
            raise
        self.stored.append(sink.close())

    async def write_large(self, path: str, chunks: AsyncIterator[bytes]) -> None:
        """Stream a member of an archive; one that exists and may stay is read and dropped.

        Raises:
            HttpError: As `write_body`.
        """
        sink = self._open(path)
        if sink is None:
            self.present.append(path)
            async for _ in chunks:
                pass
            return
        try:
            await _pour(sink, chunks)
        except BaseException:
            sink.abandon()
            raise
        self._register(sink.close())

    def write_small(self, members: Sequence[tuple[str, Sequence[bytes | memoryview]]]) -> None:
        """Write members of an archive that are held in memory; for a worker thread.

        Raises:
            HttpError: As `write_body`.
        """
        for path, chunks in members:
            sink = self._open(path)
            if sink is None:
                self.present.append(path)
                continue
            try:
                sink.write(chunks)
            except BaseException:
                sink.abandon()
                raise
            self._register(sink.close())

    def _register(self, stored: Stored) -> None:
        # Catalogs and lock files are written, but never become entries (FIL 1.4).
        if is_catalogable(stored.path):
            self.stored.append(stored)

    def _open(self, path: str) -> FileSink | None:
        folder, _, name = checked_path(path).rpartition("/")
        try:
            target = f"{self._folder(folder)}/{name}"
            try:
                fd = os.open(target, _NEW, 0o644)
            except FileExistsError:
                if not self._overwrite:
                    return None
                # The old file is deleted first, then the new one written in its place (FIL 1.4).
                os.unlink(target)
                fd = os.open(target, _NEW, 0o644)
        except (FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
            raise HttpError(500) from error
        return FileSink(fd, path, digests=self._digests)

    def _folder(self, folder: str) -> str:
        """Return a folder below the root, made and checked once."""
        known = self._folders.get(folder)
        if known is None:
            path = inside(self.root, folder) if folder else self.root
            path.mkdir(parents=True, exist_ok=True)
            known = self._folders[folder] = str(path)
        return known


def answer_stored(duplicates: list[str]) -> Response:
    """Answer an upload: empty, or the files that existed and were left alone (FIL 1.4)."""
    if duplicates:
        return Response(200, json.dumps({"duplicates": duplicates}).encode(), "text/html")
    return Response(200)


async def _pour(sink: FileSink, chunks: AsyncIterator[bytes]) -> None:
    """Write chunks in batches of a MiB, each in a thread; a small body is not worth one."""
    batch: list[bytes] = []
    held = 0
    async for chunk in chunks:
        batch.append(chunk)
        held += len(chunk)
        if held >= _BATCH_BYTES:
            await anyio.to_thread.run_sync(sink.write, batch)
            batch, held = [], 0
    if held > _SMALL_BYTES:
        await anyio.to_thread.run_sync(sink.write, batch)
    else:
        sink.write(batch)
