"""Shared by the trouble and mode tests: broken input, and short questions to a summary."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pydicom
from engine_kit import CohortShape, Job, archived, make_cohort, settings_for, spec_for

from xferengine.emulator.cohort import CohortFile
from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.server import Emulator, open_emulator
from xferengine.model.events import Event, Failure, Summary

TINY = CohortShape(sessions=2, series=1, instances=3, instance_bytes=3000)


@asynccontextmanager
async def open_site(**switches: Any) -> AsyncIterator[Emulator]:
    """An emulator with project P."""
    async with open_emulator(EmulatorConfig(**{"projects": ("P",), **switches})) as emulator:
        yield emulator


def tiny_cohort(folder: Path, **changes: Any) -> list[CohortFile]:
    """Two sessions of three instances below ``folder``, unless changed."""
    values = {name: getattr(TINY, name) for name in ("sessions", "series", "instances", "instance_bytes")}
    return make_cohort(folder, CohortShape(**{**values, **changes}))


def job_for(
    emulator: Emulator, tmp_path: Path, *paths: Path, settings: dict[str, Any] | None = None, **spec: Any
) -> Job:
    """An upload of ``tmp_path/in`` (or of ``paths``) with its state in ``tmp_path/state``."""
    return Job(
        emulator,
        spec_for(emulator, *(paths or (tmp_path / "in",)), **spec),
        settings_for(emulator, tmp_path / "state", **(settings or {})),
    )


def rewrite(path: Path, **values: object) -> None:
    """Change (or with None remove) elements of a file."""
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


def stored(emulator: Emulator) -> list[str]:
    """SOP Instance UIDs in the archive, sorted; one that is there twice is listed twice."""
    return sorted(uid for uids in archived(emulator).values() for uid in uids)


def uids_of(files: list[CohortFile], *, without: tuple[CohortFile, ...] = ()) -> list[str]:
    """SOP Instance UIDs of a cohort, sorted."""
    return sorted(file.sop_uid for file in files if file not in without)


def of_study(files: list[CohortFile], number: int) -> list[CohortFile]:
    """The files of the cohort's study ``number`` (from 0)."""
    studies = list(dict.fromkeys(file.study_uid for file in files))
    return [file for file in files if file.study_uid == studies[number]]


def failure(summary: Summary, ref: object) -> Failure:
    """The one failure about ``ref``."""
    found = [line for line in summary.failures if line.ref == str(ref)]
    assert len(found) == 1, summary.failures
    return found[0]


def imports(emulator: Emulator) -> int:
    """How many import requests the server has seen."""
    return len(emulator.requests.matching("services/import", "POST"))


def once(kind: type[Event], act: Callable[[], object], number: int = 1) -> Callable[[Event], None]:
    """A hook for ``Job.run`` that calls ``act`` on the ``number``-th event of a kind."""
    seen = 0

    def hook(event: Event) -> None:
        nonlocal seen
        if isinstance(event, kind):
            seen += 1
            if seen == number:
                act()

    return hook
