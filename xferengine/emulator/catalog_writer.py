"""The catalog's side of an upload: snapshot, entries, digests, lock, counters (FIL 1.4, FIL 4.1, FIL 4.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread

from xferengine.emulator.catalog_locks import READ_WAIT_S
from xferengine.emulator.digests import md5_of
from xferengine.emulator.http import HttpError, Query
from xferengine.emulator.records import CatalogEntry, Resource
from xferengine.emulator.site import Site
from xferengine.emulator.storing import FolderWriter, Stored
from xferengine.emulator.world import World

_CHANGED_TEXT = (
    "Another thread or process modified {} since I last read it. To avoid overwriting changes, I'm throwing an "
    "exception."
)
_LOCK_TEXT = "Unable to acquire thread and process locks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What the parameters of an upload write on its entries and on the resource; `counts` is `update-stats`."""

    user: str
    format: str = ""
    content: str = ""
    description: str = ""
    tags: list[str] = field(default_factory=list)
    counts: bool = True

    @classmethod
    def of(cls, query: Query, user: str) -> Marks:
        """Read the parameters; tags of a file are not comma-split (FIL 1.4)."""
        return cls(
            user=user,
            format=query.get("format"),
            content=query.get("content"),
            description=query.get("description"),
            tags=[tag for tag in query.all("tags") if tag],
            counts=not query.has("update-stats") or query.get("update-stats").lower() in ("true", "1"),
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A resource with the state of its catalog when the request began (FIL 4.3, step 2)."""

    resource: Resource
    version: int
    root: Path


class CatalogWriter:
    """Opens uploads into resources and enters what they wrote."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._world: World = site.world

    async def begin(self, resource: Resource) -> Snapshot:
        """Read the catalog; somebody who is writing it is waited for.

        Raises:
            HttpError: 500 when that takes too long.
        """
        if self._site.locks.is_held(resource):
            async with self._site.locks.held(resource, self._world.clock, READ_WAIT_S) as is_obtained:
                if not is_obtained:
                    raise HttpError(500, _LOCK_TEXT)
        return Snapshot(resource, self._site.versions.of(resource), self._world.resource_dir(resource))

    def writer(self, snapshot: Snapshot, *, overwrite: bool) -> FolderWriter:
        """Return a writer into the resource's folder; it computes digests if the site keeps them."""
        return FolderWriter(snapshot.root, overwrite=overwrite, digests=self._world.checksums)

    async def commit(self, snapshot: Snapshot, stored: Sequence[Stored], marks: Marks) -> None:
        """Enter files, unless the catalog changed since the request began; then they stay orphans (FIL 4.3).

        Raises:
            HttpError: 500 for a changed catalog, or when its lock is not obtained in time.
        """
        resource, known = snapshot.resource, self._world.entries(snapshot.resource)
        entries = self._entries(known, stored, marks)
        if self._world.checksums:
            backlog = [entry for entry in known.values() if not entry.digest and entry.uri not in entries]
            missing = [*backlog, *(entry for entry in entries.values() if not entry.digest)]
            if missing:
                await anyio.to_thread.run_sync(_add_digests, snapshot.root, missing)
            entries |= {entry.uri: entry for entry in backlog}
        async with self._changing(snapshot, len(known) + len(entries)):
            # Without update-stats the database's counters stay as they were (FIL 1.4).
            self._world.put_entries(resource, entries.values(), recount=marks.counts)
            self._describe(resource, marks)

    async def drop(self, snapshot: Snapshot, uris: Sequence[str]) -> None:
        """Remove entries, unless the catalog changed since the request began (FIL 1.7, FIL 4.3).

        Raises:
            HttpError: As `commit`.
        """
        async with self._changing(snapshot, len(self._world.entries(snapshot.resource))):
            self._world.drop_entries(snapshot.resource, uris)

    @asynccontextmanager
    async def _changing(self, snapshot: Snapshot, count: int) -> AsyncIterator[None]:
        """Hold the lock of a catalog that is as it was, spend the time of writing it, and mark it as changed."""
        resource, site = snapshot.resource, self._site
        async with site.locks.held(resource, self._world.clock, site.config.catalog_lock_s) as is_obtained:
            if not is_obtained:
                raise HttpError(500, _LOCK_TEXT)
            if site.versions.of(resource) != snapshot.version or resource.id not in self._world.resources:
                label = resource.label or resource.id
                raise HttpError(500, _CHANGED_TEXT.format(snapshot.root / f"{label}_catalog.xml"))
            await spend(site, count)
            site.versions.bump(resource)
            yield

    def _entries(
        self, known: dict[str, CatalogEntry], stored: Sequence[Stored], marks: Marks
    ) -> dict[str, CatalogEntry]:
        now = self._world.stamp()
        entries: dict[str, CatalogEntry] = {}
        for file in stored:
            old = known.get(file.path)
            entries[file.path] = CatalogEntry(
                uri=file.path,
                name=file.path.rpartition("/")[2],
                size=file.size,
                digest=file.digest,
                content=marks.content,
                format=marks.format,
                description=marks.description,
                tags=list(marks.tags),
                created=old.created if old else now,
                created_by=old.created_by if old else marks.user,
                modified=now if old else "",
            )
        return entries

    def _describe(self, resource: Resource, marks: Marks) -> None:
        """Write format, content, description and tags on the resource, as every PUT does (FIL 1.4)."""
        before = (resource.format, resource.content, resource.description, len(resource.tags))
        resource.format = marks.format or resource.format
        resource.content = marks.content or resource.content
        resource.description = marks.description or resource.description
        resource.tags += [tag for tag in marks.tags if tag not in resource.tags]
        if before != (resource.format, resource.content, resource.description, len(resource.tags)):
            self._world.save(resource)


async def spend(site: Site, count: int) -> None:
    """Take the time that writing a catalog of so many entries is set to take; the lock is held meanwhile."""
    config = site.config
    delay_s = config.catalog_ms / 1000 + config.catalog_entry_us * count / 1_000_000
    if delay_s:
        await site.world.clock.sleep(delay_s)


def _add_digests(root: Path, entries: list[CatalogEntry]) -> None:
    for entry in entries:
        entry.digest = md5_of(root / entry.uri)
