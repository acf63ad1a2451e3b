"""The plan of a download: remotes to items, items to listings, listings to rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import anyio
import msgspec

from xferengine.errors import Disposition, NameClash, NotFound, XferError
from xferengine.jobs.core import Core
from xferengine.jobs.download_intake import Intake, Placed
from xferengine.jobs.item_listing import Listed, list_item
from xferengine.jobs.plan import SHOWN, FilesPlan, PlanItem, PlanTotals
from xferengine.jobs.remote_selection import RemoteSelection
from xferengine.jobs.resolve import Resolver, Scope, Wanted
from xferengine.manifest import incoming, overview, transfers
from xferengine.model.events import ItemChanged, ListingProgress, Notice
from xferengine.model.items import ItemRef, Level
from xferengine.model.layout import item_folder
from xferengine.model.remote import RemotePath
from xferengine.schedule.breaker import means_down
from xferengine.store.names import NameClaims
from xferengine.store.target import Target

AT_ONCE = 16
"""Items that are listed, or compared with what is there, at the same time."""
_RUN = "listing_run"
_MISSED = NotFound("there is no such scan, resource or file, or nothing is in it")


class DownloadPlanner:
    """Lists what is wanted and compares it with the folder.

    Args:
        core: the server.
        target: the folder.
        selection: which of what is found is wanted.
        with_project: the layout begins with the project.
        asks_refresh: have the server compute digests it lacks, before anything is compared.
    """

    def __init__(
        self,
        core: Core,
        target: Target,
        selection: RemoteSelection,
        *,
        with_project: bool,
        asks_refresh: bool = False,
    ) -> None:
        self._core = core
        self._target = target
        self._selection = selection
        self._with_project = with_project
        self._asks_refresh = asks_refresh
        self._claims: dict[str, NameClaims] = {}
        self._tops = NameClaims(target.traits)
        self._run = 0
        self._listed = self._files = self._bytes = self._total = 0

    async def plan(self, remotes: Sequence[RemotePath]) -> None:
        """Write all items, resources and files to the manifest, each file with what is to be done about it.

        Raises:
            RemoteError: nothing of what was asked for can be had.
            XferError: (also in a group) the job cannot go on.
        """
        self._run = await self._core.manifest.write(_next_run)
        items = await self._resolve(remotes)
        self._total = len(items)
        # Own files of projects and subjects first: an experiment may share a folder with one of them.
        own = [wanted for wanted in items if wanted.item.level is not Level.EXPERIMENT]
        await self._list_all(own)
        await self._list_all([wanted for wanted in items if wanted.item.level is Level.EXPERIMENT])
        if self._core.stop.is_feeding:  # else not all were listed
            await self._core.manifest.write(lambda con: incoming.forget_unwanted_items(con, self._run))

    async def _resolve(self, remotes: Sequence[RemotePath]) -> list[Wanted]:
        resolver = Resolver(self._core, self._selection)
        found: dict[str, Wanted] = {}
        missing: list[tuple[RemotePath, XferError]] = []
        for remote in remotes:
            try:
                async for wanted in resolver.iter_items(remote):
                    key = transfers.key_of(wanted.item)
                    before = found.get(key)
                    scopes = (*before.scopes, *wanted.scopes) if before else wanted.scopes
                    found[key] = msgspec.structs.replace(wanted, scopes=scopes)
            except XferError as error:
                if error.disposition is Disposition.FATAL:
                    raise
                missing.append((remote, error))
        missing += resolver.broken
        if missing and not found:
            remote, error = missing[0]
            error.ref = f":{remote.text}"
            raise error

        await self._core.manifest.write(lambda con: self._write_missed(con, missing))
        return list(found.values())

    async def _list_all(self, items: Sequence[Wanted]) -> None:
        waiting = iter(items)

        async def lister() -> None:
            for wanted in waiting:
                if not self._core.stop.is_feeding:
                    return
                await self._list_one(wanted)

        async with anyio.create_task_group() as tg:
            for _ in range(min(AT_ONCE, len(items))):
                tg.start_soon(lister)

    async def _list_one(self, wanted: Wanted) -> None:
        core, broken = self._core, _Broken()
        try:
            listings = await list_item(core, wanted, self._selection, on_broken=broken.add)
            if self._asks_refresh and _lacks_digests(listings) and await self._refresh(wanted):
                broken.clear()
                listings = await list_item(core, wanted, self._selection, on_broken=broken.add)
            self._claim_folder(wanted.item)
            earlier = await core.manifest.read(lambda con: incoming.earlier(con, transfers.key_of(wanted.item)))
            intake = Intake(
                self._target,
                self._claims_of(wanted),
                earlier,
                with_project=self._with_project,
                goes_on=lambda: core.stop.is_feeding,
            )
            placed = await core.threads.run(intake.place, listings)
        except XferError as error:
            if error.disposition is Disposition.FATAL:
                raise
            await core.manifest.write(lambda con, why=error: self._write_failed(con, wanted, why))
            core.emit(ItemChanged(item=_ref(wanted), state="failed", detail=error.message))
            self._progress([])
            return
        missed = [scope for scope in wanted.scopes if scope.is_missed(listed.all for listed in listings)]
        if missed or broken:
            errors = [*((scope.remote(wanted.item), _MISSED) for scope in missed), *broken.items()]
            await core.manifest.write(lambda con: self._write_missed(con, errors))
        if placed or wanted.item.level is Level.EXPERIMENT:  # most subjects have no files of their own
            await core.manifest.write(lambda con: self._write(con, wanted, placed))
        self._progress(placed)

    def _write_failed(self, con: sqlite3.Connection, wanted: Wanted, error: XferError) -> None:
        item_id = transfers.add_item(con, wanted.item, self._run)
        transfers.set_item(con, item_id, "failed", error.kind, error.message)

    def _write_missed(self, con: sqlite3.Connection, errors: Iterable[tuple[RemotePath, XferError]]) -> None:
        for remote, error in errors:
            transfers.add_missing(con, remote, error, self._run)

    async def _refresh(self, wanted: Wanted) -> bool:
        """Ask for digests; say whether they may be there now. That they could not be had harms nothing else."""
        core = self._core
        try:
            async with core.lanes.commit.slot():
                await core.client.files.refresh(wanted.item, "checksum")
        except XferError as error:
            if error.disposition is Disposition.FATAL:
                raise
            text = f"{_ref(wanted)}: the server did not compute missing digests: {error.message}"
            core.emit(Notice(level="warning", text=text))
            return means_down(error)  # a proxy that gave up: the server may have gone on
        return True

    def _claim_folder(self, item: ItemRef) -> None:
        """Refuse an item whose folder the disk would take for another item's: each has its own names below it.

        Raises:
            NameClash: labels that differ only in case, on a disk that does not tell them apart.
        """
        folder = item_folder(item, with_project=self._with_project)
        if reason := self._tops.claim(f"{folder}/{transfers.key_of(item)}"):
            raise NameClash(f"this folder cannot hold it beside another item: {reason}")

    def _claims_of(self, wanted: Wanted) -> NameClaims:
        """Return the names taken in the item's folder: kept where a subject's or project's folder may be shared."""
        item = wanted.item
        top = item.experiment or item.subject or item.project
        if item.level is Level.EXPERIMENT:
            return self._claims.get(top) or NameClaims(self._target.traits)
        return self._claims.setdefault(top, NameClaims(self._target.traits))

    def _write(self, con: sqlite3.Connection, wanted: Wanted, placed: Sequence[Placed]) -> None:
        item_id = transfers.add_item(con, wanted.item, self._run)
        rows: set[int] = set()
        for one in placed:
            row = transfers.add_resource(con, item_id, one.listed.all, in_all=one.listed.in_all)
            incoming.replace(con, item_id, row, self._run, one.files)
            rows.add(row)
        incoming.forget_unlisted(con, item_id, self._run)
        transfers.keep_resources(con, item_id, rows)
        has_work = any(file.state == "planned" for one in placed for file in one.files)
        has_bad = any(file.state in incoming.NAMED for one in placed for file in one.files)
        transfers.set_item(con, item_id, "planned" if has_work else "partial" if has_bad else "done")

    def _progress(self, placed: Sequence[Placed]) -> None:
        self._listed += 1
        self._files += sum(len(one.files) for one in placed)
        self._bytes += sum(max(file.size, 0) for one in placed for file in one.files)
        self._core.emit(
            ListingProgress(items=self._listed, items_total=self._total, files=self._files, bytes=self._bytes)
        )


