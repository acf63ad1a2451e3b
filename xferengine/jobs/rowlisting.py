"""One listing of a project's prearchive for all who need it at the same moment."""

from __future__ import annotations

import anyio

from xferengine.schedule.lanes import Lanes
from xferengine.xnat.client import XnatClient
from xferengine.xnat.prearchive import PrearcRow


class RowListing:
    """The project's rows, listed once for all who ask at the same time.

    A listing answers only those who asked before it began: each sees a state later than its question.
    """

    def __init__(self, client: XnatClient, lanes: Lanes) -> None:
        self._client = client
        self._lanes = lanes
        self._lock: dict[str, anyio.Lock] = {}
        self._number: dict[str, int] = {}
        self._rows: dict[str, tuple[PrearcRow, ...]] = {}

    async def rows(self, project: str) -> tuple[PrearcRow, ...]:
        """Return the rows of a project, as listed after this call."""
        asked = self._number.get(project, 0)
        async with self._lock.setdefault(project, anyio.Lock()):
            begun = self._number.get(project, 0)
            if begun > asked + 1:
                return self._rows[project]
            self._number[project] = begun + 1
            async with self._lanes.listing.slot():
                rows = tuple(await self._client.prearchive.list_rows(project))
            self._rows[project] = rows
            return rows
