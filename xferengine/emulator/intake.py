"""Storing one DICOM object: routing, joining its session, naming, writing (IMP 1.6, 2.1, 2.4; GradualDicomImporter)."""

import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from xferengine.emulator.bytesource import ContainerError
from xferengine.emulator.core import Core
from xferengine.emulator.dicom import Header, NeedMore, Unreadable, read_header
from xferengine.emulator.filemeta import missing_prefix
from xferengine.emulator.http import HttpError
from xferengine.emulator.instances import read_file
from xferengine.emulator.naming import clean_file_name, scan_folder, template_name
from xferengine.emulator.options import ImportOptions
from xferengine.emulator.prearc_table import AUTO_CODES
from xferengine.emulator.records import PrearcRow, User
from xferengine.emulator.scripts import rewritten, with_remapped_uid
from xferengine.emulator.world import safe_name

ReadChunk = Callable[[], Awaitable[bytes | memoryview]]
_PROJECT_IN_COMMENT = re.compile(r"Project:\s*([\w-]+)", re.ASCII)
_FIRST_PARSE_BYTES = 16 << 10
_HEADER_LIMIT_BYTES = 128 << 20  # held in memory while its header is not understood; more is no header
_WRITEV_LIMIT = 512


@dataclass(slots=True)
class Incoming:
    """An object on its way to disk: its header, the chunks read so far, and how to read the rest."""

    name: str
    header: Header
    chunks: list[bytes | memoryview]
    size: int
    read: ReadChunk
    at_end: bool
    failure: Exception | None = None


def unreadable(name: str) -> HttpError:
    """Return the error for nearly everything that goes wrong with one object (IMP 1.6)."""
    return HttpError(400, f"unable to read DICOM object {name}")