class _Broken(dict[RemotePath, XferError]):
    """What below an item could not be listed, and why."""

    def add(self, child: ItemRef, error: XferError) -> None:
        """Note one; see ``list_item``."""
        word = "assessors" if child.level is Level.ASSESSOR else "reconstructions"
        self[Scope(child=word, child_id=child.child_id).remote(child)] = error


def _next_run(con: sqlite3.Connection) -> int:
    """Count a listing before it begins: what one that was cut wrote is not taken for what the next one finds."""
    run = int(overview.get_meta(con, _RUN, "0")) + 1
    overview.set_meta(con, _RUN, str(run))
    return run


def _lacks_digests(listings: Sequence[Listed]) -> bool:
    return any(not file.digest for listed in listings for file in listed.wanted.files)


def _ref(wanted: Wanted) -> str:
    return wanted.item.experiment_id or wanted.item.subject_id or wanted.item.project


def plan_view(con: sqlite3.Connection, job_id: str, target: str, notes: tuple[str, ...]) -> FilesPlan:
    """Return the plan as a table can show it."""
    wanted = incoming.wanted(con)
    by_item = {row[0]: row for row in wanted}
    shown: list[PlanItem] = []
    count = 0
    for row in transfers.items(con):
        count += 1
        if len(shown) >= SHOWN:
            continue
        counts = transfers.counts(con, row.id)
        _, files, size = by_item.get(row.id, (row.id, 0, 0))
        shown.append(
            PlanItem(
                item=row.shown,
                files=files,
                bytes=size,
                present=counts.get("present", 0),
                refused=counts.get("refused", 0),
                why=f"{row.error}: {row.detail}" if row.error else "",
            )
        )
    refused = con.execute("SELECT count(*) FROM entry WHERE state='refused'").fetchone()[0]
    present = con.execute("SELECT count(*) FROM entry WHERE state='present'").fetchone()[0]
    problems = [failure for failure in incoming.failures(con, ("refused",), SHOWN) if failure.error]
    return FilesPlan(
        job=job_id,
        verb="download",
        target=target,
        totals=PlanTotals(
            experiments=count,
            files=sum(row[1] for row in wanted),
            bytes=sum(row[2] for row in wanted),
            refused=refused,
            skipped=present,
        ),
        items=tuple(shown),
        problems=tuple(problems) if refused else (),
        problem_count=refused,
        notes=notes,
    )
