"""Puts the parts of one running job together, in the order in which they must outlive each other."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import anyio

from xferengine.jobs.attempt import SHIELD_S
from xferengine.jobs.engine import Engine, Workload
from xferengine.jobs.locks import LockJudge, began_anew, note_login
from xferengine.jobs.serverstate import pool_of, recall, remember, sizer_of
from xferengine.jobs.spec import UploadSpec
from xferengine.kit.budget import ByteBudget
from xferengine.kit.clock import Clock
from xferengine.kit.ratelimit import RateLimiter, parse_timetable
from xferengine.kit.threads import BlockingPool
from xferengine.manifest.store import Manifest
from xferengine.model.events import Emit
from xferengine.schedule.breaker import Breaker
from xferengine.schedule.keys import ExclusiveKeys
from xferengine.schedule.lanes import Lanes
from xferengine.schedule.retry import RetryPolicy
from xferengine.schedule.stop import ByteCap, StopSignal
from xferengine.settings.slices import Settings
from xferengine.store.reader import SourceReader
from xferengine.streams.bundle import BundleKit, LoopGuard
from xferengine.xnat.client import XnatClient, open_client


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the runner has before there is a server."""

    job_id: str
    spec: UploadSpec
    settings: Settings
    manifest: Manifest
    reader: SourceReader
    emit: Emit
    stop: StopSignal
    clock: Clock


@asynccontextmanager
async def open_engine(parts: Parts) -> AsyncIterator[Engine]:
    """Log in and open what a job shares; at the end remember what was learned of the server.

    Raises:
        SettingsError: a limit or the server's settings cannot be used.
        LoginRefused, ConnectFailed: the server does not take us, or is not there.
    """
    settings, clock = parts.settings, parts.clock
    table = parse_timetable(settings.pool.bwlimit)
    breaker = Breaker(settings.retry, clock, emit=parts.emit)
    retry = RetryPolicy(settings.retry, clock, rng=random.Random())
    client: XnatClient | None = None
    try:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(
                open_client(settings.server, settings.credentials, settings.timeouts, clock=clock, policy=retry)
            )
            threads = await stack.enter_async_context(BlockingPool())
            memory = recall(settings)
            sizer = sizer_of(settings, memory)
            lanes = Lanes(pool_of(settings, memory), clock=clock, emit=parts.emit, breaker=breaker)
            locks = LockJudge(client, settings, began_anew=await began_anew(parts.manifest, client))
            await note_login(parts.manifest, client.login_id)
            bundles = BundleKit(
                reader=parts.reader,
                budget=ByteBudget(settings.pool.budget_bytes),
                cfg=settings.pool,
                threads=threads,
                guard=LoopGuard(),
            )
            try:
                yield Engine(
                    job_id=parts.job_id,
                    spec=parts.spec,
                    settings=settings,
                    manifest=parts.manifest,
                    client=client,
                    clock=clock,
                    emit=parts.emit,
                    stop=parts.stop,
                    lanes=lanes,
                    keys=ExclusiveKeys(),
                    retry=retry,
                    breaker=breaker,
                    sizer=sizer,
                    cap=ByteCap(settings.pool.max_bytes, parts.stop),
                    limiter=None if table.is_unlimited else RateLimiter(table, clock),
                    reader=parts.reader,
                    work=Workload(),
                    locks=locks,
                    bundles=bundles,
                )
            finally:
                remember(settings, memory, sizer, lanes)
    finally:
        if client is not None:
            with anyio.move_on_after(SHIELD_S, shield=True):
                await note_login(parts.manifest, client.login_id)
