"""What is remembered of a server between jobs: its cost model, the largest body it takes, how much it bore at once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from xferengine.kit.atomicfile import map_disk_errors, write_atomic
from xferengine.schedule.lanes import Lane, Lanes
from xferengine.schedule.routes import RouteModel
from xferengine.schedule.sizer import Sizer
from xferengine.settings.slices import PoolConfig, Settings

ENOUGH = 20
"""Requests after which a lane's limit says something about the server."""


class ServerMemory(msgspec.Struct, frozen=True, kw_only=True):
    """One server's file in the state folder; limits of 0 are not known."""

    sizer: dict[str, Any] = {}
    resources: dict[str, Any] = {}
    """Cost model of bundles that go into resources."""
    routes: dict[str, Any] = {}
    bulk: int = 0
    commit: int = 0


def _path(settings: Settings) -> Path:
    name = hashlib.sha256(settings.server.url.encode()).hexdigest()[:16]
    return settings.state_dir / "servers" / f"{name}.json"


def recall(settings: Settings) -> ServerMemory:
    """Return what the last job left, or nothing; a damaged memory is only a worse first guess."""
    try:
        return msgspec.json.decode(_path(settings).read_bytes(), type=ServerMemory)
    except (OSError, msgspec.MsgspecError):
        return ServerMemory()


FILES_FACTOR = 16
"""A bundle of a resource may have so many times the files of an import: each bundle costs the server a whole catalog
(FIL 4.3), each instance of an import its own work."""


def sizer_of(settings: Settings, memory: ServerMemory) -> Sizer:
    """Return the cost model of the server as the last job left it, or a fresh one."""
    return Sizer.from_state(settings.pool, memory.sizer) if memory.sizer else Sizer(settings.pool)


def resource_sizer_of(settings: Settings, memory: ServerMemory) -> Sizer:
    """Return the cost model of bundles that go into resources; a bundle costs something else there than an import."""
    pool = settings.pool
    pool = msgspec.structs.replace(pool, bundle_files_max=pool.bundle_files_max * FILES_FACTOR)
    return Sizer.from_state(pool, memory.resources)


def pool_of(settings: Settings, memory: ServerMemory) -> PoolConfig:
    """Return the pool's settings with first limits as the last job found them good, within the bounds that are set."""
    pool = settings.pool
    bulk = min(memory.bulk or pool.workers, pool.workers_max)
    commit = min(memory.commit or pool.commit, pool.commit_max)
    return msgspec.structs.replace(pool, workers=bulk, commit=commit)


def remember(
    settings: Settings, memory: ServerMemory, *, sizer: Sizer, resources: Sizer, routes: RouteModel, lanes: Lanes
) -> None:
    """Write what this job learned for the next one.

    Raises:
        DiskFull, BadInput: the state folder cannot be written.
    """

    def learned(lane: Lane, before: int) -> int:
        picture = lane.statistics()
        return picture.limit if picture.granted_count >= ENOUGH else before

    new = ServerMemory(
        sizer=sizer.to_state(),
        resources=resources.to_state(),
        routes=routes.to_state(),
        bulk=learned(lanes.bulk, memory.bulk),
        commit=learned(lanes.commit, memory.commit),
    )
    path = _path(settings)
    with map_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(path, msgspec.json.encode(new))
