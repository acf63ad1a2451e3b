"""From a complete prearchive session to a verified experiment: validate, archive, look, compare UIDs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from xferengine.errors import (
    Ambiguous,
    Conflict,
    Disposition,
    NotFound,
    ProtocolViolation,
    Rejected,
    RemoteError,
    ServerFault,
    XferError,
)
from xferengine.jobs.engine import Engine, StudyStopped
from xferengine.jobs.locks import note_login
from xferengine.jobs.rows import Stage, row_ref, row_status, stage_of
from xferengine.kit.fanout import side_by_side, windows
from xferengine.manifest import evidence, studies
from xferengine.manifest.rows import StudyRow
from xferengine.model.events import Notice
from xferengine.model.states import StudyState
from xferengine.xnat.experiments import CatalogRef, ExperimentInfo
from xferengine.xnat.faults import SessionLocked
from xferengine.xnat.prearchive import RowRef
from xferengine.xnat.wire import CatalogEntry

ORDERS = 4
"""How often archiving is asked for before a row that always comes back READY is given up."""


class Archiver:
    """Takes one study from GATED to a final state.

    Cancellation: the archive order may have been accepted; ARCHIVING is durable before it is given, and the next run
    looks before it orders again.
    """

    def __init__(self, engine: Engine, study: StudyRow) -> None:
        self._engine = engine
        self._id = study.id

    async def archive(self) -> StudyRow:
        """Archive and return the study in state ARCHIVED (with ``--no-wait``: ARCHIVING, once the order is accepted).

        Raises:
            StudyStopped: a conflict, or the server refuses; the row stays in the prearchive and in the report.
        """
        engine, study = self._engine, self._get()
        keys = (f"parent:{study.project}/{study.subject.casefold()}", f"experiment:{study.project}/{study.session}")
        async with engine.keys.hold(*keys):
            if study.state is StudyState.GATED:
                await self._preflight(study)
                await engine.manifest.write(
                    lambda con: studies.set_state(con, self._id, StudyState.ARCHIVING, ordered=True)
                )
                await self._order(study)
                if not engine.spec.wait:
                    return self._get()
            info = await self._wait(study)
        await engine.manifest.write(
            lambda con: studies.set_state(
                con, self._id, StudyState.ARCHIVED, accession=info.accession, archive_uri=info.uri
            )
        )
        return self._get()

    def _get(self) -> StudyRow:
        return self._engine.manifest.peek(lambda con: studies.get(con, self._id))

    async def _preflight(self, study: StudyRow) -> None:
        """Ask the server for conflicts, then look afresh whether the experiment exists."""
        engine = self._engine
        async with engine.lanes.listing.slot():
            try:
                findings = await engine.client.archive.validate(row_ref(study))
            except (NotFound, Rejected, ServerFault, ProtocolViolation) as error:
                engine.emit(Notice(level="info", text=f"validate-archive gave no answer ({error.kind}); going on"))
                findings = []
        failures = [row for row in findings if row.type.upper() == "FAIL"]
        if failures and engine.spec.overwrite == "none":
            raise StudyStopped(Conflict(f"the server's validation refuses it ({len(failures)} findings)"))
        if engine.spec.overwrite == "none" and await find_experiment(engine, study) is not None:
            raise StudyStopped(exists_already(study))

    async def _order(self, study: StudyRow) -> None:
        """Give the archive order once; an answer that proves nothing is followed by a look (IMP 3.2)."""
        engine = self._engine
        overwrite = "delete" if engine.spec.overwrite == "delete" else None
        listener = "" if engine.spec.wait else f"{engine.source}-{self._id}"
        await note_login(engine.manifest, engine.client.login_id)
        async with engine.lanes.commit.slot() as slot:
            try:
                with engine.locks.order(self._id, renew=True):
                    await engine.client.archive.archive(row_ref(study), overwrite, listener=listener)
            except RemoteError as error:
                if error.disposition not in {Disposition.RETRY, Disposition.LOOK}:
                    raise
                slot.failed(error)
                engine.emit(
                    Notice(level="info", text=f"archive of {study.study_uid}: {error.kind}, looking at the server")
                )

    async def _wait(self, study: StudyRow) -> ExperimentInfo:
        """Poll until the row is gone and the experiment readable."""
        engine, ref = self._engine, row_ref(study)
        poll_s = engine.settings.retry.poll_s
        pause, waited, orders, gone, busy_s = poll_s, 0.0, 1, 0, 0.0
        limit_s = engine.settings.timeouts.think_commit_s * 2
        while waited < limit_s:
            row = await row_status(engine, ref)
            if row is None:
                info = await find_experiment(engine, study)
                if info is not None:
                    return info
                gone += 1
                if gone > 12:
                    raise StudyStopped(
                        ServerFault("its prearchive session is gone and the experiment cannot be read: look for it on"
                                    " the server before the local files are deleted")
                    )  # fmt: skip
            elif stage_of(row) in {Stage.CONFLICT, Stage.ERROR}:
                raise StudyStopped(await self._refusal(study, ref, row.status))
            elif stage_of(row) in {Stage.READY, Stage.RECEIVING} and waited > 8 * poll_s * orders:
                orders += 1
                if orders > ORDERS:
                    raise StudyStopped(await self._refusal(study, ref, row.status))
                await self._order(study)
            elif stage_of(row) is Stage.BUSY and busy_s > engine.locks.patience_s(self._id):
                await self._break_lock(ref)
                busy_s = 0.0
            engine.check_feeding()
            await engine.clock.sleep(pause)
            waited, busy_s = waited + pause, busy_s + pause
            pause = min(pause * 1.5, 20 * poll_s)
        raise StudyStopped(ServerFault("archiving did not end in time; the server may still be working on it"))

    async def _break_lock(self, ref: RowRef) -> None:
        """Have the session built again whatever its lock says; READY then, it is ordered once more (IMP 4.4)."""
        engine = self._engine
        engine.emit(Notice(level="warning", text="a prearchive session stays locked without a worker: building anew"))
        async with engine.lanes.commit.slot() as slot:
            try:
                await engine.client.prearchive.rebuild([ref], override_lock=True)
            except (Ambiguous, SessionLocked, NotFound) as error:
                slot.failed(error)

    async def _refusal(self, study: StudyRow, ref: RowRef, status: str) -> XferError:
        """Make an error of a row that archiving left behind. The server's own words may hold labels: not repeated."""
        exists = await find_experiment(self._engine, study) is not None
        if exists and self._engine.spec.overwrite == "none":
            return exists_already(study)
        hint = "the experiment exists and differs" if exists else "see its log in the prearchive"
        kind = Conflict if status.upper() == "CONFLICT" else RemoteError
        return kind(f"the server did not archive the session ({status}): {hint}", path=ref.uri)


