"""``prearchive list|archive|rebuild|move|delete|wait``: working on sessions of the prearchive by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from xferengine.errors import Ambiguous, Conflict, RemoteError, SettingsError, XferError
from xferengine.jobs.connect import connected
from xferengine.jobs.rows import Stage, stage_of
from xferengine.kit.clock import SystemClock
from xferengine.settings.slices import Settings
from xferengine.xnat.client import XnatClient
from xferengine.xnat.faults import SessionLocked
from xferengine.xnat.prearchive import PrearcRow, RowRef


class RowOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one row."""

    uri: str
    session: str
    is_done: bool
    detail: str


Step = Callable[[XnatClient, PrearcRow], Awaitable[str]]
"""Works on one row and returns what a person reads of it; raises when it failed."""


async def list_rows(settings: Settings, project: str) -> list[PrearcRow]:
    """Return the rows of one project, oldest first."""
    async with connected(settings) as client:
        rows = await client.prearchive.list_rows(project)
    return sorted((row for row in rows if row.project == project), key=lambda row: row.ref.timestamp)


async def _each(settings: Settings, project: str, names: Sequence[str], step: Step) -> list[RowOutcome]:
    """Do ``step`` for each named row, one after another; a failing one does not stop the rest."""
    outcomes: list[RowOutcome] = []
    async with connected(settings) as client:
        rows = await client.prearchive.list_rows(project)
        for row in _select([row for row in rows if row.project == project], names):
            try:
                detail, is_done = await step(client, row), True
            except XferError as error:
                detail, is_done = error.message, False
            outcomes.append(RowOutcome(uri=row.ref.uri, session=row.name, is_done=is_done, detail=detail))
    return outcomes


def _select(rows: list[PrearcRow], names: Sequence[str]) -> list[PrearcRow]:
    """Return the rows that ``names`` mean: session labels, URLs, or ``all``.

    Raises:
        SettingsError: a name that fits none, or several (then only the URL is exact).
    """
    if list(names) == ["all"]:
        return rows
    chosen: list[PrearcRow] = []
    for name in names:
        found = [row for row in rows if name in {row.name, row.ref.folder, row.ref.uri, row.ref.src}]
        if len(found) != 1:
            count = "no" if not found else f"{len(found)}"
            raise SettingsError(f"{count} sessions in the prearchive are called {name!r}: give the URL of one")
        chosen += found
    return chosen


async def archive(
    settings: Settings, project: str, names: Sequence[str], *, overwrite: str = "none"
) -> list[RowOutcome]:
    """Archive sessions, one row per call, and wait for each (IMP 3)."""

    async def step(client: XnatClient, row: PrearcRow) -> str:
        if overwrite == "none" and await client.experiments.find(project, row.name) is not None:
            raise Conflict("an archived session of this label exists already (--overwrite append|delete)")
        try:
            await client.archive.archive(row.ref, "delete" if overwrite == "delete" else None)
        except (Ambiguous, SessionLocked):
            await _until_settled(client, row.ref, settings.timeouts.think_commit_s, settings.retry.poll_s)
        left = await client.prearchive.get_row(row.ref)
        info = await client.experiments.find(project, row.name)
        if left is not None or info is None:
            raise RemoteError(
                f"not archived ({left.status if left else 'its row is gone'}); see its log in the prearchive"
            )
        return info.uri

    return await _each(settings, project, names, step)


async def rebuild(
    settings: Settings, project: str, names: Sequence[str], *, override_lock: bool = False
) -> list[RowOutcome]:
    """Build the XML of sessions anew; never archives."""

    async def step(client: XnatClient, row: PrearcRow) -> str:
        if override_lock:
            await client.prearchive.rebuild([row.ref], override_lock=True)
        else:
            await client.prearchive.build(row.ref)
        stage = await _until_settled(client, row.ref, settings.timeouts.think_commit_s, settings.retry.poll_s)
        if stage is not Stage.READY:
            raise RemoteError(f"not built: the session is {stage}")
        return "ready"

    return await _each(settings, project, names, step)


async def move(settings: Settings, project: str, names: Sequence[str], to_project: str) -> list[RowOutcome]:
    """Move sessions to the prearchive of another project."""

    async def step(client: XnatClient, row: PrearcRow) -> str:
        target = await client.prearchive.move(row.ref, to_project)
        if await client.prearchive.get_row(row.ref) is not None:
            raise SessionLocked("not moved: the session is being worked on by the server")
        return target.uri

    return await _each(settings, project, names, step)


async def delete(settings: Settings, project: str, names: Sequence[str]) -> list[RowOutcome]:
    """Delete sessions from the prearchive, and look whether they are gone: locked ones answer 200 and stay."""

    async def step(client: XnatClient, row: PrearcRow) -> str:
        await client.prearchive.delete(row.ref)
        if await client.prearchive.get_row(row.ref) is not None:
            raise SessionLocked("not deleted: the session is being worked on by the server")
        return "deleted"

    return await _each(settings, project, names, step)


async def wait(settings: Settings, project: str, names: Sequence[str], *, limit_s: float = 3600.0) -> list[RowOutcome]:
    """Wait until sessions are ready, gone, or in trouble."""

    async def step(client: XnatClient, row: PrearcRow) -> str:
        stage = await _until_settled(client, row.ref, limit_s, settings.retry.poll_s * 4)
        if stage in {Stage.CONFLICT, Stage.ERROR}:
            raise RemoteError(f"the session is in {stage}")
        return "gone" if stage is None else str(stage)

    return await _each(settings, project, names, step)


async def _until_settled(client: XnatClient, ref: RowRef, limit_s: float, poll_s: float) -> Stage | None:
    """Poll a row until the server does nothing with it; None when it is gone."""
    clock = SystemClock()
    ends, pause = clock.monotonic() + limit_s, poll_s
    while True:
        row = await client.prearchive.get_row(ref)
        if row is None:
            return None
        stage = stage_of(row)
        if stage not in {Stage.BUSY, Stage.RECEIVING}:
            return stage
        if clock.monotonic() >= ends:
            raise RemoteError(f"still {row.status} after {limit_s:g} s")
        await clock.sleep(pause)
        pause = min(pause * 1.5, 20 * poll_s)
