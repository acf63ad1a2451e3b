"""Second looks at listings: what a resource lists now, for files that are not what it listed before."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import msgspec

from xferengine.jobs.core import Core
from xferengine.manifest.transfers import ResourceRow
from xferengine.model.items import RemoteFile

KEPT = 4
"""Listings that are kept; each may name a hundred thousand files."""
TIMES = 20
"""A listing is good for so many times what it cost, so that looking takes at most this part of a job."""


class _Listing(msgspec.Struct, frozen=True, kw_only=True):
    files: dict[str, RemoteFile]
    good_until_s: float


class Relistings:
    """Lists a resource once for all of its files that ask at about the same time.

    A resource whose whole catalog is out of date would otherwise be listed for each of its files. The price is that a
    change of the catalog in that time is not seen: the file counts as ``stale``, and the next run sees that it is not.

    Args:
        core: the server.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._known: dict[int, _Listing] = {}
        self._locks: dict[int, anyio.Lock] = {}

    async def look(self, resource: ResourceRow) -> Mapping[str, RemoteFile]:
        """Return path → file of what a resource lists now, or did a moment ago.

        Raises:
            NotFound: there is no such resource any more.
            RemoteError: as the client raises.
        """
        clock = self._core.clock
        async with self._locks.setdefault(resource.id, anyio.Lock()):
            known = self._known.get(resource.id)
            if known is not None and clock.monotonic() < known.good_until_s:
                return known.files
            self._known.pop(resource.id, None)
            async with self._core.lanes.listing.slot():
                began = clock.monotonic()
                listed = await self._core.client.files.list_resource(resource.ref)
            now = clock.monotonic()
            files = {file.path: file for file in listed.files}
            self._known[resource.id] = _Listing(files=files, good_until_s=now + TIMES * (now - began))
            while len(self._known) > KEPT:
                del self._known[next(iter(self._known))]
            return files