def exists_already(study: StudyRow) -> Conflict:
    """The error for a label that is taken in the archive."""
    return Conflict(
        "an archived session of this label exists already: --overwrite append adds to it, or choose another label",
        ref=study.study_uid,
    )


async def find_experiment(engine: Engine, study: StudyRow) -> ExperimentInfo | None:
    """Look an experiment up by label in the study's project."""
    async with engine.lanes.listing.slot():
        return await engine.client.experiments.find(study.project, study.session)


class Verifier:
    """Compares what was sent with all resources of all scans of the experiment (scan ids may have changed)."""

    def __init__(self, engine: Engine, study: StudyRow) -> None:
        self._engine = engine
        self._id = study.id

    async def verify(self) -> StudyRow:
        """Bring the study to its final state.

        Raises:
            StudyStopped: instances that were complete in the prearchive are not in the archive.
        """
        engine = self._engine
        study = engine.manifest.peek(lambda con: studies.get(con, self._id))
        if engine.spec.verify == "none":
            return await self._final(StudyState.UNVERIFIED, "")
        if engine.spec.verify == "count":
            return await self._by_count(study)
        missing = await self._compare(study)
        if missing:
            await engine.clock.sleep(4 * engine.settings.retry.poll_s)
            missing = await self._compare(study)
        if not missing:
            return await self._final(StudyState.VERIFIED, "uid")
        return await self._by_name(study, missing)

    async def _compare(self, study: StudyRow) -> int:
        """Mark every UID the catalogs hold; return how many are still unseen."""
        async for entries in catalog_entries(self._engine, study):
            uids = [entry.uid for entry in entries if entry.uid]
            await self._engine.manifest.write(lambda con, u=uids: evidence.take_archived(con, self._id, u))
        return await self._engine.manifest.read(lambda con: evidence.unverified(con, self._id))

    async def _by_name(self, study: StudyRow, missing: int) -> StudyRow:
        """A script may have given instances new UIDs: names are from before it ran (IMP 7)."""
        before = missing
        async for entries in catalog_entries(self._engine, study):
            names = [entry.name for entry in entries]
            await self._engine.manifest.write(
                lambda con, n=names: evidence.take_archived(con, self._id, n, by_name=True)
            )
        missing = await self._engine.manifest.read(lambda con: evidence.unverified(con, self._id))
        if not missing:
            text = f"study {study.study_uid}: the server changed {before} UIDs; verified by entry name and count"
            self._engine.emit(Notice(level="warning", text=text))
            return await self._final(StudyState.VERIFIED, "name")
        note = "was complete in the prearchive and is not in the archive: removed by a project script, or lost"
        await self._engine.manifest.write(
            lambda con: con.execute(
                "UPDATE file SET state='refused', note=? WHERE study_id=? AND state IN ('sent','stored')",
                (note, self._id),
            )
        )
        return await self._final(StudyState.VERIFIED, "uid")

    async def _by_count(self, study: StudyRow) -> StudyRow:
        found = 0
        async for entries in catalog_entries(self._engine, study):
            found += len(entries)
        wanted = await self._engine.manifest.read(lambda con: evidence.unverified(con, self._id))
        if found < wanted:
            raise StudyStopped(ProtocolViolation(f"the archive holds {found} instances, {wanted} were sent"))
        return await self._final(StudyState.UNVERIFIED, "count")

    async def _final(self, state: StudyState, by: str) -> StudyRow:
        await self._engine.manifest.write(
            lambda con: studies.set_state(con, self._id, state, verified_by=by, error="", detail="")
        )
        return self._engine.manifest.peek(lambda con: studies.get(con, self._id))


async def catalog_entries(engine: Engine, study: StudyRow) -> AsyncIterator[list[CatalogEntry]]:
    """Yield the entries of every resource of every scan of the study's experiment, in lists."""
    async with engine.lanes.listing.slot():
        refs = await engine.client.experiments.catalog_refs(study.accession)

    async def fetch(ref: CatalogRef) -> list[list[CatalogEntry]]:
        async with engine.lanes.listing.slot():
            return [batch async for batch in engine.client.experiments.iter_catalog(study.accession, ref)]

    for part in windows(refs, engine.settings.pool.listing):
        for batches in await side_by_side(fetch, part):
            for batch in batches:
                yield batch
