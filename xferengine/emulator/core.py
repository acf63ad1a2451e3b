"""The running core: one `Core` per emulator holds state, hooks, settings and the background work."""

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from xferengine.emulator.direct_table import LOCATION, DirectTable
from xferengine.emulator.hooks import Hooks
from xferengine.emulator.http import Request, Response
from xferengine.emulator.instances import InstanceCache
from xferengine.emulator.prearc_table import PrearcTable
from xferengine.emulator.records import PrearcRow
from xferengine.emulator.settings import CoreSettings
from xferengine.emulator.tracking import Tracker
from xferengine.emulator.world import World

logger = logging.getLogger(__name__)

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]
RouteSpec = tuple[str, str, Handler]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a pattern for the whole raw path; named groups become `Request.vars`."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler


class Core:
    """State and services shared by all handlers. Made by `routes_core.open_core` only."""

    def __init__(self, world: World, hooks: Hooks, settings: CoreSettings, tasks: TaskGroup) -> None:
        self.world = world
        self.hooks = hooks
        self.settings = settings
        self.table = PrearcTable(world)
        self.direct = DirectTable(world)
        self.tracker = Tracker(world)
        self.instances = InstanceCache()
        self.files_in_use: set[Path] = set()  # the per-file locks (IMP 2.3)
        self.archiving: set[str] = set()  # the archiver's in-memory locks (IMP 2.3)
        self._tasks = tasks

    def spawn(self, work: Callable[..., Awaitable[Any]], *args: Any, name: str) -> None:
        """Run work behind the request, as XNAT's queues do; a failure of it is logged, never raised."""
        self._tasks.start_soon(_guarded, work, args, name=name)

    async def run(self, work: Callable[..., Awaitable[T]], *args: Any, name: str) -> T:
        """Run work that goes on when the request that waits for it is cancelled.

        Raises:
            Exception: Whatever the work raised.
        """
        done = anyio.Event()
        results: list[T] = []
        errors: list[Exception] = []

        async def caught() -> None:
            try:
                results.append(await work(*args))
            except Exception as error:  # noqa: BLE001  (raised again below)
                errors.append(error)
            finally:
                done.set()

        self._tasks.start_soon(caught, name=name)
        await done.wait()
        if errors:
            raise errors[0]
        return results[0]

    def folder_of(self, row: PrearcRow) -> Path:
        """Return where the files of a prearchive or direct-archive session lie."""
        location = row.fields.get(LOCATION)
        return self.world.data_dir / location if location else self.world.prearc_dir(row)

    def leak_lock_file(self, row: PrearcRow) -> None:
        """Leave a lock file behind, on disk: it outlives restarts (IMP 2.5)."""
        path = self._lock_path(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def has_lock_file(self, row: PrearcRow) -> bool:
        """Say whether an instance is being written, or a lock file was leaked."""
        return self.table.lock_files.get(row.key, 0) > 0 or self._lock_path(row).exists()

    def _lock_path(self, row: PrearcRow) -> Path:
        return self.world.data_dir / "cache" / "prearc_locks" / row.key / "leaked.lock"

    def inject_foreign_row(self, project: str, study_uid: str, label: str) -> PrearcRow:
        """Let a session of another sender appear (IMP 10.16)."""
        row = PrearcRow(project=project, timestamp="", folder=label, name=label, tag=study_uid,
                        subject="foreign", source="foreign", autoarchive="Manual")  # fmt: skip
        return self.table.join(row)


async def _guarded(work: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
    try:
        await work(*args)
    except Exception:  # one failed job must not end the server
        logger.warning("background work failed", exc_info=True)
