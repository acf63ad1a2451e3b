"""Puts the parts of a running upload together, around what every verb shares (``core``)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields

import anyio

from xferengine.jobs.attempt import SHIELD_S
from xferengine.jobs.core import Core, open_core
from xferengine.jobs.engine import Engine, Workload
from xferengine.jobs.locks import LockJudge, began_anew, note_login
from xferengine.jobs.spec import UploadSpec
from xferengine.jobs.verb import Life
from xferengine.store.reader import SourceReader
from xferengine.streams.bundle import BundleKit, LoopGuard


@asynccontextmanager
async def open_engine(life: Life, spec: UploadSpec, reader: SourceReader) -> AsyncIterator[Engine]:
    """Log in and open what an upload shares; at the end remember what was learned of the server.

    Raises:
        As ``open_core``.
    """
    core: Core | None = None
    try:
        async with open_core(life) as core:
            settings, client = core.settings, core.client
            locks = LockJudge(client, settings, began_anew=await began_anew(life.manifest, client))
            await note_login(life.manifest, client.login_id)
            bundles = BundleKit(
                reader=reader, budget=core.budget, cfg=settings.pool, threads=core.threads, guard=LoopGuard()
            )
            yield Engine(
                **{part.name: getattr(core, part.name) for part in fields(core)},
                spec=spec,
                reader=reader,
                work=Workload(),
                locks=locks,
                bundles=bundles,
            )
    finally:
        if core is not None:
            with anyio.move_on_after(SHIELD_S, shield=True):
                await note_login(life.manifest, core.client.login_id)
