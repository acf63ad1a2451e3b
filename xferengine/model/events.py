"""What the engine tells the world while it works: frozen values handed to an ``emit`` callable.

Renderers (progress bar, lines, JSON lines) and the report consume them. ``--json`` prints each as one line with
``event`` first and ``v`` the version of its shape. A slow renderer may drop ``BytesMoved`` and ``ScanProgress``,
nothing else. Events carry study UIDs and ids, no labels and no names.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec


def _kebab(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=_kebab):
    """Base of all events."""

    v: int = 1


class JobStarted(Event, frozen=True):
    job: str
    verb: str
    resumed: bool


class ScanProgress(Event, frozen=True):
    """Totals so far."""

    files: int
    dicom: int
    bytes: int
    problems: int


class ListingProgress(Event, frozen=True):
    """What is known so far of the places whose files are wanted."""

    items: int
    items_total: int
    """Grows while experiments are still being found."""
    files: int
    bytes: int


class PlanReady(Event, frozen=True):
    """The plan is complete: totals of what will be sent, and of what is refused or skipped beforehand."""

    experiments: int
    files: int
    bytes: int
    refused: int
    skipped: int


class StudyChanged(Event, frozen=True):
    """A study reached another state (``model.states.StudyState``)."""

    study: str
    state: str
    detail: str = ""


class ItemChanged(Event, frozen=True):
    """An experiment (or a subject's or project's own files) reached another state: ``moving``, then a final one."""

    item: str
    """Accession id, or a project's id."""
    state: str
    """Final: ``done`` · ``partial`` · ``failed``."""
    detail: str = ""


class UnitStarted(Event, frozen=True):
    unit: int
    study: str
    files: int
    bytes: int
    attempt: int
    predicted_s: float
    """What the cost model expects; compare with ``UnitDone.seconds``."""


class BytesMoved(Event, frozen=True):
    """Body bytes taken by the network since the last event of this unit; negative when an attempt is rewound."""

    unit: int
    bytes: int


class AttemptFailed(Event, frozen=True):
    unit: int
    study: str
    attempt: int
    error: str
    detail: str
    wait_s: float


class FilesDone(Event, frozen=True):
    """Some files of a unit lie under their final names, durably; this may come after its ``UnitDone``, which does not
    count them again."""

    unit: int
    files: int
    bytes: int


class UnitDone(Event, frozen=True):
    unit: int
    study: str
    files: int
    bytes: int
    seconds: float


class LimitChanged(Event, frozen=True):
    """A lane's limit moved, and why."""

    lane: str
    limit: int
    why: str


class Paused(Event, frozen=True):
    """The breaker holds the job while the server is down."""

    why: str
    retry_in_s: float


class Notice(Event, frozen=True):
    """Something a person should read once."""

    level: str
    """``info`` · ``warning`` · ``error``."""
    text: str


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that did not work, as the summary prints it."""

    ref: str
    """File path, or study UID."""
    error: str
    detail: str


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one job over all its runs. Said in an upload's words; ``experiments`` counts the items of any verb."""

    experiments: int = 0
    units: int = 0
    files: int = 0
    """Instances the server accepted."""
    bytes: int = 0
    """Of those that are still there."""
    verified: int = 0
    skipped: int = 0
    """Not sent: duplicates with equal bytes, and instances that were archived before."""
    failed: int = 0
    """Sessions refused or failed, files that failed, and files the scan could not use."""
    refused: int = 0
    """Uploads: instances a filter or script of the server did not keep. Downloads: names that the folder cannot hold,
    counted in ``failed`` too. Comparisons: what could not be compared."""
    by_size: int = 0
    """Of the verified and the skipped ones: files that only sizes could be compared of."""
    stale: int = 0
    """Files that were read twice alike and contradict the server's catalog; kept."""
    bytes_resent: int = 0


class Summary(Event, frozen=True):
    """The last line of ``--json``."""

    job: str
    verb: str
    state: str
    """``done`` · ``done-unverified`` · ``sent`` · ``incomplete`` · ``failed`` · ``interrupted``."""
    exit_code: int
    seconds: float
    totals: Totals
    failures: tuple[Failure, ...] = ()
    unverified: tuple[str, ...] = ()
    report: str = ""


Emit = Callable[[Event], None]
"""Called on the event loop; must return at once."""


def ignore(event: Event) -> None:
    """An ``Emit`` that drops everything."""
