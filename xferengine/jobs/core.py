"""What every verb needs while it talks to a server, put together in the order in which the parts outlive each other."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from xferengine.jobs.serverstate import pool_of, recall, remember, resource_sizer_of, sizer_of
from xferengine.jobs.verb import Life
from xferengine.kit.budget import ByteBudget
from xferengine.kit.clock import Clock
from xferengine.kit.ratelimit import RateLimiter, parse_timetable
from xferengine.kit.threads import BlockingPool
from xferengine.manifest.store import Manifest
from xferengine.model.events import Emit
from xferengine.schedule.breaker import Breaker
from xferengine.schedule.keys import ExclusiveKeys
from xferengine.schedule.lanes import Lane, Lanes
from xferengine.schedule.retry import RetryPolicy
from xferengine.schedule.routes import RouteModel
from xferengine.schedule.sizer import Sizer
from xferengine.schedule.stop import ByteCap, StopSignal
from xferengine.settings.slices import Settings
from xferengine.xnat.client import XnatClient, open_client


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """One server in one run of one job."""

    job_id: str
    settings: Settings
    manifest: Manifest
    client: XnatClient
    clock: Clock
    emit: Emit
    stop: StopSignal
    lanes: Lanes
    keys: ExclusiveKeys
    retry: RetryPolicy
    breaker: Breaker
    sizer: Sizer
    resource_sizer: Sizer
    """Of bundles that go into resources."""
    cap: ByteCap
    limiter: RateLimiter | None
    budget: ByteBudget
    threads: BlockingPool
    routes: RouteModel


@asynccontextmanager
async def open_core(life: Life, settings: Settings | None = None) -> AsyncIterator[Core]:
    """Log in and open what a job shares; at the end remember what was learned of the server.

    Args:
        settings: of another server than the job's own (its other end).

    Raises:
        SettingsError: a limit or the server's settings cannot be used.
        LoginRefused, ConnectFailed: the server does not take us, or is not there.
    """
    settings, clock = settings or life.settings, life.clock
    table = parse_timetable(settings.pool.bwlimit)
    breaker = Breaker(settings.retry, clock, emit=life.emit)
    retry = RetryPolicy(settings.retry, clock, rng=random.Random())
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            open_client(settings.server, settings.credentials, settings.timeouts, clock=clock, policy=retry)
        )
        threads = await stack.enter_async_context(BlockingPool())
        memory = recall(settings)
        lanes = Lanes(pool_of(settings, memory), clock=clock, emit=life.emit, breaker=breaker)
        core = Core(
            job_id=life.job_id,
            settings=settings,
            manifest=life.manifest,
            client=client,
            clock=clock,
            emit=life.emit,
            stop=life.stop,
            lanes=lanes,
            keys=ExclusiveKeys(),
            retry=retry,
            breaker=breaker,
            sizer=sizer_of(settings, memory),
            resource_sizer=resource_sizer_of(settings, memory),
            cap=ByteCap(settings.pool.max_bytes, life.stop),
            limiter=None if table.is_unlimited else RateLimiter(table, clock),
            budget=ByteBudget(settings.pool.budget_bytes),
            threads=threads,
            routes=RouteModel.from_state(
                settings.pool,
                memory.routes,
                workers=lambda: lanes.bulk.statistics().limit,
                backlog=lambda: _backlog(lanes.bulk),
            ),
        )
        try:
            yield core
        finally:
            remember(
                settings,
                memory,
                sizer=core.sizer,
                resources=core.resource_sizer,
                routes=core.routes,
                lanes=lanes,
            )


def _backlog(lane: Lane) -> int:
    picture = lane.statistics()
    return picture.waiting_count + picture.in_flight
