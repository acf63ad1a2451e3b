"""The running core: one `Core` per emulator holds state, hooks, settings and the background work."""

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import TaskGroup

from xferengine.emulator.hooks import Hooks
from xferengine.emulator.http import Request, Response
from xferengine.emulator.prearc_table import PrearcTable
from xferengine.emulator.settings import CoreSettings
from xferengine.emulator.tracking import Tracker
from xferengine.emulator.world import World

logger = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a pattern for the whole raw path; named groups become `Request.vars`."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler


class Core:
    """State and services shared by all handlers. Made by `open_core` only."""

    def __init__(self, world: World, hooks: Hooks, settings: CoreSettings, tasks: TaskGroup) -> None:
        self.world = world
        self.hooks = hooks
        self.settings = settings
        self.table = PrearcTable(world)
        self.tracker = Tracker(world)
        self._tasks = tasks

    def spawn(self, work: Callable[..., Awaitable[Any]], *args: Any, name: str) -> None:
        """Run work behind the request, as XNAT's queues do; a failure of it is logged, never raised."""
        self._tasks.start_soon(_guarded, work, args, name=name)


async def _guarded(work: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
    try:
        await work(*args)
    except Exception:  # noqa: BLE001  (one failed job must not end the server)
        logger.warning("background work failed", exc_info=True)


@asynccontextmanager
async def open_core(
    world: World, *, hooks: Hooks | None = None, settings: CoreSettings | None = None
) -> AsyncIterator[Core]:
    """Start the core with its background work; on leaving, unfinished work is cancelled as by a kill."""
    from xferengine.emulator.idle import run_idle_timer

    async with anyio.create_task_group() as tasks:
        core = Core(world, hooks or Hooks(), settings or CoreSettings(), tasks)
        core.spawn(run_idle_timer, core, name="idle-timer")
        try:
            yield core
        finally:
            tasks.cancel_scope.cancel()
