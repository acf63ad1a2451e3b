"""Shared by the tests of ``upload-files``: local trees, what lies in a resource, and jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine_kit import settings_for

from xferengine.emulator.seed import SeedPlace, SeedShape, put_file, seed_project
from xferengine.emulator.server import Emulator
from xferengine.jobs.plan import Confirm, RunOptions
from xferengine.jobs.runner import run_job
from xferengine.jobs.spec import FilesSpec, JobReport
from xferengine.model.events import Event, Summary
from xferengine.settings.slices import PoolConfig

SESSION = ":P/P_S001/P_E001"
RESOURCE = f"{SESSION}/NOTES"
PLACE = SeedPlace("P", "P_S001", "P_E001")


def seed(emulator: Emulator, **shape: Any) -> None:
    """One session P_E001 of subject P_S001 with scans 1 and 2."""
    seed_project(emulator, "P", SeedShape(**{"files": 1, **shape}))


def write_tree(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files below a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def on_disk(emulator: Emulator, label: str, *, where: str = "") -> dict[str, bytes]:
    """Files of the resources of that label on the server's disk, by path; ``where`` is a part of the folder's path."""
    found: dict[str, bytes] = {}
    for folder in sorted((emulator.world.data_dir / "archive").rglob(label)):
        if folder.is_dir() and where in str(folder):
            for path in sorted(folder.rglob("*")):
                if path.is_file() and not path.name.endswith("_catalog.xml"):
                    found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def catalogued(emulator: Emulator, label: str) -> dict[str, str]:
    """Path → digest of what the resource of that label lists."""
    (resource,) = [r for r in emulator.world.resources.values() if r.label == label]
    return {path: entry.digest for path, entry in emulator.world.entries(resource).items()}


def puts(emulator: Emulator) -> list[Any]:
    """Requests that brought files."""
    return [served for served in emulator.requests.matching("/files/", "PUT") if "inbody" in served.query]


class FilesJob:
    """One ``upload-files`` job and what it said."""

    def __init__(self, emulator: Emulator, state: Path, paths: list[Path], remote: str = RESOURCE, **spec: Any) -> None:
        pool = PoolConfig(bundle_bytes=200_000, bundle_bytes_max=200_000, bundle_files_max=4, grace_s=5.0)
        self.settings = settings_for(emulator, state, pool=pool)
        self.spec = FilesSpec(paths=tuple(str(path) for path in paths), remote=remote, server_url=emulator.url, **spec)
        self.events: list[Event] = []

    async def run(
        self, hook: Callable[[Event], None] | None = None, confirm: Confirm | None = None, **options: Any
    ) -> Summary:
        """Run it (again) and return the summary."""
        self.events = []

        def emit(event: Event) -> None:
            self.events.append(event)
            if hook is not None:
                hook(event)

        self.report: JobReport = await run_job(
            self.spec, self.settings, emit=emit, confirm=confirm, options=RunOptions(**options)
        )
        summary = self.report.summary
        assert isinstance(summary, Summary)
        return summary


__all__ = [
    "PLACE",
    "RESOURCE",
    "SESSION",
    "FilesJob",
    "catalogued",
    "on_disk",
    "put_file",
    "puts",
    "seed",
    "write_tree",
]
