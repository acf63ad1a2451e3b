"""What is remembered of a server between jobs: its cost model and the largest body it takes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from xferengine.kit.atomicfile import map_disk_errors, write_atomic
from xferengine.schedule.sizer import Sizer
from xferengine.settings.slices import Settings


def _path(settings: Settings) -> Path:
    name = hashlib.sha256(settings.server.url.encode()).hexdigest()[:16]
    return settings.state_dir / "servers" / f"{name}.json"


def load_sizer(settings: Settings) -> Sizer:
    """Return the cost model of the server as the last job left it, or a fresh one."""
    path = _path(settings)
    try:
        state = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return Sizer(settings.pool)
    except (OSError, msgspec.MsgspecError):
        # A damaged memory is only a worse first guess.
        return Sizer(settings.pool)
    return Sizer.from_state(settings.pool, state)


def save_sizer(settings: Settings, sizer: Sizer) -> None:
    """Write the cost model for the next job.

    Raises:
        DiskFull, BadInput: the state folder cannot be written.
    """
    path = _path(settings)
    with map_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(path, msgspec.json.encode(sizer.to_state()))
