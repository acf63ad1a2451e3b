"""What the server has of our files, by its listing and, where it gives them, by digests."""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence

from xferengine.errors import BadInput
from xferengine.jobs.core import Core
from xferengine.jobs.files_patience import persist
from xferengine.kit.fanout import side_by_side
from xferengine.kit.threads import run_blocking
from xferengine.manifest import outgoing
from xferengine.manifest.outgoing import OutFile
from xferengine.model.items import RemoteFile, ResourceRef
from xferengine.store.compare import md5_of
from xferengine.store.reader import SourceReader
from xferengine.xnat.rowpages import read_listing

PAGE = 2000
"""Rows of the manifest in one operation."""
_GROUP_FILES, _GROUP_BYTES = 128, 32 << 20
"""Files that one thread digests in a row: a hop for each would cost more than the digest of a small file."""


class Look:
    """Compares the manifest with the resource, and decides for every file.

    Args:
        core: the server.
        reader: of the local files.
        target_id: row of the resource.

    Attributes:
        listed_bytes: of all files of the resource, ours or not, when it was last looked at.
    """

    def __init__(self, core: Core, reader: SourceReader, target_id: int) -> None:
        self.listed_bytes = 0
        self._core = core
        self._reader = reader
        self._target = target_id

    async def look(self, ref: ResourceRef, *, first: bool = False, is_patient: bool = False) -> None:
        """List the resource (one without an id is empty) and write what that means for each file.

        Local digests are computed where the listing has one and sizes are equal, once per file.

        Args:
            first: names that stand in each other's way are refused, too.
            is_patient: the server may still be storing what is doubtful.

        Raises:
            NotFound, ProtocolViolation: the resource is gone, or the listing is about another.

        Cancellation: what was noted stays; looking again begins anew.
        """
        manifest, target = self._core.manifest, self._target
        await persist(self._core, lambda: self._list(ref))
        if first:
            await manifest.write(lambda con: outgoing.refuse_folders(con, target))
        await self._digest()
        await self._refuse_twins(ref)
        await manifest.write(lambda con: outgoing.judge(con, target, is_patient=is_patient))

    async def _list(self, ref: ResourceRef) -> None:
        """Note what the server lists, from the beginning."""
        manifest, target = self._core.manifest, self._target
        await manifest.write(lambda con: outgoing.begin_listing(con, target))

        held: list[RemoteFile] = []
        self.listed_bytes = 0

        async def take(files: list[RemoteFile], least: int = 2 * PAGE) -> None:
            held.extend(files)
            self.listed_bytes += sum(max(file.size, 0) for file in files)
            if len(held) >= least:
                page = held.copy()
                held.clear()
                await manifest.write(lambda con: outgoing.note_listed(con, target, page))

        if ref.id:
            async with self._core.lanes.listing.slot():
                await read_listing(self._core.client.stream, ref, take)
            await take([], least=1)

    async def _digest(self) -> None:
        last = 0
        while True:
            page = await self._core.manifest.read(
                lambda con, after=last: outgoing.undigested(con, self._target, after, PAGE)
            )
            if not page:
                return
            last = page[-1].id
            groups = await side_by_side(self._digest_group, list(_groups(page)))
            found = [pair for group in groups for pair in group]

            def write(con: sqlite3.Connection, found: list[tuple[int, str, str]] = found) -> None:
                outgoing.set_digests(con, ((row, md5) for row, md5, note in found if not note))
                for row, _, note in found:
                    if note:
                        outgoing.fail(con, [row], note)

            await self._core.manifest.write(write)

    async def _digest_group(self, files: list[OutFile]) -> list[tuple[int, str, str]]:
        return await run_blocking(_digests, self._reader, files)

    async def _refuse_twins(self, ref: ResourceRef) -> None:
        """Where the disk had something under a new name, and it lists that name in other letters: are they one file?

        Overwriting would then destroy the other one, and its entry in the catalog would not show it.
        """
        manifest, target = self._core.manifest, self._target
        found = await manifest.read(lambda con: outgoing.orphans(con, target))
        if not found:
            return
        wanted = {_fold(file.path): file for file in found}
        twins: dict[str, str] = {}

        async def take(files: list[RemoteFile]) -> None:
            twins.update({_fold(file.path): file.path for file in files if _is_twin(file.path, wanted)})

        async def look() -> None:
            async with self._core.lanes.listing.slot():
                await read_listing(self._core.client.stream, ref, take)

        await persist(self._core, look)
        last = ""
        while names := await manifest.read(lambda con, after=last: outgoing.names_below(con, target, after, PAGE)):
            last = names[-1]
            twins |= {_fold(name): name for name in names if _is_twin(name, wanted)}
        for key, other in twins.items():
            await manifest.write(lambda con, key=key, other=other: outgoing.refuse_twin(con, wanted[key], other))


def _is_twin(name: str, wanted: dict[str, OutFile]) -> bool:
    file = wanted.get(_fold(name))
    return file is not None and file.path != name


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _groups(files: Sequence[OutFile]) -> Iterator[list[OutFile]]:
    group: list[OutFile] = []
    size = 0
    for file in files:
        if group and (len(group) >= _GROUP_FILES or size + file.source.size > _GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.source.size
    if group:
        yield group


def _digests(reader: SourceReader, files: list[OutFile]) -> list[tuple[int, str, str]]:
    """Return (row, MD5, note): a note says why there is no MD5. Blocks."""
    found: list[tuple[int, str, str]] = []
    for file in files:
        try:
            md5 = md5_of(reader, file.source)
        except BadInput as error:
            found.append((file.id, "", f"{error.kind}: {error.message}"))
        else:
            note = "" if md5 else "SourceChanged: it changed or vanished after it was found"
            found.append((file.id, md5, note))
    return found
