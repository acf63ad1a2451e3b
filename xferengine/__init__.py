"""xferengine: bulk transfer of imaging data between disks and XNAT servers, verified and resumable.

The face: ``await run_job(spec, settings, emit=…)`` returns a ``JobReport``; ``run_job_sync`` does so for scripts. Specs
say what, ``Settings`` how. Everything else is reachable but not promised. Names are loaded when they are first used, so
that importing the package (as every scan worker does) costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xferengine._version import VERSION

if TYPE_CHECKING:
    from xferengine.errors import Disposition, XferError
    from xferengine.jobs.plan import PlanView, RunOptions
    from xferengine.jobs.runner import run_job, run_job_sync
    from xferengine.jobs.spec import (
        DownloadSpec,
        FilesSpec,
        ItemReport,
        JobReport,
        StudyReport,
        UploadSpec,
        VerifySpec,
    )
    from xferengine.model.events import Event, Summary
    from xferengine.settings.load import load_settings
    from xferengine.settings.slices import Credentials, Settings

__all__ = [
    "VERSION",
    "Credentials",
    "Disposition",
    "DownloadSpec",
    "Event",
    "FilesSpec",
    "ItemReport",
    "JobReport",
    "PlanView",
    "RunOptions",
    "Settings",
    "StudyReport",
    "Summary",
    "UploadSpec",
    "VerifySpec",
    "XferError",
    "load_settings",
    "run_job",
    "run_job_sync",
]

_HOMES = {
    "errors": ("Disposition", "XferError"),
    "jobs.plan": ("PlanView", "RunOptions"),
    "jobs.runner": ("run_job", "run_job_sync"),
    "jobs.spec": (
        "DownloadSpec",
        "FilesSpec",
        "ItemReport",
        "JobReport",
        "StudyReport",
        "UploadSpec",
        "VerifySpec",
    ),
    "model.events": ("Event", "Summary"),
    "settings.load": ("load_settings",),
    "settings.slices": ("Credentials", "Settings"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"xferengine.{home}"), name)
    raise AttributeError(f"module 'xferengine' has no attribute {name!r}")
