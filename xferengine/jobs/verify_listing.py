"""The servers' side of a comparison: remotes to items, items that belong together, their listings as rows."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

import anyio
import msgspec

from xferengine.errors import Disposition, NotFound, UnsafePath, XferError
from xferengine.jobs.core import Core
from xferengine.jobs.item_listing import Listed, list_item
from xferengine.jobs.remote_selection import RemoteSelection
from xferengine.jobs.resolve import Resolver, Wanted
from xferengine.jobs.verify_ends import Ends, PairNames, item_key
from xferengine.manifest import comparisons, transfers
from xferengine.manifest.comparisons import Seen, Side
from xferengine.model.events import ListingProgress
from xferengine.model.items import ItemRef, Level
from xferengine.model.layout import resource_folder
from xferengine.model.remote import RemotePath
from xferengine.store.names import check_relative

AT_ONCE = 16
"""Items that are listed at the same time."""


class Match(msgspec.Struct, kw_only=True):
    """What is compared in one go: an item and its counterpart, or one of them."""

    key: str
    sides: dict[Side, Wanted]
    item_id: int = 0
    failed: bool = False

    @property
    def ref(self) -> ItemRef:
        """The item by which a report names it."""
        return self.sides["a"].item if "a" in self.sides else self.sides["b"].item


class Lister:
    """Lists what is compared and writes it to the manifest.

    Args:
        cores: the server of each side that is one.
        ends: the two places.
        selection: which of what is found is wanted.
        run: number of this run.

    Attributes:
        broken: projects of ``*`` that a server could not list: nothing of them is compared.
    """

    def __init__(self, cores: Mapping[Side, Core], ends: Ends, selection: RemoteSelection, run: int) -> None:
        self.broken: dict[str, tuple[RemotePath, XferError]] = {}
        self._cores = cores
        self._core = next(iter(cores.values()))
        self._ends = ends
        self._selection = selection
        self._run = run
        self._labels: dict[tuple[Side, str], dict[str, str]] = {}
        self._asking = anyio.Lock()
        self._listed = self._files = self._bytes = self._total = 0

    async def resolve(self) -> list[Match]:
        """Return everything that is to be compared, own files of projects and subjects first.

        Raises:
            NotFound, AccessDenied: what was asked for is not there for this account.
            XferError: no project of ``*`` could be listed.
        """
        found: dict[str, Match] = {}
        for side, remote in self._ends.remotes.items():
            async for key, wanted in self._items(side, remote, self._selection):
                found.setdefault(key, Match(key=key, sides={})).sides.setdefault(side, wanted)
        wanted = [match for match in found.values() if match.ref.project not in self.broken]
        if self.broken and not wanted:
            raise next(iter(self.broken.values()))[1]
        matches = sorted(wanted, key=lambda match: match.ref.level is Level.EXPERIMENT)

        def write(con: sqlite3.Connection) -> None:
            for remote, error in self.broken.values():
                transfers.add_missing(con, remote, error, self._run)
            for match in matches:
                match.item_id = comparisons.add_item(con, match.key, match.ref, self._run)

        await self._core.manifest.write(write)
        self._total = len(matches)
        return matches

    async def resolve_all(self) -> list[ItemRef]:
        """Return all items of a folder's remote: what a filter keeps out is no surprise on the disk."""
        ((side, remote),) = self._ends.remotes.items()
        return [wanted.item async for _, wanted in self._items(side, remote, RemoteSelection((), ()))]

    async def _items(
        self, side: Side, remote: RemotePath, selection: RemoteSelection
    ) -> AsyncIterator[tuple[str, Wanted]]:
        resolver = Resolver(self._cores[side], selection)
        try:
            async for wanted in resolver.iter_items(remote):
                key = transfers.key_of(wanted.item) if self._ends.folder is not None else item_key(wanted, remote)
                yield key, wanted
        except XferError as error:
            if error.disposition is not Disposition.FATAL:
                error.ref = _shown(remote)
            raise
        self.broken |= {project.project: (project, error) for project, error in resolver.broken}

    async def list_all(self, matches: Sequence[Match]) -> None:
        """Write the listings of all items; one that cannot be listed is marked as failed.

        Raises:
            NotFound: (in a group) a scan, resource or file that was named is not there.
            XferError: (also in a group) the job cannot go on.
        """
        waiting = iter(matches)

        async def lister() -> None:
            for match in waiting:
                await self._list_one(match)

        async with anyio.create_task_group() as tg:
            for _ in range(min(AT_ONCE, len(matches))):
                tg.start_soon(lister)

    async def _list_one(self, match: Match) -> None:
        missing: NotFound | None = None
        try:
            for side, wanted in match.sides.items():
                listings = await list_item(self._cores[side], wanted, self._selection)
                if any(scope.is_missed(listed.all for listed in listings) for scope in wanted.scopes):
                    missing = self._missing(side)
                    break
                await self._write(match, side, listings)
        except XferError as error:
            if error.disposition is Disposition.FATAL:
                raise
            await self._fail(match, error)
        if missing is not None:  # it is all that a remote means, so there is nothing to compare
            await self._core.manifest.write(lambda con: comparisons.drop_files(con, match.item_id))
            raise missing
        self._listed += 1
        self.tell()

    def _missing(self, side: Side) -> NotFound:
        where = f" in {side.upper()}" if self._ends.folder is None else ""
        text = f"there is no such scan, resource or file{where}, or nothing is in it"
        return NotFound(text, ref=_shown(self._ends.remotes[side]))

    async def _write(self, match: Match, side: Side, listings: Sequence[Listed]) -> None:
        rows = list(await self._rows(side, match, listings))

        def write(con: sqlite3.Connection) -> None:
            if self._ends.folder is not None:  # to judge what else lies there
                for listed in listings:
                    transfers.add_resource(con, match.item_id, listed.all, in_all=listed.in_all)
            comparisons.put(con, side, match.item_id, self._run, rows)

        await self._core.manifest.write(write)
        self.count(len(rows), sum(max(row.size, 0) for row in rows))

    async def _fail(self, match: Match, error: XferError) -> None:
        match.failed = True

        def write(con: sqlite3.Connection) -> None:
            comparisons.drop_files(con, match.item_id)
            transfers.set_item(con, match.item_id, "failed", error.kind, error.message)

        await self._core.manifest.write(write)

    async def _rows(self, side: Side, match: Match, listings: Sequence[Listed]) -> Iterable[Seen]:
        if self._ends.folder is not None:
            return local_rows(listings, with_project=self._ends.with_project)
        has_assessors = any(listed.wanted.ref.item.level is Level.ASSESSOR for listed in listings)
        labels = await self._assessors(side, match.sides[side].item.project) if has_assessors else {}
        remotes = self._ends.remotes
        return pair_rows(listings, PairNames(remotes[side], remotes["a"]), labels)

    async def _assessors(self, side: Side, project: str) -> dict[str, str]:
        """Return accession id → label of a project's assessors, asked for once."""
        async with self._asking:
            if (side, project) not in self._labels:
                core = self._cores[side]
                async with core.lanes.listing.slot():
                    infos = await core.client.experiments.list_experiments(project)
                self._labels[side, project] = {info.accession: info.label for info in infos if info.session_id}
            return self._labels[side, project]

    def count(self, files: int, size: int) -> None:
        """Add to what was found so far."""
        self._files += files
        self._bytes += size

    def tell(self) -> None:
        """Say how far the looking is."""
        event = ListingProgress(items=self._listed, items_total=self._total, files=self._files, bytes=self._bytes)
        self._core.emit(event)


