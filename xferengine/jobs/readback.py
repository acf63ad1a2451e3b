"""Second looks: files the server has no digest for are read again, files with a stale catalog entry are dated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import anyio

from xferengine.errors import Disposition, XferError
from xferengine.jobs.core import Core
from xferengine.jobs.file_read import FileReader
from xferengine.manifest import incoming, transfers
from xferengine.manifest.transfers import EntryRow, ResourceRow
from xferengine.model.events import Notice
from xferengine.store.target import Target

AT_ONCE = 8
PAGE = 2000
"""Files that are known at a time."""
_STEPS = 10_000


class ReadBack:
    """Reads files without a digest a second time and compares.

    It proves the way the bytes came, not the server's disk: both reads come from the same file there.

    Args:
        core: the server.
        reader: reads them.
        target: where the second reading lies for a moment.
        sample: percentage of such files that is read.
    """

    def __init__(self, core: Core, reader: FileReader, target: Target, *, sample: float) -> None:
        self._core = core
        self._reader = reader
        self._target = target
        self._sample = sample
        self._looked = self._differ = self._failed = 0

    async def run(self) -> None:
        """Read them; a file that differs fails. Files that cannot be read again stay as they are, and are counted.

        Raises:
            XferError: of the disposition FATAL.
        """
        read, after = self._core.manifest.read, 0
        total = await read(incoming.count_without_digest)
        while page := await read(lambda con, last=after: incoming.without_digest(con, last, PAGE)):
            await self._look_at([pair for pair in page if self._is_chosen(pair[0])])
            after = page[-1][0].id
            if not self._core.stop.is_feeding:
                break
        self._tell(total)

    async def _look_at(self, chosen: Sequence[tuple[EntryRow, ResourceRow]]) -> None:
        waiting = iter(chosen)

        async def puller() -> None:
            for entry, resource in waiting:
                if not self._core.stop.is_feeding:
                    return
                await self._look(entry, resource)

        async with anyio.create_task_group() as tg:
            for _ in range(min(AT_ONCE, len(chosen))):
                tg.start_soon(puller)

    def _is_chosen(self, entry: EntryRow) -> bool:
        """Choose by the name, so that the same files are chosen again after an interruption."""
        mark = int.from_bytes(hashlib.sha256(f"{self._core.job_id}/{entry.id}".encode()).digest()[:8], "big")
        return mark % _STEPS < self._sample * _STEPS / 100

    async def _look(self, entry: EntryRow, resource: ResourceRow) -> None:
        core = self._core
        try:
            try:
                async with core.lanes.bulk.slot(1, cost_bytes=max(entry.size, 0)):
                    read = await self._reader.read(0, resource.ref, entry, hashing=True)
            finally:
                self._target.drop_part(entry.id)
            # one that an earlier run brought without hashing it is read from the disk
            first = entry.real_digest or await core.threads.run(self._target.md5, entry.local)
        except XferError as error:
            if error.disposition is Disposition.FATAL:
                raise
            self._failed += 1
            return
        self._looked += 1
        if read.md5 == first:
            await core.manifest.write(lambda con: incoming.set_means(con, entry.id, "read-back"))
            return
        self._differ += 1
        note = "DigestMismatch: the file was read twice and came differently"
        await core.manifest.write(lambda con: transfers.set_entries(con, [(entry.id, "failed", note)]))

    def _tell(self, total: int) -> None:
        if not total:
            return
        text = f"read back: {self._looked:,} of {total:,} files without a digest were read twice"
        if self._differ:
            text += f"; {self._differ:,} of them differ"
        elif self._looked:
            # Rule of three: with no miss in n, at most 3/n of all are wrong, with 95 % confidence.
            bound = min(100.0, 300.0 / self._looked) if self._looked < total else 0.0
            text += " and are equal" + (f" (95 % sure: at most {bound:.2g} % of all differ)" if bound else "")
        if self._failed:
            text += f"; {self._failed:,} could not be read again"
        text += ". This proves the way, not the server's disk."
        self._core.emit(Notice(level="info", text=text))


async def recheck_stale(core: Core) -> None:
    """Plan files with a stale catalog entry anew when the server's date of them has changed (design 6)."""
    waiting = iter(await core.manifest.read(incoming.stale))

    async def asker() -> None:
        for entry, resource in waiting:
            try:
                async with core.lanes.listing.slot():
                    now = await core.client.files.last_modified(resource.ref, entry.path)
            except XferError as error:
                if error.disposition is Disposition.FATAL:
                    raise
                continue
            if now != entry.last_modified:
                await core.manifest.write(lambda con, row=entry.id: transfers.set_entries(con, [(row, "planned", "")]))

    async with anyio.create_task_group() as tg:
        for _ in range(AT_ONCE):
            tg.start_soon(asker)
