"""Exit codes, as scripts see them. Which error means which code is decided once, in ``jobs.outcome``.

Nothing here imports the engine before a code is asked for, so that ``--version`` stays quick.
"""

from __future__ import annotations

from collections.abc import Iterable

from xferengine.errors import XferError

OK = 0
BUG = 1
USAGE = 2
PARTIAL = 3
DIFFERENT = 4
UNREACHABLE = 5
LOCKED = 6
LOGIN = 7
GUARD = 8
INTEGRITY = 9
BUDGET = 10
DISK_FULL = 11
INTERRUPTED = 130
TERMINATED = 143

MEANINGS: dict[int, str] = {
    OK: "all done and verified",
    BUG: "a bug in this program",
    USAGE: "usage or configuration",
    PARTIAL: "finished, but something failed or was refused",
    DIFFERENT: "verify found differences",
    UNREACHABLE: "the server cannot be reached, or has temporary trouble",
    LOCKED: "another run holds the job",
    LOGIN: "login or permission",
    GUARD: "a safety guard stopped it",
    INTEGRITY: "bytes are not what they should be",
    BUDGET: "the time or size limit was reached; can be resumed",
    DISK_FULL: "the local disk is full",
    INTERRUPTED: "interrupted; can be resumed",
    TERMINATED: "terminated; can be resumed",
}

RESUMABLE = frozenset({UNREACHABLE, LOGIN, BUDGET, DISK_FULL, INTERRUPTED, TERMINATED})
"""Codes after which the same job goes on where it stopped."""


def code_of(error: XferError) -> int:
    """Return the code of an error that ended the whole command."""
    from xferengine.jobs import outcome

    return outcome.code_of(error)


def rank(codes: Iterable[int]) -> int:
    """Return the code that stands for several: signal > 1 > 9 > 8 > 7 > 11 > 4 > 3 > 5 > 10 > 0."""
    from xferengine.jobs import outcome

    return outcome.worst(list(codes))
