"""Shared by tests of ``verify``: places to compare, filled as a download would fill them, and what was found."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from download_kit import local_path
from engine_kit import Job, settings_for

from xferengine.emulator.seed import SeededFile
from xferengine.emulator.server import Emulator
from xferengine.jobs.spec import VerifySpec

__all__ = ["Job", "compare", "fill", "named", "settings_for"]


def fill(folder: Path, files: Iterable[SeededFile], *, project: str = "") -> Path:
    """Write files where the documented layout has them; ``project`` in front, if given."""
    folder.mkdir(exist_ok=True)
    for file in files:
        path = folder / project / local_path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.disk_path.read_bytes())
    return folder


def compare(
    emulator: Emulator, state: Path, a: str | Path, b: str | Path, *, other: Emulator | None = None, **spec: Any
) -> Job:
    """A job that compares two places; ``other`` is the server of ``b`` when that is another one."""
    extra = {"other": settings_for(other, state)} if other is not None else {}
    made = VerifySpec(
        a=str(a), b=str(b), server_url=emulator.url, other_url=other.url if other is not None else "", **spec
    )
    return Job(emulator, made, settings_for(emulator, state, **extra))  # type: ignore[arg-type]


def named(job: Job) -> dict[str, str]:
    """What the summary names: file → kind."""
    return {failure.ref: failure.error for failure in job.report.summary.failures}  # type: ignore[attr-defined]
