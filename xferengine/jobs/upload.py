"""The verb ``upload``: many studies side by side, biggest first, until nothing is open or a stop is asked for."""

from __future__ import annotations

import anyio

from xferengine.errors import Disposition, XferError
from xferengine.jobs.engine import Drained, Engine, leaves
from xferengine.jobs.study import StudyRun
from xferengine.manifest import studies, units
from xferengine.manifest.rows import StudyRow
from xferengine.model.events import Notice


class UploadRun:
    """Runs all open studies of the manifest.

    At most ``studies_in_flight`` are under way; what waits is in the manifest, not in memory.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._active: set[int] = set()
        self._left: set[int] = set()
        """Studies that this run is done with and that are still open (``--no-wait``)."""
        self._failures: dict[int, int] = {}
        self._started = 0
        self._changed = anyio.Event()

    async def run(self) -> None:
        """Work until no study is open, or the stop signal ends the feeding and what is in flight has ended.

        Raises:
            XferError: of disposition FATAL; the rest was cancelled and stands in the manifest.
        """
        async with anyio.create_task_group() as tg:
            while self._engine.stop.is_feeding:
                self._changed = anyio.Event()
                room = self._engine.settings.pool.studies_in_flight - len(self._active)
                rows = await self._next(room) if room > 0 else []
                if not rows and not self._active and room > 0:
                    return
                for row in rows:
                    self._active.add(row.id)
                    self._started += 1
                    tg.start_soon(self._one, row, self._started, name=f"study-{row.id}")
                if self._active and (not rows or len(rows) >= room):
                    await self._wait_change()

    async def _next(self, room: int) -> list[StudyRow]:
        return await self._engine.manifest.read(lambda con: studies.next_open(con, self._active | self._left, room))

    async def _wait_change(self) -> None:
        """Wait until a study ends or a stop is asked for."""
        async with anyio.create_task_group() as tg:

            async def stop() -> None:
                await self._engine.stop.wait()
                tg.cancel_scope.cancel()

            tg.start_soon(stop)
            await self._changed.wait()
            tg.cancel_scope.cancel()

    async def _one(self, row: StudyRow, priority: int) -> None:
        try:
            await StudyRun(self._engine, row, priority).run()
            self._left.add(row.id)
        except* Drained:
            pass
        except* XferError as group:
            await self._judge(row, group)
        finally:
            self._active.discard(row.id)
            self._changed.set()

    async def _judge(self, row: StudyRow, group: BaseExceptionGroup[XferError]) -> None:
        """An error that is not about the job ends its study only."""
        errors = [error for error in leaves(group) if isinstance(error, XferError)]
        fatal = [error for error in errors if error.disposition is Disposition.FATAL]
        if fatal:
            raise fatal[0]
        if not await self._may_try_again(row, errors[0]):
            await StudyRun(self._engine, row, 0).stop(errors[0])

    async def _may_try_again(self, row: StudyRow, error: XferError) -> bool:
        """A server that is down for a while is no fault of a study: it stays open, and the breaker holds it.

        Failures while the breaker is closed are counted, so that what only this study meets ends some time.
        """
        engine = self._engine
        if error.disposition not in {Disposition.RETRY, Disposition.LOOK}:
            return False
        if not engine.breaker.is_open:
            self._failures[row.id] = self._failures.get(row.id, 0) + 1
            if self._failures[row.id] > engine.settings.retry.breaker_failures:
                return False
        await engine.manifest.write(lambda con: units.recover(con, row.id))
        engine.emit(Notice(level="info", text=f"study {row.study_uid}: {error.kind}, it is taken up again"))
        await engine.clock.sleep(engine.settings.retry.settle_s)
        return True
