"""``verify`` as a job: list, walk, compare; nothing is moved, and nothing is written but the job's own manifest."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio

from xferengine.errors import SettingsError, XferError
from xferengine.jobs import verify_outcome
from xferengine.jobs.amounts import count_text
from xferengine.jobs.core import Core, open_core
from xferengine.jobs.itemreport import write_item_reports
from xferengine.jobs.remote_selection import RemoteSelection
from xferengine.jobs.spec import JobReport, VerifySpec
from xferengine.jobs.stopping import cancel_on_stop
from xferengine.jobs.verb import Life, Outcome
from xferengine.jobs.verify_ends import Ends, ends_of
from xferengine.jobs.verify_hash import Hasher
from xferengine.jobs.verify_listing import Lister
from xferengine.jobs.verify_local import Judge, take, walk
from xferengine.manifest import comparing, comparisons, findings, overview
from xferengine.manifest.comparing import PAGE
from xferengine.manifest.comparisons import OTHER, Side
from xferengine.manifest.store import Manifest
from xferengine.model.events import ItemChanged, Notice, PlanReady, Summary
from xferengine.model.items import ItemRef
from xferengine.schedule.stop import StopReason
from xferengine.store.filedigest import kind_of, read_traits
from xferengine.store.names import FolderTraits, fold

REPORTED = 10_000
_KEYS = 5000


class VerifyVerb:
    """Compares two places without moving anything.

    Args:
        spec: the places, and which files.

    Raises:
        SettingsError: places that cannot be compared, or a filter that is none.
    """

    name = "verify"

    def __init__(self, spec: VerifySpec) -> None:
        self._spec = spec
        self._ends = ends_of(spec)
        self._selection = RemoteSelection(spec.include, spec.exclude, spec.since)

    async def work(self, life: Life) -> None:
        """List, walk and compare; see ``Verb``."""
        run = await life.manifest.write(comparisons.begin_run)
        await self._tell_kept(life)
        async with self._open_cores(life) as cores, anyio.create_task_group() as tg:
            tg.start_soon(cancel_on_stop, life.stop, tg.cancel_scope)
            await self._look(life, cores, run)
            tg.cancel_scope.cancel()
        local, folder = self._ends.local, self._ends.folder
        if life.stop.is_feeding and local is not None and folder is not None:
            hasher = Hasher(folder, local, life.manifest, emit=life.emit, stop=life.stop)
            await life.drain(hasher.run)
        if life.stop.is_feeding:
            await self._end(life, run)

    @asynccontextmanager
    async def _open_cores(self, life: Life) -> AsyncIterator[Mapping[Side, Core]]:
        """Log in to the servers: one login where both ends are reached in the same way."""
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(open_core(life))
            cores: dict[Side, Core] = dict.fromkeys(self._ends.remotes, first)
            if self._ends.folder is None and self._spec.other_url:
                if life.settings.other is None:
                    raise SettingsError("this job compares two servers: settings of the second are missing")
                cores["b"] = await stack.enter_async_context(open_core(life, life.settings.other))
            yield cores

    async def _tell_kept(self, life: Life) -> None:
        """Say that an interrupted comparison goes on."""
        local = self._ends.local
        if local is None:
            return
        kept = await life.manifest.read(partial(comparisons.count_read, side=local))
        if kept:
            text = (
                f"Going on with an interrupted comparison: {count_text(kept, 'file')} of the folder need no new read."
            )
            life.emit(Notice(level="info", text=text))

    async def _look(self, life: Life, cores: Mapping[Side, Core], run: int) -> None:
        """Bring both sides into the manifest and compare all that needs no reading."""
        lister = Lister(cores, self._ends, self._selection, run)
        matches = await lister.resolve()
        await life.manifest.write(lambda con: overview.set_meta(con, "began", "1"))
        await lister.list_all(matches)
        local, folder = self._ends.local, self._ends.folder
        judge: Judge | None = None
        if local is not None and folder is not None:
            is_filtered = bool(self._spec.include or self._spec.exclude or self._spec.since)
            others: list[ItemRef] = await lister.resolve_all() if is_filtered else []
            judge = Judge(self._ends, matches, self._selection, others, broken=lister.broken)
            (core,) = cores.values()
            await self._walk(core, lister, judge, place=(folder, local), run=run)
        await _compare(life.manifest, self._ends, judge, run)
        await life.manifest.write(comparisons.forget_empty_items)
        await self._tell_plan(life)

    async def _walk(self, core: Core, lister: Lister, judge: Judge, *, place: tuple[Path, Side], run: int) -> None:
        """Write what lies in the folder, as far as it was asked for."""
        folder, local = place
        walked = walk(folder, judge.tops)
        while found := await core.threads.run(take, walked):

            def write(con: sqlite3.Connection, found=found) -> int:
                rows = judge.rows(con, found)
                comparisons.put_local(con, local, run, rows)
                return len(rows)

            lister.count(await core.manifest.write(write), 0)
            lister.tell()
        folders, files = await core.threads.run(judge.count_left, folder)
        if folders or files:
            core.emit(Notice(level="info", text=_left_text(folders, files)))

    async def _tell_plan(self, life: Life) -> None:
        counts = await life.manifest.read(findings.counts)
        items = await life.manifest.read(findings.count_items)
        life.emit(
            PlanReady(
                experiments=items,
                files=counts.count("pending"),
                bytes=counts.size("pending"),
                refused=counts.count("unusable"),
                skipped=sum(counts.files.values()) - counts.count("pending", "unusable"),
            )
        )

    async def _end(self, life: Life, run: int) -> None:
        def write(con: sqlite3.Connection) -> list[tuple[str, str]]:
            changed = findings.settle_items(con)
            comparisons.forget_items(con, run)
            overview.set_meta(con, comparisons.COMPLETE, str(run))
            return changed

        for ref, state in await life.manifest.write(write):
            life.emit(ItemChanged(item=ref, state=state))

    def outcome(self, con: sqlite3.Connection, reason: StopReason | None, error: XferError | None) -> Outcome:
        """Read how the job stands; see ``Verb``."""
        return verify_outcome.outcome_of(con, reason, error, with_items=self._ends.folder is None)

    def report(self, folder: Path, summary: Summary) -> JobReport:
        """Write the report; see ``Verb``."""
        lines = verify_outcome.CompareLines(folder, with_items=self._ends.folder is None)
        write_item_reports(folder, summary, lines)
        shown = tuple(item for item, _ in zip(lines.items(), range(REPORTED), strict=False))
        return JobReport(summary=summary, items=shown, counts=verify_outcome.counts_of(folder), ends=self._spec.ends)


def _left_text(folders: int, files: int) -> str:
    counts = [count_text(number, noun) for number, noun in ((folders, "folder"), (files, "file")) if number]
    was = "was" if folders + files == 1 else "were"
    return f"The folder holds {' and '.join(counts)} that {was} not asked for, and not looked at."


async def _compare(manifest: Manifest, ends: Ends, judge: Judge | None, run: int) -> None:
    """Compare all that needs no reading; a statement at a time, so that nobody waits long for the writer."""
    local = ends.local
    end = await manifest.read(comparing.last_id) + 1
    if local is not None and judge is not None:
        for rows in judge.shared:
            for number in range(1, len(rows)):
                await manifest.write(
                    partial(
                        comparing.mark_doubles,
                        side=OTHER[local],
                        run=run,
                        item_id=rows[number],
                        earlier=rows[:number],
                    )
                )
    for low in range(0, end, PAGE):
        await manifest.write(partial(comparing.mark_sides, run=run, low=low))
    if local is not None and ends.folder is not None:
        await _join_folded(manifest, ends.folder, local, run)
        await _name_obstacles(manifest, ends.folder, OTHER[local])
    for low in range(0, end, PAGE):
        await manifest.write(partial(comparing.compare, run=run, low=low, hashes=local))


async def _join_folded(manifest: Manifest, folder: Path, local: Side, run: int) -> None:
    samples = await manifest.read(lambda con: comparing.local_samples(con, local, run))
    traits = await anyio.to_thread.run_sync(read_traits, folder, samples)
    if traits == FolderTraits():
        return
    after = 0
    while keys := await manifest.read(partial(comparing.keys_of, after=after, limit=_KEYS)):
        after = keys[-1][0]
        names = [(fold(key, traits), row) for row, key in keys]
        await manifest.write(partial(comparing.set_folded, names=names))
    after = 0
    while after := await manifest.write(partial(comparing.join_folded, local=local, after=after, limit=_KEYS)):
        pass
    await manifest.write(partial(comparing.mark_clashes, local=local, run=run))


async def _name_obstacles(manifest: Manifest, folder: Path, remote: Side) -> None:
    """Say what lies in the place of missing files, where something does that is no file."""

    def look(rows: list[tuple[int, str]]) -> list[tuple[int, str, str]]:
        return [
            (row, f"only-{remote}", "BadInput: a folder lies in its place")
            for row, key in rows
            if kind_of(str(folder / key)) == "folder"
        ]

    after = 0
    while rows := await manifest.read(partial(comparing.present_only, side=remote, after=after, limit=_KEYS)):
        after = rows[-1][0]
        notes = await anyio.to_thread.run_sync(look, rows)
        if notes:
            await manifest.write(partial(comparing.set_notes, notes=notes))
