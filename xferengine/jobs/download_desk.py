"""What the movers of all items of a download share, and what one of them begins with."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from xferengine.errors import XferError
from xferengine.jobs.core import Core
from xferengine.jobs.deliveries import Deliveries
from xferengine.jobs.file_fetch import FileFetch
from xferengine.jobs.file_read import FileReader
from xferengine.jobs.zip_fetch import is_archive_fault
from xferengine.manifest import incoming, transfers
from xferengine.manifest.transfers import EntryRow, ItemRow, ResourceRow
from xferengine.model.events import ItemChanged
from xferengine.schedule.routes import RouteModel
from xferengine.store.target import Target

ARCHIVE_FAULTS = 3
"""So many archives in a row that the server fails to make, and the rest of the run does without."""


class Desk:
    """What the movers of all items share.

    Args:
        core: the server.
        target: the folder.
        deliveries: makes files final.
        model: chooses routes.
        hashing: compute the MD5 also where there is none to compare with.
        ignores_digests: do not compare digests at all (``--verify none``).
    """

    def __init__(
        self,
        core: Core,
        target: Target,
        deliveries: Deliveries,
        model: RouteModel,
        *,
        hashing: bool = False,
        ignores_digests: bool = False,
    ) -> None:
        self.core = core
        self.target = target
        self.deliveries = deliveries
        self.model = model
        self.hashing = hashing
        self.ignores_digests = ignores_digests
        self.reader = FileReader(core, target, model)
        self.files = FileFetch(core, target, deliveries, self.reader, hashing=hashing)
        self.unit_ids = itertools.count(1)
        self._archive_faults = 0
        self.units_done = 0
        self.wasted_bytes = 0

    @property
    def avoids_archives(self) -> bool:
        """Whether archives fail on this server as a rule: files then come singly."""
        return self._archive_faults >= ARCHIVE_FAULTS

    def note_archive(self, error: XferError | None) -> None:
        """Take note of how an archive ended."""
        if error is None:
            self._archive_faults = 0
        elif is_archive_fault(error):
            self._archive_faults += 1


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """An item with what is still wanted of it."""

    row: ItemRow
    resources: Mapping[int, ResourceRow]
    entries: Sequence[EntryRow]


def load(con: sqlite3.Connection, item_id: int) -> Loaded:
    """Read one item from the manifest."""
    row = transfers.item(con, item_id)
    return Loaded(row=row, resources=transfers.resources(con, row), entries=transfers.entries(con, item_id, "planned"))


def ref_of(row: ItemRow) -> str:
    """Return the id that events know an item by."""
    return row.ref.experiment_id or row.ref.subject_id or row.ref.project


def state_of(counts: Mapping[str, int]) -> str:
    """Return where an item stands, by the states of its files."""
    bad = sum(counts.get(state, 0) for state in incoming.NAMED)
    return "planned" if counts.get("planned") else "partial" if bad else "done"


async def conclude(desk: Desk, row: ItemRow) -> None:
    """Say that an item has come to its end, as soon as all its files are final."""
    core = desk.core
    await desk.deliveries.all_final(desk.deliveries.taken)
    state = state_of(await core.manifest.read(lambda con: transfers.counts(con, row.id)))
    if state != "planned":
        await core.manifest.write(lambda con: transfers.set_item(con, row.id, state))
        core.emit(ItemChanged(item=ref_of(row), state=state))
