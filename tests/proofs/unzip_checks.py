"""What must hold for every input, sound or not, and the ways an input is read for that."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from proofs.branches import Branch, Branches
from proofs.unzip_kit import Kept, Outcome, disagreement, read

from xferengine.errors import ArchiveBroken, DiskFull, ReadInterrupted
from xferengine.streams import unzip, unzip_data, unzip_directory, zipread, zipread_directory
from xferengine.streams.unzip import Member, Unzip, UnzipLimits

PARSER: list[ModuleType] = [unzip, unzip_data, unzip_directory, zipread, zipread_directory]
HELD_BYTES = 4 * 65_535 + 46
"""Longest record: a directory entry with the longest name, extra fields and comment."""


class Violation(AssertionError):
    """An input for which something does not hold."""


@contextmanager
def small_steps() -> Iterator[None]:
    """Let the inflater take and give so little at once that its loops turn on tiny inputs too."""
    before = unzip_data._IN_BYTES, unzip_data._OUT_BYTES
    unzip_data._IN_BYTES, unzip_data._OUT_BYTES = 24, 16
    try:
        yield
    finally:
        unzip_data._IN_BYTES, unzip_data._OUT_BYTES = before


@contextmanager
def standard_inflater() -> Iterator[None]:
    """Inflate as on a machine for which there is no faster library."""
    before = unzip_data._new_inflater, unzip_data._InflateError
    unzip_data._new_inflater, unzip_data._InflateError = zlib.decompressobj, zlib.error
    try:
        yield
    finally:
        unzip_data._new_inflater, unzip_data._InflateError = before


def check_inflaters(raw: bytes, whole: Outcome, rng: random.Random) -> None:
    """The standard library's inflater gives the same, but that it refuses more streams as damaged."""
    with standard_inflater():
        slow = read(raw, [rng.randint(0, len(raw))])
    slow_done, whole_done = _done(slow), _done(whole)
    if any("are damaged" in str(sink.error) for sink in slow.sinks) and slow_done.items() <= whole_done.items():
        return
    _same(slow, whole, "standard inflater")


def _done(outcome: Outcome) -> dict[int, bytes]:
    return {sink.member.offset: bytes(sink.data) for sink in outcome.sinks if sink.state == "done"}


def check_cuts(raw: bytes, whole: Outcome, rng: random.Random) -> None:
    """The same comes out however the input is cut into feeds."""
    cuts = [rng.randint(0, len(raw)) for _ in range(rng.randint(1, 8))]
    _same(read(raw, cuts), whole, f"cut at {sorted(cuts)}")


def check_every_cut(raw: bytes, whole: Outcome, rng: random.Random) -> None:
    """The same comes out when each byte comes alone."""
    if len(raw) < 500:
        _same(read(raw, range(len(raw))), whole, "byte by byte")


def check_small_steps(raw: bytes, whole: Outcome, rng: random.Random) -> None:
    """The same comes out when the inflater takes small steps."""
    if sum(len(sink.data) for sink in whole.sinks) < 20_000:
        with small_steps():
            _same(read(raw, [rng.randint(0, len(raw))]), whole, "small steps")


def check_skipping(raw: bytes, whole: Outcome, rng: random.Random) -> None:
    """Members that nobody wants change nothing for the others, nor for the archive where it was sound."""
    kind = rng.randrange(3)
    part = read(raw, take=lambda kept: kept if kind == 0 and kept.member.offset % 2 else None)
    if not _done(part).items() <= _done(whole).items():
        raise Violation("skipping changed a member")
    if whole.summary and not whole.summary.broken and part.summary != whole.summary:
        raise Violation("skipping changed the verdict of a sound archive")


def check_limits(raw: bytes, whole: Outcome, rng: random.Random) -> None:
    """Limits hold: nobody gets more than the listed size, nothing more is inflated, no more members are read."""
    limits = UnzipLimits(
        member_bytes=lambda member: rng.choice((3, 100)),
        members=rng.choice((1, 2)),
        link_names=3,
        passed_over_bytes=rng.choice((10, 400_000)),
    )
    outcome = read(raw, limits=limits, take=lambda kept: kept if rng.random() < 0.7 else None)
    if any(len(sink.data) > 100 for sink in outcome.sinks) or len(outcome.sinks) > 2:
        raise Violation("a limit was passed")


class Failing(Kept):
    """A sink with trouble of its own."""

    trouble = "write"

    def write(self, data: bytes | memoryview) -> None:
        """Fail, when that is the trouble."""
        if self.trouble == "write":
            raise DiskFull("full")
        super().write(data)

    def done(self, *, size: int, crc: int) -> None:
        """Fail, when that is the trouble."""
        super().done(size=size, crc=crc)
        if self.trouble == "done":
            raise DiskFull("full")


def check_failing_sinks(raw: bytes, whole: Outcome, rng: random.Random) -> None:
    """Trouble of a sink comes through as it is, ends the reading, and leaves at most one member to be told."""
    sinks: list[Failing] = []
    trouble = rng.choice(("write", "done", "take", "none"))

    def take(member: Member) -> Failing:
        if trouble == "take":
            raise DiskFull("full")
        sinks.append(Failing(member))
        sinks[-1].trouble = trouble
        return sinks[-1]

    reader = Unzip(take)
    at = rng.randint(0, len(raw))
    try:
        reader.feed(raw[:at])
        reader.feed(raw[at:])
    except ArchiveBroken:
        return
    except DiskFull:
        _must_be_dead(reader)
    else:
        if len(reader._held) > HELD_BYTES:
            raise Violation("more is held than the longest record")
    reader.abort(ReadInterrupted("broken off"))
    reader.abort(ReadInterrupted("broken off again"))
    if any(sink.state == "open" for sink in sinks):
        raise Violation("a member was never told")


def _must_be_dead(reader: Unzip) -> None:
    try:
        reader.feed(b"")
    except ArchiveBroken:
        return
    raise Violation("the reading went on after a sink failed")


CHECKS: list[Callable[[bytes, Outcome, random.Random], None]] = [
    check_cuts, check_cuts, check_cuts, check_small_steps, check_skipping, check_limits, check_failing_sinks,
    check_every_cut, check_inflaters,
]  # fmt: skip


def check(raw: bytes, rng: random.Random, *, is_thorough: bool = False) -> Outcome:
    """Read an input and check what must hold; ``is_thorough`` does every check, else some are drawn.

    Raises:
        Violation: something does not hold. Any other error but ``ArchiveBroken`` is one too.
    """
    whole = read(raw)
    has_done = any(sink.state == "done" for sink in whole.sinks)
    if is_thorough or whole.error is None or (has_done and rng.random() < 0.1):
        difference = disagreement(raw, whole)
        if difference:
            raise Violation(difference)
    for one in CHECKS if is_thorough else rng.sample(CHECKS, rng.random() < 0.4):
        one(raw, whole, rng)
    return whole


def watch(raw: bytes, branches: Branches, *, only_new: bool = True) -> set[Branch]:
    """Return the branches that an input takes, read in every way. The dice are loaded: the same every time."""
    whole = read(raw)
    with branches.watching(only_new=only_new) as taken:
        read(raw)
        for number in range(4):
            for one in (check_small_steps, check_skipping, check_limits, check_failing_sinks):
                one(raw, whole, random.Random(number))
        if len(raw) < 300:
            check_every_cut(raw, whole, random.Random(0))
    return taken


def _same(outcome: Outcome, whole: Outcome, how: str) -> None:
    if outcome.verdict != whole.verdict:
        raise Violation(f"{how}: {outcome.states} {outcome.error!r} and not {whole.states} {whole.error!r}")
