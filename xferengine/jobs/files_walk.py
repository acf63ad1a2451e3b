"""What ``upload-files`` is asked to send: every file below the paths, under its name in the resource."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from xferengine.errors import BadInput, SettingsError, XferError
from xferengine.jobs.remote_selection import RemoteSelection
from xferengine.jobs.spec import FilesSpec
from xferengine.kit.threads import run_blocking
from xferengine.manifest import outgoing_walk
from xferengine.manifest.outgoing import OutFile
from xferengine.manifest.store import Manifest
from xferengine.model.dicom import SourceRef
from xferengine.model.events import Emit, ListingProgress
from xferengine.model.items import RemoteFile
from xferengine.store.compare import equal_bytes
from xferengine.store.inodes import inode_of
from xferengine.store.reader import SourceReader
from xferengine.store.results import is_storable, printable
from xferengine.store.treewalk import TreeProblem, walk_tree

BATCH = 1000
_NO_XML = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that no catalog (an XML document) or zip name holds, or that are no text at all."""
_MAX_NAME_BYTES = 0xFFFF


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not sent."""

    local: str
    note: str
    """``CLASS: sentence``."""


def refusal(path: str) -> str:
    """Return why a name cannot be one in a resource, as ``CLASS: sentence``; empty when it can.

    Source: FIL 1.4 (reserved names), 9.2 (backslash).
    """
    name = path.rpartition("/")[2]
    if name.endswith("_catalog.xml") or name.startswith(".~lock-"):
        return "BadInput: XNAT keeps this name for itself and would not list the file"
    if "\\" in path:
        return "BadInput: no name in XNAT can hold a backslash"
    if _NO_XML.search(path):
        return "BadInput: its name holds a control character, which no catalog can hold"
    return "BadInput: its name is too long" if len(path.encode()) > _MAX_NAME_BYTES else ""


def file_selection(spec: FilesSpec) -> RemoteSelection:
    """Return the filters of an upload.

    Raises:
        SettingsError: one that is not about files.
    """
    for option in (*spec.include, *spec.exclude):
        if not option.startswith("file="):
            raise SettingsError(f"{option!r}: upload-files filters by file=GLOB only")
    return RemoteSelection(spec.include, spec.exclude)


class Walk:
    """Takes up the files of a spec into the manifest, in bounded memory.

    Args:
        spec: names paths and filters.
        manifest: gets the files.
        reader: compares files of one name.
        emit: hears how far it is.
    """

    def __init__(self, spec: FilesSpec, manifest: Manifest, reader: SourceReader, emit: Emit) -> None:
        self._spec = spec
        self._manifest = manifest
        self._reader = reader
        self._emit = emit
        self._selection = file_selection(spec)
        self._files = self._bytes = 0

    async def run(self, item_id: int, target_id: int, run: int) -> None:
        """Walk all paths.

        Args:
            item_id, target_id: rows of the holder and the resource.
            run: number of this run: what it does not meet is forgotten.

        Raises:
            BadInput: a path does not exist.

        Cancellation: a part is taken up; walking again continues it.
        """
        found = _walk(self._spec.paths)
        while batch := await run_blocking(_take, found):
            files, refused = self._sort(batch)

            def write(
                con: sqlite3.Connection, files: list[OutFile] = files, refused: list[tuple[str, str]] = refused
            ) -> None:
                outgoing_walk.add_files(con, item_id, target_id, files, run)
                outgoing_walk.refuse(con, item_id, target_id, refused, run)

            await self._manifest.write(write)
            self._files += len(files)
            self._bytes += sum(file.source.size for file in files)
            self._emit(ListingProgress(items=0, items_total=1, files=self._files, bytes=self._bytes))
        await self._settle_clashes(target_id, run)
        await self._manifest.write(lambda con: outgoing_walk.forget_unseen(con, target_id, run))

    def _sort(self, batch: list[OutFile | Refused]) -> tuple[list[OutFile], list[tuple[str, str]]]:
        """Return what is to be sent, and (local path, note) of what is not."""
        files: list[OutFile] = []
        refused: list[tuple[str, str]] = []
        for found in batch:
            if isinstance(found, Refused):
                refused.append((found.local, found.note))
            elif self._takes(found):
                note = refusal(found.path)
                refused.append((found.source.path, note)) if note else files.append(found)
        return files, refused

    def _takes(self, file: OutFile) -> bool:
        return self._selection.takes_file(RemoteFile(path=file.path, size=file.source.size, digest=""))

    async def _settle_clashes(self, target_id: int, run: int) -> None:
        """Several files of one name: equal ones go once, different ones not at all."""
        while pairs := await self._manifest.read(lambda con: outgoing_walk.clashes(con, target_id)):
            verdicts = await run_blocking(_compare, self._reader, pairs)

            def write(
                con: sqlite3.Connection,
                pairs: list[tuple[OutFile, OutFile]] = pairs,
                verdicts: list[bool] = verdicts,
            ) -> None:
                for pair, equal in zip(pairs, verdicts, strict=True):
                    outgoing_walk.settle_clash(con, pair, run, equal=equal)

            await self._manifest.write(write)


def _compare(reader: SourceReader, pairs: Sequence[tuple[OutFile, OutFile]]) -> list[bool]:
    verdicts: list[bool] = []
    for first, other in pairs:
        try:
            verdicts.append(equal_bytes(reader, first.source, other.source))
        except XferError:
            verdicts.append(False)
    return verdicts


def _take(found: Iterator[OutFile | Refused]) -> list[OutFile | Refused]:
    return list(islice(found, BATCH))


def _walk(paths: Sequence[str]) -> Iterator[OutFile | Refused]:
    for path in paths:
        if os.path.isdir(path):
            yield from _walk_folder(path)
        else:
            yield _look_at(path)


def _look_at(path: str) -> OutFile | Refused:
    """Return a file that was named itself; a link is followed."""
    if not is_storable(path):
        return Refused(local=printable(path), note="BadInput: its name is not valid UTF-8")
    try:
        state = os.stat(path)
    except FileNotFoundError as error:
        raise BadInput(f"{printable(path)} does not exist", path=printable(path)) from error
    except OSError as error:
        return Refused(local=path, note=f"BadInput: it cannot be read: {error.strerror or type(error).__name__}")
    if not stat.S_ISREG(state.st_mode):
        return Refused(local=path, note="BadInput: it is no file")
    source = SourceRef(path=path, size=state.st_size, mtime_ns=state.st_mtime_ns, inode=inode_of(state))
    return OutFile(path=os.path.basename(path), source=source)


def _walk_folder(folder: str) -> Iterator[OutFile | Refused]:
    if not is_storable(folder):
        yield Refused(local=printable(folder), note="BadInput: the name of the folder is not valid UTF-8")
        return
    for found in walk_tree(folder):
        local = os.path.join(folder, found.path)
        if isinstance(found, TreeProblem):
            yield Refused(local=local, note=f"BadInput: {found.detail}")
            continue
        source = SourceRef(path=local, size=found.size, mtime_ns=found.mtime_ns, inode=found.inode)
        yield OutFile(path=found.path, source=source)
