"""One file from a server into a part file: as fast as the wire, resumable at any byte, never a mixture of two versions.

    first request: the whole file, or its first segment → size, Last-Modified
    further connections, as many as ``connections()`` says: the next segment, with If-Unmodified-Since
    each: chunks → batches of 1 MiB → one thread hop: write, and digest what continues the beginning
    a side task digests what came out of order; another saves the progress

What a server sends beside the question is never spliced: an ignored range is used as a whole file from byte 0, another
version of the file starts everything again.

Source: FIL 1.6, FIL 3, FIL 10.7.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from xferengine.errors import IntegrityError, ProtocolViolation, RemoteChanged, XferError
from xferengine.streams.ranged_ask import Version
from xferengine.streams.ranged_crew import Crew
from xferengine.streams.ranged_ledger import Ledger
from xferengine.streams.ranged_receive import Pace
from xferengine.streams.ranged_saver import NOTHING, Saver
from xferengine.streams.ranged_shapes import (
    Facts,
    Fetched,
    FetchKit,
    Opened,
    OpenPart,
    PartSink,
    Progress,
    RangesIgnored,
)

__all__ = ["FetchKit", "Fetched", "OpenPart", "Opened", "PartSink", "Progress", "fetch"]

logger = logging.getLogger(__name__)

RESTARTS = 3
"""How often one fetch begins again before another change of the file is too much."""
_KEEP_S = 10.0
"""How long a fetch that is given up may take to keep its progress."""


async def fetch(
    open_part: OpenPart,
    sink: PartSink,
    *,
    size: int,
    resume: Progress | None,
    connections: Callable[[], int],
    kit: FetchKit,
) -> Fetched:
    """Bring a file into a part file, all of it or with an error.

    Args:
        open_part: opens the file, or a part of it, on the server.
        sink: the part file; closed and made durable by the caller.
        size: bytes as listed, -1 when unknown. What the server says counts: compare it with ``Fetched.size``.
        resume: what ``kit.save`` got last from an earlier run, while the same part file is there.
        connections: how many there should be now; asked again at the end of each segment and stretch.
        kit: see there.

    Returns:
        Size and digest of what is in the part file. A digest that is not the expected one after a resume says nothing
        about the server: fetch again without ``resume``.

    Raises:
        RemoteChanged: the file changed again and again.
        SizeMismatch: more came than was announced, or, of unknown length, than was listed.
        ProtocolViolation: the server sends what nobody asked for.
        RemoteError: a refusal, or a way that keeps breaking. The progress was saved: call again with it.
        XferError: of the sink, or of ``save``.

    Cancellation: as with a RemoteError.
    """
    pace = Pace(kit)
    version = await _begin(open_part, sink, size, resume, kit)
    pace.origin_bytes = version.ledger.bytes_written
    restarts = 0
    while True:
        if not version.facts.is_known and sink.size_now:
            await kit.threads.run(sink.truncate, 0)
        crew = Crew(version, connections, pace, kit)
        again = await _attempt(crew, version.facts, pace, kit, is_last=restarts >= RESTARTS)
        if again is None:
            break
        restarts += 1
        logger.info("a file is fetched from its first byte again")
        version = Version(open_part=open_part, sink=sink, ledger=Ledger(-1), facts=again, listed=size)
    pace.settle(version.ledger.size)
    if sink.size_now > version.ledger.size:
        await kit.threads.run(sink.truncate, version.ledger.size)
    return Fetched(
        size=version.ledger.size,
        md5=crew.prefix.hexdigest,
        last_modified=version.facts.last_modified,
        wire_bytes=pace.wire_bytes,
        connections_used=pace.connections_used,
        ranges_ignored=version.facts.ranges_ignored,
    )


async def _attempt(crew: Crew, facts: Facts, pace: Pace, kit: FetchKit, *, is_last: bool) -> Facts | None:
    """Fetch a version; return what to begin the next one with, or None when this one is complete."""
    could_range = facts.can_range
    try:
        await crew.run()
        if kit.sync:
            await crew.asker.look_again()
    except RangesIgnored as error:
        await _give_up(crew.saver, pace)
        if not could_range:
            raise ProtocolViolation("the server sends parts of a file where the whole was asked for") from error
        return Facts(can_range=False, ranges_ignored=True)
    except RemoteChanged:
        await _give_up(crew.saver, pace)
        if is_last:
            raise
        return Facts(can_range=could_range, ranges_ignored=facts.ranges_ignored)
    except IntegrityError:
        await _give_up(crew.saver, pace)
        raise
    except BaseException:
        await _keep(crew.saver, pace)
        raise
    return None


async def _begin(open_part: OpenPart, sink: PartSink, size: int, resume: Progress | None, kit: FetchKit) -> Version:
    """Return what an earlier run left, where that can be continued; else a version nobody has seen."""
    facts, ledger = Facts(), Ledger(-1)
    if resume is not None and resume.done:
        found = Ledger(max(resume.size, 0), resume.done)
        if resume.last_modified and found.spans and found.spans[-1][1] <= sink.size_now:
            facts, ledger = Facts(is_known=True, last_modified=resume.last_modified), found
        else:
            await kit.save(NOTHING)
    return Version(open_part=open_part, sink=sink, ledger=ledger, facts=facts, listed=size)


async def _give_up(saver: Saver, pace: Pace) -> None:
    """Throw everything away."""
    await saver.forget()
    pace.settle(0)


async def _keep(saver: Saver, pace: Pace) -> None:
    """Save the progress of a fetch that is being given up; what it was given up for counts more."""
    with anyio.move_on_after(_KEEP_S, shield=True):
        try:
            await saver.save()
        except XferError as error:
            logger.info("the progress of a file could not be kept: %s", error.kind)
    pace.settle(saver.saved_bytes)
