"""Shared by engine and fault tests: an emulator, a cohort, and a job run against it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pydicom

from xferengine.emulator.cohort import CohortShape, make_cohort
from xferengine.emulator.server import Emulator
from xferengine.jobs.plan import RunOptions
from xferengine.jobs.runner import run_job
from xferengine.jobs.spec import JobReport, UploadSpec
from xferengine.model.events import Event, Summary
from xferengine.settings.slices import Credentials, PoolConfig, RetryConfig, ServerConfig, Settings, TimeoutConfig

SMALL = CohortShape(sessions=3, series=2, instances=4, instance_bytes=6000)

FAST_RETRY = RetryConfig(base_s=0.01, cap_s=0.05, breaker_probe_s=0.01, give_up_after_s=5.0, settle_s=0.02, poll_s=0.01)
SMALL_POOL = PoolConfig(bundle_bytes=20_000, bundle_files_max=3, grace_s=5.0)


def settings_for(emulator: Emulator, state: Path, **changes: Any) -> Settings:
    """Settings that reach the emulator, with small bundles and short waits."""
    base = Settings(
        server=ServerConfig(url=emulator.url),
        state_dir=state,
        credentials=Credentials("admin", "admin"),
        retry=FAST_RETRY,
        pool=SMALL_POOL,
        timeouts=TimeoutConfig(),
        scan_workers=1,
    )
    return msgspec.structs.replace(base, **changes)


def spec_for(emulator: Emulator, *paths: Path, **changes: Any) -> UploadSpec:
    """An upload of ``paths`` into project P."""
    base = UploadSpec(paths=tuple(str(path) for path in paths), project="P", server_url=emulator.url)
    return msgspec.structs.replace(base, **changes)


class Job:
    """One job and what it said."""

    def __init__(self, emulator: Emulator, spec: UploadSpec, settings: Settings) -> None:
        self.emulator = emulator
        self.spec = spec
        self.settings = settings
        self.events: list[Event] = []

    async def run(self, hook: Callable[[Event], None] | None = None, **options: Any) -> Summary:
        """Run it (again) and return the summary."""
        self.events = []

        def emit(event: Event) -> None:
            self.events.append(event)
            if hook is not None:
                hook(event)

        self.report: JobReport = await run_job(self.spec, self.settings, emit=emit, options=RunOptions(**options))
        summary = self.report.summary
        assert isinstance(summary, Summary)
        return summary


def archived(emulator: Emulator) -> dict[str, list[str]]:
    """SOP Instance UIDs on the server's disk, by experiment label, read from the files themselves."""
    found: dict[str, list[str]] = {}
    root = emulator.world.data_dir / "archive"
    for path in sorted(root.rglob("*")):
        if path.is_file() and "SCANS" in path.parts and path.suffix == ".dcm":
            label = path.parts[path.parts.index("SCANS") - 1]
            found.setdefault(label, []).append(_uid(path))
    return {label: sorted(uids) for label, uids in found.items()}


def in_prearchive(emulator: Emulator) -> list[str]:
    """SOP Instance UIDs in the prearchive's folders."""
    root = emulator.world.data_dir / "prearchive"
    return sorted(_uid(path) for path in root.rglob("*.dcm") if path.is_file())


def _uid(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd encodings are the point of some files
        return str(pydicom.dcmread(path, stop_before_pixels=True, force=True).SOPInstanceUID)


def all_uids(files: list[Any]) -> list[str]:
    """SOP Instance UIDs of a cohort."""
    return sorted(file.sop_uid for file in files)


__all__ = [
    "SMALL",
    "CohortShape",
    "Job",
    "all_uids",
    "archived",
    "in_prearchive",
    "make_cohort",
    "settings_for",
    "spec_for",
]