def local_rows(listings: Iterable[Listed], *, with_project: bool) -> Iterator[Seen]:
    """Yield the wanted files under the names that the documented layout gives them."""
    taken: dict[str, str] = {}
    for listed in listings:
        folder = resource_folder(listed.wanted.ref, with_project=with_project)
        for row in _rows(listed, folder, [file.path for file in listed.wanted.files], taken):
            try:
                check_relative(row.key)
                yield row
            except UnsafePath as error:
                yield Seen(
                    key=_storable(row.key), size=row.size, state="unusable", note=f"{error.kind}: {error.message}"
                )


def pair_rows(listings: Iterable[Listed], names: PairNames, labels: dict[str, str]) -> Iterator[Seen]:
    """Yield the wanted files under names that both servers share."""
    taken: dict[str, str] = {}
    for listed in listings:
        paths = [names.path(file.path) for file in listed.wanted.files]
        for row in _rows(listed, names.folder(listed.wanted.ref, labels), paths, taken):
            yield msgspec.structs.replace(row, key=_storable(row.key))


def _rows(listed: Listed, folder: str, paths: Sequence[str], taken: dict[str, str]) -> Iterator[Seen]:
    """Yield one row for each file.

    Args:
        taken: key → resource that has it: two resources of an item may have one label.
    """
    number = listed.wanted.ref.id
    mine: set[str] = set()
    for file, path in zip(listed.wanted.files, paths, strict=True):
        key = f"{folder}/{path}"
        if key in mine:
            continue  # the catalog names it twice; it is one file
        mine.add(key)
        if taken.setdefault(key, number) == number:
            yield Seen(key=key, size=file.size, digest=file.digest)
        else:
            note = "NameClash: two resources of one label hold a file of this name"
            yield Seen(key=f"{key} (resource {number})", size=file.size, state="unusable", note=note)


def _shown(remote: RemotePath) -> str:
    return f":{remote.text}"


def _storable(text: str) -> str:
    """Return a text that can be written down, whatever a server sent."""
    return text.encode("utf-8", "backslashreplace").decode()
