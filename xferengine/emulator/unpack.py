"""`extract=true`: unpacking an uploaded archive into a resource while it arrives, recognised by its name (FIL 1.4).

The readers are those of the import service, with the semantics of Java's streams: the directory at the end of a zip
is never read, and what was extracted before an error stays on disk without an entry.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

import anyio.to_thread

from xferengine.emulator.bytesource import ByteSource, ContainerError, gunzip
from xferengine.emulator.containers import container_format
from xferengine.emulator.http import HttpError
from xferengine.emulator.storing import FolderWriter
from xferengine.emulator.tarread import TarEntry, TarReader
from xferengine.emulator.zipread import MalformedName, ZipEntry, ZipReader

_SMALL_BYTES = 1 << 18
_BATCH_BYTES = 1 << 20
_BATCH_MEMBERS = 256
_REGULAR = (b"", b"0", b"7")

Chunk = bytes | memoryview


def is_archive(name: str) -> bool:
    """Say whether a name is that of an archive; upper case does not count (FIL 1.4)."""
    return container_format(name) != "UNKNOWN"


async def unpack(name: str, chunks: AsyncIterator[bytes], writer: FolderWriter) -> None:
    """Unpack an archive at the root of a resource; the archive itself is not kept.

    Raises:
        HttpError: 500 for a broken archive or one whose members leave the folder.
    """
    source = ByteSource(chunks)
    try:
        match container_format(name):
            case "ZIP":
                await _refuse_other(source, b"PK")
                await _Unpacking(ZipReader(source), writer).run()
            case "TAR":
                await _Unpacking(TarReader(source), writer).run()
            case "TGZ":
                await _Unpacking(TarReader(ByteSource(gunzip(source))), writer).run()
            case _:
                # A lone .gz is one compressed file: x.nii.gz becomes x.nii (FIL 1.4).
                await writer.write_large(name.rpartition("/")[2].removesuffix(".gz"), gunzip(source))
        await source.drain()
    except (ContainerError, MalformedName, zlib.error, OSError) as error:
        if isinstance(error, ConnectionError):
            raise  # the request's body ended early: nobody is left to answer
        raise HttpError(500, "Unable to extract the archive.") from error
    except HttpError as error:
        raise HttpError(500, error.message) from error


async def _refuse_other(source: ByteSource, magic: bytes) -> None:
    head = await source.read_up_to(len(magic))
    source.unread(head)
    if head != magic:
        raise ContainerError("not the announced format")


class _Unpacking:
    """One archive on its way to disk: small members are written in batches, in a thread."""

    def __init__(self, reader: ZipReader | TarReader, writer: FolderWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._batch: list[tuple[str, list[Chunk]]] = []
        self._held = 0

    async def run(self) -> None:
        """Read to the end."""
        while (entry := await self._reader.next_entry()) is not None:
            if _is_file(entry):
                await self._take(entry.name.removeprefix("./"))
        await self._flush()

    async def _take(self, path: str) -> None:
        pieces: list[Chunk] = []
        size = 0
        while data := await self._reader.read():
            pieces.append(data)
            size += len(data)
            if size > _SMALL_BYTES:
                await self._flush()
                await self._writer.write_large(path, self._rest(pieces))
                return
        self._batch.append((path, pieces))
        self._held += size
        if self._held >= _BATCH_BYTES or len(self._batch) >= _BATCH_MEMBERS:
            await self._flush()

    async def _rest(self, pieces: list[Chunk]) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield bytes(piece)
        async for chunk in self._reader.chunks():
            yield chunk

    async def _flush(self) -> None:
        if self._batch:
            batch, self._batch, self._held = self._batch, [], 0
            await anyio.to_thread.run_sync(self._writer.write_small, batch)


def _is_file(entry: ZipEntry | TarEntry) -> bool:
    """Links, devices and folders are passed over."""
    return not entry.is_directory and (isinstance(entry, ZipEntry) or entry.kind in _REGULAR)
