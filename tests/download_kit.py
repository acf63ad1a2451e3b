"""Shared by tests of downloads: a seeded emulator, a folder, and what must be equal in the end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from engine_kit import Job, settings_for

from xferengine.emulator.seed import SeededFile
from xferengine.emulator.server import Emulator
from xferengine.jobs.spec import DownloadSpec

__all__ = ["Job", "download_spec", "local_path", "on_disk", "settings_for", "wanted_bytes"]


def download_spec(emulator: Emulator, target: Path, *remotes: str, **changes: Any) -> DownloadSpec:
    """A download of ``remotes`` (of project P by default) into ``target``."""
    base = DownloadSpec(remotes=remotes or (":P",), server_url=emulator.url, target=str(target))
    return msgspec.structs.replace(base, **changes)


def local_path(file: SeededFile) -> str:
    """Where the documented layout puts a seeded file; written apart from the engine's own code."""
    resource = f"resources/{file.resource or file.resource_id}/files/{file.path}"
    if file.level == "project":
        return f"{file.project}/{resource}"
    if file.level == "subject":
        return f"{file.subject}/{resource}"
    if file.level == "experiment":
        return f"{file.experiment}/{resource}"
    if file.level == "scan":
        kind = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in file.child_type)
        folder = f"{file.child_id}-{kind}" if kind else file.child_id
        return f"{file.experiment}/scans/{folder}/{resource}"
    direction = f"/{file.direction}" if file.direction in {"in", "out"} else ""
    return f"{file.experiment}/{file.level}s/{file.child_id}{direction}/{resource}"


def wanted_bytes(files: Iterable[SeededFile]) -> dict[str, bytes]:
    """Local path → content, from the server's disk."""
    return {local_path(file): Path(file.disk_path).read_bytes() for file in files}


def on_disk(folder: Path) -> dict[str, bytes]:
    """Path → content of everything in a folder that is not the engine's own."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".xferengine" not in path.parts
    }
