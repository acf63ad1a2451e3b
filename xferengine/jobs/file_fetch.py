"""One file until it is certain: repeated while that helps, and read by two routes when it is not what is listed."""

from __future__ import annotations

import msgspec

from xferengine.errors import BudgetReached, DigestMismatch, IntegrityError, NotFound, RemoteChanged, XferError
from xferengine.jobs.core import Core
from xferengine.jobs.deliveries import Deliveries, Got
from xferengine.jobs.doubts import Differs, DiffersInside, judge
from xferengine.jobs.file_read import FileReader, Read, gone
from xferengine.jobs.relist import Relistings
from xferengine.jobs.zip_fetch import ZipFetch, ZipJob, tell_slot
from xferengine.jobs.zip_names import MemberNames
from xferengine.manifest.transfers import EntryRow, ResourceRow
from xferengine.model.events import AttemptFailed
from xferengine.schedule.retry import Action
from xferengine.store.target import Target
from xferengine.xnat.paths import is_addressable

STALE = "the catalog is out of date: two reads of the file agree with each other and not with it"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file that was not what the catalog says."""

    size: int
    md5: str


class FileFetch:
    """Fetches single files.

    Args:
        core: the server.
        target: where part files lie.
        deliveries: gets what is complete.
        reader: reads them.
        hashing: compute the MD5 also where there is none to compare with.
    """

    def __init__(
        self, core: Core, target: Target, deliveries: Deliveries, reader: FileReader, *, hashing: bool
    ) -> None:
        self.core = core
        self.target = target
        self.deliveries = deliveries
        self.reader = reader
        self.hashing = hashing
        self.relistings = Relistings(core)

    async def fetch(
        self, unit: int, resource: ResourceRow, entry: EntryRow, *, doubt: XferError | None = None
    ) -> XferError | None:
        """Bring one file, hand it on, and return None; or return why it cannot be had.

        Args:
            doubt: what an archive said about it before.

        Raises:
            XferError: of the disposition FATAL; nothing more can be done in this run.
        """
        return await _Chase(self, unit, resource, entry, doubt).run()


class _Chase:
    """One file.

        read by GET → not as listed → look at the listing again → still not → read by an archive → compare the two reads

    A name that no URL can carry is read by archives only.
    """

    def __init__(
        self, owner: FileFetch, unit: int, resource: ResourceRow, entry: EntryRow, doubt: XferError | None
    ) -> None:
        self._owner = owner
        self._core = owner.core
        self._unit = unit
        self._resource = resource
        self._entry = entry
        self._seen: Seen | None = None
        self._last_modified = ""
        self._has_waited = False
        self._is_addressable = is_addressable(entry.path)
        self._by_archive = not self._is_addressable
        self._hashing = owner.hashing
        if isinstance(doubt, Differs | DiffersInside) and doubt.md5:
            self._seen = Seen(size=doubt.size, md5=doubt.md5)

    async def run(self) -> XferError | None:
        attempt = 0
        while True:
            attempt += 1
            try:
                await self._deliver()
                self._core.retry.succeeded()
                return None
            except BudgetReached as error:
                return error
            except NotFound:
                self._owner.target.drop_part(self._entry.id)
                return gone(self._entry)
            except XferError as caught:
                error = caught
            decision = self._core.retry.decide(error, attempt)
            if decision.action is Action.STOP:
                raise error
            if decision.action is not Action.RETRY or isinstance(error, _TwoReads):
                if isinstance(error, IntegrityError):
                    self._owner.target.drop_part(self._entry.id)  # nothing that a later run could go on with
                return error
            self._tell(error, attempt, decision.wait_s)
            await self._core.clock.sleep(decision.wait_s)

    def _tell(self, error: XferError, attempt: int, wait_s: float) -> None:
        self._core.emit(
            AttemptFailed(
                unit=self._unit,
                study=self._resource.ref.item.experiment_id,
                attempt=attempt,
                error=error.kind,
                detail=error.message,
                wait_s=round(wait_s, 3),
            )
        )

    async def _deliver(self) -> None:
        """Read until two reads agree, or one agrees with the catalog.

        Raises:
            _TwoReads: two reads differ from each other and from the catalog.
            RemoteChanged: the catalog changes while the file is read.
            XferError: what the reading raised.
        """
        while True:
            read = await self._read()
            has_changed = bool(self._last_modified and read.last_modified not in {"", self._last_modified})
            self._last_modified = read.last_modified or self._last_modified
            verdict = judge(self._entry, read.size, read.md5)
            if isinstance(verdict, IntegrityError) and read.is_compressed_copy:
                read = await self._read(unpacks=True)
                verdict = judge(self._entry, read.size, read.md5)
            if isinstance(verdict, IntegrityError) and await self._is_listed_anew():
                self._seen = None
                verdict = judge(self._entry, read.size, read.md5)
                if isinstance(verdict, IntegrityError):
                    await self._owner.reader.forget(self._entry)
                    raise RemoteChanged("the file changes on the server while it is read", path=self._entry.local)
            if isinstance(verdict, str):
                await self._hand_on(read, means=verdict)
                return
            await self._owner.reader.forget(self._entry)  # another read is one from the first byte on
            if not read.md5:
                self._hashing = True  # only the sizes could be compared: read it again to be able to say more
                continue
            here = Seen(size=read.size, md5=read.md5)
            if self._seen == here and read.is_fresh and not self._has_waited:
                # An overwrite is delete, then write in place (FIL 1.4): two reads in a row may see the same half of it.
                self._has_waited = True
                await self._core.clock.sleep(self._core.settings.retry.settle_s)
                continue
            if self._seen == here:
                await self._hand_on(read, means="two reads", state="stale", note=f"CatalogStale: {STALE}")
                return
            if self._seen is not None and has_changed:
                self._seen, self._has_waited = None, False
                raise RemoteChanged("the file is being written on the server", path=self._entry.local)
            if self._seen is not None:
                raise _TwoReads("two reads of the file differ from each other and from the catalog")
            self._seen = here
            self._by_archive = not self._by_archive or not self._is_addressable

    async def _read(self, *, unpacks: bool = False) -> Read:
        entry = self._entry
        if self._by_archive:
            return await self._read_archive()
        hashing = bool(entry.digest) or self._hashing or self._seen is not None
        async with self._core.lanes.bulk.slot(0, cost_bytes=max(entry.size, 0)):
            reader = self._owner.reader
            read = reader.read_unpacked if unpacks else reader.read
            return await read(self._unit, self._resource.ref, entry, hashing=hashing)

    async def _read_archive(self) -> Read:
        entry, resource = self._entry, self._resource
        names = _Only(entry) if self._is_addressable else MemberNames([entry], {resource.id: resource}, single=resource)
        job = ZipJob(
            unit=self._unit,
            holder=resource.ref,
            everything=False,
            deflated=False,
            files={entry.id: entry},
            names=names,
            hashing=True,
            path=entry.path if self._is_addressable else "",
            is_raw=True,
        )
        owner = self._owner
        async with self._core.lanes.bulk.slot(0, cost_bytes=max(entry.size, 0)) as slot:
            result = await ZipFetch(self._core, owner.target, owner.deliveries, job).run()
            tell_slot(slot, result.error)
        found = result.raw.get(entry.id)
        if found is None:
            raise result.doubtful.get(entry.id) or result.error or gone(entry)
        return Read(path=found.path, size=found.size, md5=found.md5, last_modified="")

    async def _is_listed_anew(self) -> bool:
        """Look at the listing again, and say whether it says something else than before."""
        entry, resource = self._entry, self._resource
        now = (await self._owner.relistings.look(resource)).get(entry.path)
        if now is None:
            raise NotFound("the file was taken out of the catalog while it was read", path=entry.local)
        if (now.size, now.digest) == (entry.size, entry.digest):
            return False
        self._entry = msgspec.structs.replace(entry, size=now.size, digest=now.digest)
        return True

    async def _hand_on(self, read: Read, *, means: str, state: str = "verified", note: str = "") -> None:
        got = Got(
            entry=self._entry,
            part=read.path,
            size=read.size,
            md5=read.md5,
            means=means,
            state=state,
            note=note,
            last_modified=self._last_modified,
            unit=self._unit,
        )
        await self._owner.deliveries.put([got])


class _TwoReads(DigestMismatch):
    """The file is something else each time it is read."""

    @property
    def kind(self) -> str:
        """As a report names it."""
        return DigestMismatch.__name__


class _Only:
    """The only member of an archive of one file."""

    def __init__(self, entry: EntryRow) -> None:
        self._entry = entry

    def find(self, name: str) -> EntryRow | None:
        """Return the file if the member has its base name."""
        is_it = name.rpartition("/")[2] == self._entry.path.rpartition("/")[2]
        return self._entry if is_it else None
