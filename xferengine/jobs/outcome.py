"""From what the manifest holds to the state and exit code of a job."""

from __future__ import annotations

import sqlite3

from xferengine.errors import (
    AccessDenied,
    BadInput,
    BudgetReached,
    DiskFull,
    GuardStopped,
    IntegrityError,
    LockedByOther,
    LoginRefused,
    ManifestError,
    NotFound,
    RemoteError,
    SettingsError,
    XferError,
)
from xferengine.jobs.spec import UploadSpec
from xferengine.manifest import overview
from xferengine.schedule.stop import StopKind, StopReason

OK, BUG, USAGE, PARTIAL, DIFFERENT, UNREACHABLE, LOCKED, LOGIN, GUARD, INTEGRITY, BUDGET, DISK = range(12)

CODES: tuple[tuple[type[XferError], int], ...] = (
    (LockedByOther, LOCKED),
    (SettingsError, USAGE),
    (BadInput, USAGE),
    (GuardStopped, GUARD),
    (BudgetReached, BUDGET),
    (LoginRefused, LOGIN),
    (AccessDenied, LOGIN),
    (NotFound, LOGIN),
    (DiskFull, DISK),
    (IntegrityError, INTEGRITY),
    (ManifestError, BUG),
    (RemoteError, UNREACHABLE),
)
"""What an error that ended the whole job means; the first class that fits."""

RANK = (BUG, INTEGRITY, GUARD, LOGIN, DISK, DIFFERENT, PARTIAL, UNREACHABLE, BUDGET)


def code_of(error: XferError) -> int:
    """Return the exit code of an error that ended the job."""
    return next((code for kind, code in CODES if isinstance(error, kind)), BUG)


def signal_code(signum: int) -> int:
    """Return 128 + the signal's number."""
    return 128 + signum


def worst(codes: list[int]) -> int:
    """Return the code that stands for several (design 2): signal > 1 > 9 > 8 > 7 > 11 > 4 > 3 > 5 > 10."""
    signals = [code for code in codes if code > 128]
    if signals:
        return signals[0]
    early = [code for code in codes if code in {USAGE, LOCKED}]
    return next((code for code in RANK if code in codes), early[0] if early else OK)


def judge(
    con: sqlite3.Connection,
    spec: UploadSpec,
    reason: StopReason | None,
    error: XferError | None,
    *,
    is_planned: bool = True,
) -> tuple[str, int]:
    """Return (state, exit code) of a run that has ended.

    Args:
        reason: why feeding stopped early, if it did.
        error: what ended the job, if something did.
        is_planned: the scan came to its end; else nobody knows what there is still to send.
    """
    states = overview.states(con)
    totals = overview.totals(con)
    open_studies = sum(
        count for state, count in states.items()
        if state not in {"refused", "failed", "verified", "unverified", "ready"}
    )  # fmt: skip
    codes: list[int] = []
    if error is not None:
        codes.append(code_of(error))
    if reason is not None and (open_studies or not states or not is_planned):
        codes.append(stop_code(reason))
    if states.get("failed") or states.get("refused") or totals.failed:
        codes.append(PARTIAL)
    if totals.refused and not spec.allow_refused:
        codes.append(PARTIAL)
    code = worst(codes)
    return _state(states, open_studies, code, spec), code


def stop_code(reason: StopReason) -> int:
    """Return the exit code of a run that was stopped early."""
    if reason.kind is StopKind.SIGNAL:
        return signal_code(reason.signum or 2)
    if reason.kind is StopKind.CANCELLED:
        return signal_code(2)
    return BUDGET


def _state(states: dict[str, int], open_studies: int, code: int, spec: UploadSpec) -> str:
    good = sum(states.get(state, 0) for state in ("verified", "unverified", "ready"))
    if code > 128 or code == BUDGET:
        return "interrupted"
    if open_studies and code == OK:
        return "sent"
    if code != OK:
        return "incomplete" if good or open_studies else "failed"
    return "done-unverified" if states.get("unverified") else "done"