class Intake:
    """Stores the objects of one request; keeps what is the same for all of them."""

    def __init__(self, core: Core, user: User, options: ImportOptions) -> None:
        self._core = core
        self._user = user
        self._options = options
        self._project: str | None = None  # decided by PROJECT_ID; None: by each object
        if options.project and core.world.can_edit(user, options.project):
            self._project = options.project
        self._folders: set[Path] = set()

    async def store(self, name: str, read: ReadChunk) -> str | None:
        """Store one object and return the URI of its session; None if a filter or script refused it.

        Raises:
            HttpError: 400 with the texts of IMP 1.6.
        """
        incoming = await self._receive(name, read)
        header = incoming.header
        if not header.sop_class:
            raise HttpError(400, f"object {name} contains no SOP Class UID")
        if not header.sop_uid:
            raise HttpError(400, f"object {name} contains no SOP Instance UID")
        if self._core.settings.script.rejects(header):
            return None
        row = self._row_for(header)
        session = self._core.direct.target(row, self._user) if self._options.direct_archive and row.project else None
        if session is None:
            try:
                row = self._core.table.join(row)
            except HttpError as error:
                raise unreadable(name) from error
        else:
            row = session.row
        await self._core.hooks.on_entry(row, name)
        folder = self._core.folder_of(row) / "SCANS" / scan_folder(header) / "DICOM"
        await self._write_locked(row, folder, incoming)
        return row.url if session is None else session.uri

    # -- reading ------------------------------------------------------------------------------------------------

    async def _receive(self, name: str, read: ReadChunk) -> Incoming:
        """Read until the header is known, and small objects whole."""
        chunks: list[bytes | memoryview] = []
        size, parse_at = 0, _FIRST_PARSE_BYTES
        header: Header | None = None
        at_end, failure = False, None
        limit = self._core.settings.in_body_max_bytes
        while not at_end and (header is None or size < limit or self._core.settings.script.changes_imports):
            try:
                chunk = await read()
            except Exception as error:  # noqa: BLE001  (a broken connection too: what came is written, then raised)
                chunk, failure = b"", error
            at_end = not chunk
            size += len(chunk)
            if chunk:
                chunks.append(chunk)
            if header is None and (at_end or size >= parse_at):
                chunks = [chunks[0] if len(chunks) == 1 else b"".join(chunks)]
                try:
                    header = read_header(chunks[0], complete=at_end)
                except NeedMore:
                    parse_at = 2 * size
                    if size > _HEADER_LIMIT_BYTES:
                        raise unreadable(name) from failure
                except Unreadable:
                    raise unreadable(name) from failure
        if header is None:
            raise unreadable(name) from failure
        if isinstance(failure, HttpError):
            raise failure
        return Incoming(name, header, chunks, size, read, at_end, failure)

    # -- routing ------------------------------------------------------------------------------------------------

    def _row_for(self, header: Header) -> PrearcRow:
        """Return the row this object would create; `PrearcTable.join` finds the one it joins (IMP 2.1)."""
        options = self._options
        project = self._project if self._project is not None else self._route(header)
        name = options.session or header.patient_id or "dicom_upload"
        folder = options.folder or name
        if "'" in name or not safe_name(folder) or (options.timestamp and not safe_name(options.timestamp)):
            # An apostrophe breaks XNAT's SQL (IMP 8, race 7); a separator must not leave the folder.
            raise unreadable(name)
        known = self._core.world.projects.get(project)
        return PrearcRow(
            project=project, timestamp=options.timestamp, folder=folder, name=name, tag=header.study_uid,
            subject=options.subject or header.patient_name.replace("^", "_"), visit=options.visit,
            protocol=options.protocol, source=options.source, timezone=options.timezone,
            prevent_anon=options.prevent_anon, prevent_auto_commit=options.prevent_auto_commit,
            autoarchive=AUTO_CODES.get(str(known.prearchive_code), "") if known else "",
        )  # fmt: skip

    def _route(self, header: Header) -> str:
        """Find a project in the object; an unknown or forbidden PROJECT_ID falls back to this too (IMP 1.6)."""
        comment = _PROJECT_IN_COMMENT.search(header.patient_comments)
        for candidate in (comment[1] if comment else "", header.study_description, header.accession_number):
            if candidate and self._core.world.can_edit(self._user, candidate):
                return candidate
        return ""

    # -- writing ------------------------------------------------------------------------------------------------

    async def _write_locked(self, row: PrearcRow, folder: Path, incoming: Incoming) -> None:
        """Write under the lock of this scan and file name (IMP 2.3)."""
        core = self._core
        path = folder / self._file_name(folder, incoming)
        if path in core.files_in_use or core.hooks.concurrent_file(row, incoming.name):
            raise HttpError(400, "Concurrent file sends of the same data is not supported.")
        core.files_in_use.add(path)
        core.table.lock_files[row.key] = core.table.lock_files.get(row.key, 0) + 1
        try:
            if core.hooks.disk_full():
                raise OSError("no space left on device")
            size = await self._write(row, path, incoming)
        except (OSError, ContainerError) as error:
            raise unreadable(incoming.name) from error
        finally:
            core.files_in_use.discard(path)
            core.table.release_lock_file(row.key)
            if core.hooks.leak_lock(row):
                core.leak_lock_file(row)
        if core.hooks.lose(row, path):
            path.unlink(missing_ok=True)
            core.instances.drop(path)
        elif not self._core.settings.script.changes_imports:
            core.instances.put(path, incoming.header, size)

    def _file_name(self, folder: Path, incoming: Incoming) -> str:
        """Choose the stored name: the entry's, unless another instance has it (IMP 2.4, 7)."""
        if self._options.rename:
            return template_name(incoming.header)
        name = clean_file_name(incoming.name)
        path = folder / name
        if not name or (path.exists() and not self._holds(path, incoming.header)):
            return template_name(incoming.header)
        return name

    def _holds(self, path: Path, header: Header) -> bool:
        if path in self._core.files_in_use:
            return True  # being written now: the lock will refuse it
        old = read_file(path)
        return old is not None and (old.sop_class, old.sop_uid) == (header.sop_class, header.sop_uid)

    async def _write(self, row: PrearcRow, path: Path, incoming: Incoming) -> int:
        script = self._core.settings.script
        if script.changes_imports and not row.prevent_anon:
            data = b"".join(incoming.chunks)
            if script.rewrite:
                data = rewritten(data, project=row.project, subject=row.subject, session=row.name)
            if script.remap_uids == "import":
                data = with_remapped_uid(data)
            incoming.chunks, incoming.size = [data], len(data)
        elif incoming.header.has_preamble:
            _blank_preamble(incoming.chunks)
        else:
            prefix = missing_prefix(incoming.header, incoming.chunks[0])
            incoming.chunks.insert(0, prefix)
            incoming.size += len(prefix)
        torn = self._core.hooks.torn(row, incoming.name)
        file = self._open(path)
        try:
            if torn:
                os.write(file, bytes(incoming.chunks[0][:200]))
                raise OSError("torn entry")
            await self._copy(file, incoming)
        finally:
            os.close(file)
        if incoming.failure is not None:
            raise incoming.failure  # the damaged file stays, as in XNAT (IMP 1.5)
        return incoming.size

    async def _copy(self, file: int, incoming: Incoming) -> None:
        _write_all(file, incoming.chunks)
        while not incoming.at_end:
            chunk = await incoming.read()
            incoming.at_end = not chunk
            incoming.size += len(chunk)
            _write_all(file, [chunk] if chunk else [])

    def _open(self, path: Path) -> int:
        """Create the file anew: an old one may already be linked into the archive and must not change there."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(path.parent)
        try:
            return os.open(path, flags, 0o644)
        except FileExistsError:
            path.unlink()
        except FileNotFoundError:
            # The session was moved or archived meanwhile: XNAT makes the folder again, too (IMP 2.2 b).
            path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o644)


def _blank_preamble(chunks: list[bytes | memoryview]) -> None:
    """Blank the first 128 bytes, as dcm4che does when it writes (IMP 7)."""
    first = chunks[0]
    if any(bytes(first[:128])):
        chunks[0:1] = [bytes(128), memoryview(first)[128:]]


def _write_all(file: int, chunks: list[bytes | memoryview]) -> None:
    for start in range(0, len(chunks), _WRITEV_LIMIT):
        batch = chunks[start : start + _WRITEV_LIMIT]
        total = sum(map(len, batch))
        if os.writev(file, batch) != total:
            raise OSError("short write")
