"""Opens the core and lists its routes: import, prearchive, archive services, status, direct archive.

`server.py` tries the routes in order with `Route.pattern.fullmatch(raw path)`; patterns carry their prefix
(``/data``, ``/REST`` or ``/xapi``). Names matched by groups go into `Request.vars`.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from xferengine.emulator import archive_service, batch, direct, importer, prearc_files, prearchive, status
from xferengine.emulator.core import Core, Route
from xferengine.emulator.hooks import Hooks
from xferengine.emulator.idle import run_idle_timer
from xferengine.emulator.settings import CoreSettings
from xferengine.emulator.world import World

_MODULES = (importer, archive_service, batch, prearc_files, prearchive, status, direct)


@asynccontextmanager
async def open_core(
    world: World, *, hooks: Hooks | None = None, settings: CoreSettings | None = None
) -> AsyncIterator[Core]:
    """Start the core with its background work; on leaving, unfinished work is cancelled as by a kill.

    Rows stay in the state the last process left them in, as on a real server whose queues are not persistent (IMP 3.4):
    QUEUED_* and BUILDING rows are unlocked, so any action takes them on; a row of a dead worker (``_BUILDING``,
    ``_ARCHIVING``) is freed by rebuild with overrideLock (IMP 4.4), or by the next instance (IMP 2.2).
    """
    async with anyio.create_task_group() as tasks:
        core = Core(world, hooks or Hooks(), settings or CoreSettings(), tasks)
        core.table.sweep_orphans()
        core.spawn(run_idle_timer, core, name="idle-timer")
        try:
            yield core
        finally:
            tasks.cancel_scope.cancel()


def routes(core: Core) -> list[Route]:
    """Return every route of the core, most specific first."""
    found: list[Route] = []
    for module in _MODULES:
        for method, pattern, handler in module.routes(core):
            prefix = "" if pattern.startswith("/xapi") else "/(?:data|REST)"
            found.append(Route(method, re.compile(prefix + pattern), handler))
    return found
