"""What a person sees before the first byte is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from xferengine.model.dicom import ScanProblem
from xferengine.model.events import Failure

SHOWN = 1000
"""Sessions and problems a view carries; totals count all."""


class PlanTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What will be sent, and what will not."""

    experiments: int = 0
    files: int = 0
    bytes: int = 0
    refused: int = 0
    """Sessions that will not be sent."""
    skipped: int = 0
    """Files that need no sending: duplicates with equal bytes."""


class PlanStudy(msgspec.Struct, frozen=True, kw_only=True):
    """One session of the plan."""

    study_uid: str
    project: str
    subject: str
    session: str
    files: int
    bytes: int
    series: int
    paths: tuple[str, ...]
    verdict: str
    """``send`` · ``refused`` · ``done`` (by an earlier run of this job)."""
    why: str = ""


class PlanView(msgspec.Struct, frozen=True, kw_only=True):
    """The plan as a table can show it."""

    job: str
    totals: PlanTotals
    studies: tuple[PlanStudy, ...] = ()
    problems: tuple[ScanProblem, ...] = ()
    problem_count: int = 0
    others_count: int = 0
    """Files that are no DICOM instances."""
    notes: tuple[str, ...] = ()


class PlanItem(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment (or a subject's or project's own files) of a plan about files."""

    item: str
    """``PROJECT/SUBJECT/EXPERIMENT``, as far as it goes."""
    files: int
    """To be moved."""
    bytes: int
    present: int
    """Equal already; not moved."""
    refused: int
    """Names that cannot be used, each in ``problems``."""
    why: str = ""
    """Why nothing of it can be moved; empty when it can."""


class FilesPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a verb that moves files of resources."""

    job: str
    verb: str
    target: str
    """Where the files go, in words: a folder, or a resource."""
    totals: PlanTotals
    items: tuple[PlanItem, ...] = ()
    problems: tuple[Failure, ...] = ()
    problem_count: int = 0
    notes: tuple[str, ...] = ()
    asks: bool = False
    """Whether a person is asked before the first byte (never before a download: nothing on a server changes)."""


Confirm = Callable[[PlanView | FilesPlan], Awaitable[bool]]
"""Shows the plan and asks; False ends the job before anything was sent."""


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to run, as opposed to what: none of it belongs to a job's identity."""

    dry_run: bool = False
    plan_out: str = ""
    plan_in: str = ""
    resume_job: str = ""
    """Id of a job to continue; its spec is the stored one."""
    retry: bool = False
    """Give failed and refused sessions another try."""
    yes: bool = False
    """Start without asking; sending may begin when the plan is complete."""
    handle_signals: bool = False
    """Drain on the first INT or TERM, cancel on the second (only from a main thread)."""
