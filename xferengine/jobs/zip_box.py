"""Members of one archive on their way to part files: taken on the event loop, hashed and written in a thread.

    unzip → Receiver.write/done → steps → (a thread, a MiB at a time) → part file, compared with the listing

Parsing and checking a stored archive costs a tenth of hashing it, so it stays on the loop; what costs is done beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from xferengine.errors import XferError
from xferengine.jobs.deliveries import Got
from xferengine.jobs.doubts import judge
from xferengine.manifest.transfers import EntryRow
from xferengine.model.items import ItemRef, ResourceRef
from xferengine.store.names import check_relative
from xferengine.store.target import PartFile, PartResult, Target
from xferengine.streams.unzip import DEFLATED, Member

INLINE_BYTES = 1 << 20
"""A member up to this size is collected and written at once."""


class Names(Protocol):
    """Tells which file a member is."""

    def find(self, name: str) -> EntryRow | None:
        """Return the file of a member's name, or None."""
        ...


class ZipJob(msgspec.Struct, frozen=True, kw_only=True):
    """What one archive shall bring."""

    unit: int
    holder: ItemRef | ResourceRef
    everything: bool
    deflated: bool
    files: Mapping[int, EntryRow]
    """Wanted, by row; what somebody else fetches meanwhile goes out of it."""
    names: Names
    hashing: bool
    """Compute the MD5 also of files that have none to compare with."""
    path: str = ""
    """Of the only file, where a resource's one file is asked for."""
    is_raw: bool = False
    """Judge nothing and hand nothing on: whole files come back as they are (``ZipResult.raw``)."""


class ZipResult(msgspec.Struct, kw_only=True):
    """What one archive brought."""

    delivered: set[int]
    """Rows of files that were handed on."""
    doubtful: dict[int, XferError]
    """Files whose bytes are not what the catalog says, or were broken on the way."""
    raw: dict[int, PartResult]
    """Whole files of a raw job."""
    unknown: int = 0
    """Members that no wanted file has the name of."""
    unsafe: int = 0
    """Members among them whose names could not be used on a disk, and links."""
    wire_bytes: int = 0
    first_byte_s: float = 0.0
    error: XferError | None = None
    """Why it ended before its end."""
    carried: tuple[int, int] | None = None
    """Files and bytes that came of it, where it was ended early because others brought the rest."""


class Step(msgspec.Struct, frozen=True):
    """Bytes for one part file, in order."""

    receiver: Receiver
    pieces: list[bytes]
    is_last: bool


class Stored(msgspec.Struct, kw_only=True):
    """What a thread made of some steps."""

    got: list[Got]
    doubtful: dict[int, XferError]
    raw: dict[int, PartResult]


