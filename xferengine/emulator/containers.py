"""DICOM-zip: reads zip, tar and gzip'd tar entry by entry and stores each, without rollback (IMP 1.5)."""

from collections.abc import AsyncIterator
from typing import Protocol

from xferengine.emulator.bytesource import ByteSource, ContainerError, gunzip
from xferengine.emulator.http import HttpError
from xferengine.emulator.intake import Intake
from xferengine.emulator.naming import last_component
from xferengine.emulator.tarread import TarReader
from xferengine.emulator.zipread import ZipReader

_MAX_NESTING = 16
_ZIP, _TAR, _TGZ = "ZIP", "TAR", "TGZ"
_READABLE = (_ZIP, _TAR, _TGZ)


class Entry(Protocol):
    """A member of any container."""

    @property
    def name(self) -> str:
        """Name with its path."""
        ...

    @property
    def is_directory(self) -> bool:
        """A folder, to be skipped."""
        ...


class Reader(Protocol):
    """What zip and tar readers have in common."""

    async def next_entry(self) -> Entry | None:
        """Go to the next member."""
        ...

    async def read(self) -> bytes | memoryview:
        """Read some of the member."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Read the member to its end."""
        ...


def container_format(name: str) -> str:
    """Tell the format by the name alone, with regard to case; content is never looked at (IMP 1.5)."""
    if name.endswith((".zip", ".zar")):
        return _ZIP
    if name.endswith((".tar", ".xar")):
        return _TAR
    if name.endswith((".tgz", ".tar.gz")):
        return _TGZ
    return "GZ" if name.endswith(".gz") else "UNKNOWN"


class ContainerImport:
    """One import; `uris` holds the distinct sessions in the order they were met."""

    def __init__(self, intake: Intake, *, ignore_unparsable: bool) -> None:
        self._intake = intake
        self._tolerant = ignore_unparsable
        self._last_error: HttpError | None = None
        self.uris: dict[str, None] = {}

    async def run(self, name: str, source: ByteSource) -> list[str]:
        """Import a container and return the URIs.

        Raises:
            HttpError: 400; what was stored before it stays. With tolerance, the last error if nothing was stored.
        """
        await self._import_container(name, source, depth=0)
        if not self.uris and self._last_error is not None:
            raise self._last_error
        return list(self.uris)

    async def _import_container(self, name: str, source: ByteSource, *, depth: int) -> None:
        kind = container_format(name)
        if kind not in _READABLE:
            raise HttpError(400, f"Unsupported format {kind}")
        if depth > _MAX_NESTING:
            raise HttpError(400, "unable to read data from file")
        try:
            await self._import_entries(_open(kind, source), depth=depth)
        except ContainerError as error:
            raise HttpError(400, "unable to read data from file") from error

    async def _import_entries(self, reader: Reader, *, depth: int) -> None:
        while (entry := await reader.next_entry()) is not None:
            if entry.is_directory:
                continue
            try:
                await self._import_entry(reader, last_component(entry.name), depth=depth)
            except HttpError as error:
                if not self._tolerant:
                    raise
                self._last_error = error

    async def _import_entry(self, reader: Reader, name: str, *, depth: int) -> None:
        kind = container_format(name)
        if kind in _READABLE:
            await self._import_container(name, ByteSource(reader.chunks()), depth=depth + 1)
        elif kind == "GZ":
            raise HttpError(400, "Unsupported format GZ")
        else:
            uri = await self._intake.store(name, reader.read)
            if uri is not None:
                self.uris[uri] = None


def _open(kind: str, source: ByteSource) -> Reader:
    if kind == _ZIP:
        return ZipReader(source)
    return TarReader(source if kind == _TAR else ByteSource(gunzip(source)))
