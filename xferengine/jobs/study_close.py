"""From the last answered bundle to a prearchive session whose every file was seen: barrier, build, gate.

    sent → build → list every file of every scan → missing or torn? send those again → build …   three rounds at most

``action=build`` and never ``action=commit``: on auto-archive projects, the default, commit archives (IMP 4.2).
"""

from __future__ import annotations

import sqlite3

from xferengine.errors import (
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
from xferengine.jobs.rows import Stage, find_row, row_ref, row_status, stage_of
from xferengine.jobs.study_send import Sender
from xferengine.kit.fanout import side_by_side, windows
from xferengine.manifest import evidence, studies, units
from xferengine.manifest.evidence import Seen
from xferengine.manifest.rows import StudyRow
from xferengine.model.events import Notice
from xferengine.model.states import StudyState
from xferengine.xnat.prearchive import ResourceCount, RowRef

ROUNDS = 3


class Closer:
    """Takes one study from SENT to GATED.

    Cancellation: the manifest keeps the last step reached; each step can be done again.
    """

    def __init__(self, engine: Engine, study: StudyRow, sender: Sender) -> None:
        self._engine = engine
        self._id = study.id
        self._sender = sender

    async def close(self) -> StudyRow:
        """Build, compare, send again what is missing; return the study in state GATED.

        Raises:
            StudyStopped: nothing of it is kept by the server, or the row is not ours alone.
            Drained: a stop was asked for.
        """
        while True:
            study = self._get()
            if not study.row_uri and (study.settled or study.round >= ROUNDS):
                raise StudyStopped(await self._all_refused())
            if not study.row_uri:
                await self._after_lost_answers(study)
                continue
            self._engine.check_feeding()
            await self._build(study)
            again = await self._gate(study)
            if not again:
                return await self._finish()
            if study.round >= ROUNDS:
                return await self._give_up_missing()
            await self._engine.manifest.write(
                lambda con, n=study.round + 1: studies.set_state(con, self._id, StudyState.SENDING, round=n)
            )
            await self._sender.send()

    def _get(self) -> StudyRow:
        return self._engine.manifest.peek(lambda con: studies.get(con, self._id))

    async def _after_lost_answers(self, study: StudyRow) -> None:
        """Answers were lost and no row is known: adopt one that is there by now, else nothing arrived: send again."""
        engine = self._engine
        await engine.clock.sleep(engine.settings.retry.settle_s)
        row = await find_row(engine, study)
        if row is not None and row.source == engine.source:
            uri = row.ref.uri
            await engine.manifest.write(lambda con: studies.update(con, self._id, row_uri=uri, owned=True))
            return

        def again(con: sqlite3.Connection) -> None:
            units.resend(con, self._id, None)
            studies.set_state(con, self._id, StudyState.SENDING, round=study.round + 1, settled=True)

        await engine.manifest.write(again)
        await self._sender.send()

    async def _all_refused(self) -> XferError:
        """Nothing of the study is kept; a row of ours that was left behind is reported with it."""
        row = await find_row(self._engine, self._get())
        if row is not None and row.source == self._engine.source:
            await self._engine.manifest.write(
                lambda con: studies.update(con, self._id, row_uri=row.ref.uri, owned=True)
            )
        count = await self._engine.manifest.write(lambda con: evidence.refuse_unseen(con, self._id))
        if not count:
            return Rejected("the server stored none of its files; each of them is named")
        return Conflict(
            f"the server kept none of {count} instances: a series filter or script of the site refuses them"
        )

    async def _build(self, study: StudyRow) -> None:
        """Build the session's XML and wait until the row is READY (IMP 4.2, 2.2)."""
        engine, ref = self._engine, row_ref(study)
        pause = engine.settings.retry.settle_s
        if not study.settled:
            await engine.clock.sleep(pause)
        waited, busy_s, attempt = 0.0, 0.0, 0
        while waited < engine.settings.timeouts.think_commit_s * 2:
            attempt += 1
            is_stale = busy_s > engine.locks.patience_s(self._id)
            refusal = await self._order_build(ref, break_lock=is_stale)
            busy_s = 0.0 if is_stale else busy_s
            row = await row_status(engine, ref)
            if row is None:
                raise StudyStopped(
                    Conflict("its prearchive session is gone: someone else archived, moved or deleted it")
                )
            if refusal is not None:
                raise StudyStopped(refusal)
            stage = stage_of(row)
            if stage is Stage.READY:
                await engine.manifest.write(
                    lambda con: studies.set_state(con, self._id, StudyState.BUILT, settled=True)
                )
                return
            if stage is Stage.ERROR and attempt > 1:
                raise StudyStopped(ServerFault("the server could not build the session: see its log in the prearchive"))
            await engine.clock.sleep(pause)
            waited, busy_s = waited + pause, busy_s + pause
            pause = min(pause * 1.5, 8 * engine.settings.retry.settle_s)
            engine.check_feeding()
        raise StudyStopped(ServerFault("the prearchive session stays busy: build was asked for again and again"))

    async def _order_build(self, ref: RowRef, *, break_lock: bool) -> NotFound | None:
        """Ask for a build; a lost or refused answer is no finding, the row's status is looked at afterwards.

        Returns:
            A 404, which is one when the row is still there.
        """
        engine = self._engine
        async with engine.lanes.commit.slot() as slot:
            try:
                if break_lock:
                    await engine.client.prearchive.rebuild([ref], override_lock=True)
                else:
                    with engine.locks.order(self._id):
                        await engine.client.prearchive.build(ref)
            except NotFound as error:
                slot.failed(error)
                return error
            except RemoteError as error:
                if error.disposition not in {Disposition.RETRY, Disposition.LOOK}:
                    raise
                slot.failed(error)
                engine.emit(Notice(level="info", text=f"build: {error.kind}, looking at the row"))
        return None

    async def _gate(self, study: StudyRow) -> bool:
        """Compare all listings with the manifest; True when something was planned again."""
        engine, ref = self._engine, row_ref(study)
        await engine.manifest.write(lambda con: evidence.forget_stored(con, self._id))
        async with engine.lanes.listing.slot():
            places = [p for p in await engine.client.prearchive.resources(ref) if p.category == "scans"]

        async def look(place: ResourceCount) -> Seen:
            async with engine.lanes.listing.slot():
                listing = await engine.client.prearchive.scan_files(ref, place.cat_id, place.label)
            return await engine.manifest.write(lambda con: evidence.take_listing(con, self._id, listing))

        rewritten = 0
        again: list[int] = []
        for part in windows(places, engine.settings.pool.listing):
            for place, seen in zip(part, await side_by_side(look, part), strict=True):
                rewritten += seen.rewritten
                again += await self._judge(study, ref, place.cat_id, seen)
        return await self._plan_again(study, again, rewritten)

    async def _judge(self, study: StudyRow, ref: RowRef, scan: str, seen: Seen) -> list[int]:
        """Torn or doubled entries: delete that scan and send it whole; names of others: not ours to delete."""
        engine = self._engine
        if seen.foreign and not (study.resent or seen.torn) and engine.spec.existing_row != "join":
            raise StudyStopped(
                Conflict(f"scan {scan} holds {len(seen.foreign)} files that this job did not send: another sender?")
            )
        leftovers = seen.has_leftovers and study.owned and study.round == 0
        if not seen.torn and not leftovers and not (seen.foreign and study.resent and study.owned):
            return []
        if not study.owned:
            return seen.torn
        if study.round >= ROUNDS:
            raise StudyStopped(
                Conflict(
                    f"scan {scan} holds {len(seen.foreign)} foreign and {len(seen.torn)} damaged files, in every round"
                )
            )
        ids = await engine.manifest.read(lambda con: evidence.series_files(con, self._id, seen.series))
        async with engine.lanes.commit.slot():
            await engine.client.prearchive.delete_scan(ref, scan)
        return ids or seen.torn

    async def _plan_again(self, study: StudyRow, again: list[int], rewritten: int) -> bool:
        def write(con: sqlite3.Connection) -> tuple[int, int]:
            missing = con.execute(
                "SELECT count(*) FROM file WHERE study_id=? AND state='sent'", (self._id,)
            ).fetchone()[0]
            if study.round < ROUNDS and missing:
                units.resend(con, self._id, None)
            if again:
                units.resend(con, self._id, again)
            return missing, len(again)

        missing, damaged = await self._engine.manifest.write(write)
        if missing or damaged:
            self._engine.emit(
                Notice(level="warning", text=f"study {study.study_uid}: {missing} files missing and {damaged} to be"
                       f" replaced in the prearchive (round {min(study.round + 1, ROUNDS)} of {ROUNDS})")
            )  # fmt: skip
        if rewritten:
            text = "the server rewrites headers of what it stores (site script): sizes differ, UIDs are compared"
            self._engine.tell_once("rewritten", Notice(level="info", text=text))
        return bool(missing or damaged)

    async def _finish(self) -> StudyRow:
        lost = await self._engine.manifest.read(
            lambda con: con.execute(
                "SELECT count(*) FROM file WHERE study_id=? AND (state='planned'"
                " OR (state='failed' AND note LIKE 'SourceChanged%'))",
                (self._id,),
            ).fetchone()[0]
        )
        if lost:
            raise StudyStopped(
                ProtocolViolation(f"{lost} files changed or vanished on disk while being sent: the session is left in"
                                  " the prearchive; restore the files and run: xferengine jobs retry")
            )  # fmt: skip
        await self._engine.manifest.write(lambda con: studies.set_state(con, self._id, StudyState.GATED))
        return self._get()

    async def _give_up_missing(self) -> StudyRow:
        """Three rounds accepted and not kept: that is a refusal without an error (design 6)."""
        refused = await self._engine.manifest.write(lambda con: evidence.refuse_unseen(con, self._id))
        study = self._get()
        kept = self._engine.manifest.peek(lambda con: studies.file_counts(con, self._id).get("stored", 0))
        if not kept:
            raise StudyStopped(RemoteError(f"the server kept none of {refused} instances it accepted"))
        self._engine.emit(
            Notice(level="warning", text=f"study {study.study_uid}: {refused} instances refused by the server")
        )
        return await self._finish()