class Box:
    """Takes the members of one archive.

    Args:
        target: where part files lie.
        job: what the archive shall bring.
    """

    def __init__(self, target: Target, job: ZipJob) -> None:
        self.target = target
        self.job = job
        self.steps: list[Step] = []
        self.held_bytes = 0
        self.doubtful: dict[int, XferError] = {}
        self.unknown = self.unsafe = 0
        self.has_deflated = False
        self._taken: set[int] = set()
        self._open: int | None = None
        self._parts: dict[int, PartFile] = {}

    def most_bytes(self, member: Member) -> int | None:
        """Return the listed size of a member: more would be refused anyway, unless the listing itself is in doubt."""
        if self.job.is_raw:
            return None
        entry = self.job.names.find(member.name)
        return entry.size if entry is not None and entry.size >= 0 else None

    def take(self, member: Member) -> Receiver | None:
        """Choose what receives a member; nothing when it is not wanted."""
        self.has_deflated = self.has_deflated or member.method == DEFLATED
        if member.is_folder:
            return None
        entry = self.job.names.find(member.name)
        if entry is None:
            self.unknown += 1
            self.unsafe += _is_unsafe(member.name)
            return None
        if entry.id not in self.job.files or entry.id in self._taken:
            return None  # here already, or named twice: the first one counts, and is checked
        self._taken.add(entry.id)
        self._open = entry.id
        return Receiver(self, entry)

    def has_begun(self, entry_id: int) -> bool:
        """Say whether a file's member has come by."""
        return entry_id in self._taken

    def close_member(self) -> None:
        """Take note that the open member has ended."""
        self._open = None

    @property
    def is_satisfied(self) -> bool:
        """Whether every wanted file's member has come by, whole or not: the rest of the archive is of no use."""
        return self._open is None and len(self._taken) >= len(self.job.files) and self._taken >= self.job.files.keys()

    def pick(self) -> tuple[list[Step], bool]:
        """Return the steps collected so far, and whether some are pieces of a file that come one after the other."""
        steps, self.steps, self.held_bytes = self.steps, [], 0
        return steps, any(step.receiver.is_split for step in steps)

    def store(self, steps: Sequence[Step]) -> Stored:
        """Write and hash in a thread. Calls with pieces of files keep the order of ``pick``; whole files need none.

        Raises:
            DiskFull, BadInput: the disk refuses.
        """
        out = Stored(got=[], doubtful={}, raw={})
        for step in steps:
            entry = step.receiver.entry
            if step.receiver.is_broken:
                self._discard(entry.id)
            elif not step.is_last:
                self._append(entry, step.pieces)
            else:
                self._finish(entry, step.pieces, out)
        return out

    def _append(self, entry: EntryRow, pieces: list[bytes]) -> PartFile:
        part = self._parts.get(entry.id)
        if part is None:
            part = self._parts[entry.id] = self.target.part(entry.id, size=entry.size, hashing=self._hashes(entry))
        for piece in pieces:
            part.write(piece)
        return part

    def _finish(self, entry: EntryRow, pieces: list[bytes], out: Stored) -> None:
        if entry.id in self._parts:
            result = self._append(entry, pieces).close()
            del self._parts[entry.id]
        else:
            result = self.target.write_whole(entry.id, pieces, hashing=self._hashes(entry))
        if self.job.is_raw:
            out.raw[entry.id] = result
            return
        verdict = judge(entry, result.size, result.md5)
        if isinstance(verdict, XferError):
            self.target.drop_part(entry.id)
            out.doubtful[entry.id] = verdict
            return
        got = Got(entry=entry, part=result.path, size=result.size, md5=result.md5, means=verdict, unit=self.job.unit)
        out.got.append(got)

    def _hashes(self, entry: EntryRow) -> bool:
        return bool(entry.digest) or self.job.hashing

    def _discard(self, entry_id: int) -> None:
        part = self._parts.pop(entry_id, None)
        if part is not None:
            part.discard()

    def clear(self) -> None:
        """Remove part files of members that did not come to their end. Blocks for a moment."""
        for entry_id in list(self._parts):
            self._discard(entry_id)


class Receiver:
    """Receives one member (``unzip.MemberSink``), on the event loop."""

    __slots__ = ("_box", "_pieces", "_size", "entry", "is_broken", "is_split")

    def __init__(self, box: Box, entry: EntryRow) -> None:
        self._box = box
        self.entry = entry
        self.is_broken = self.is_split = False
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes of the file."""
        self._pieces.append(bytes(data))
        self._size += len(data)
        self._box.held_bytes += len(data)
        if self._size > INLINE_BYTES:
            self.is_split = True
            self._push(is_last=False)
            self._size = INLINE_BYTES

    def done(self, *, size: int, crc: int) -> None:
        """The member is whole: it can be compared with the listing."""
        self._box.close_member()
        self._push(is_last=True)

    def broken(self, error: XferError) -> None:
        """Forget what came."""
        self._box.close_member()
        self.is_broken = True
        self._box.doubtful[self.entry.id] = error
        self._push(is_last=True)

    def _push(self, *, is_last: bool) -> None:
        self._box.steps.append(Step(self, self._pieces, is_last))
        self._pieces = []


def _is_unsafe(name: str) -> bool:
    try:
        check_relative(name)
    except XferError:
        return True
    return False
