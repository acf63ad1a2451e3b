"""Zips with every field in hand, and what the streaming reader and ``zipfile`` make of them."""

from __future__ import annotations

import io
import itertools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from xferengine.errors import ArchiveBroken, XferError
from xferengine.streams.unzip import Member, MemberSink, Unzip, UnzipLimits, ZipSummary

LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
END64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR64 = struct.Struct("<4sIQI")
MAX16, MAX32 = 0xFFFF, 0xFFFFFFFF

DESCRIPTORS = {"signed32": "<4sI2I", "signed64": "<4sI2Q", "bare32": "<0sI2I", "bare64": "<0sI2Q"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A member to write; ``in_local``, ``in_descriptor`` and ``in_central`` put other values than the true ones."""

    name: bytes = b"a.dcm"
    data: bytes = b"data"
    method: int = 0
    descriptor: str = ""
    flags: int = 0
    extra: bytes = b""
    central_extra: bytes = b""
    mode: int = 0o100644
    comment: bytes = b""
    packed: bytes | None = None
    """The bytes in the archive, where they are not what ``method`` makes of ``data``."""
    is_wide: bool = False
    """ZIP64 fields although nothing needs them."""
    gap: bytes = b""
    """Before the local header."""
    in_local: Mapping[str, int] = field(default_factory=dict)
    in_descriptor: Mapping[str, int] = field(default_factory=dict)
    in_central: Mapping[str, int] = field(default_factory=dict)
    central_name: bytes | None = None
    disk: int = 0


def deflate(data: bytes, level: int = 6) -> bytes:
    """Return a raw deflate stream."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def zip64_field(*values: int) -> bytes:
    """Return a ZIP64 extra field of 8-byte values."""
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values)


def unicode_path(name: str, raw_name: bytes, *, crc: int | None = None) -> bytes:
    """Return an Info-ZIP unicode path field."""
    text = name.encode()
    checked = zlib.crc32(raw_name) if crc is None else crc
    return struct.pack("<2HBI", 0x7075, 5 + len(text), 1, checked) + text


def _values(entry: Entry) -> tuple[dict[str, int], bytes]:
    packed = entry.packed
    if packed is None:
        packed = deflate(entry.data) if entry.method == 8 else entry.data
    return {"crc": zlib.crc32(entry.data), "packed": len(packed), "size": len(entry.data)}, packed


def local_part(entry: Entry) -> bytes:
    """Return local header, data and descriptor."""
    true, packed = _values(entry)
    shown = dict.fromkeys(true, 0) if entry.descriptor and entry.method == 8 else true
    shown = shown | dict(entry.in_local)
    extra = entry.extra
    if entry.is_wide:
        extra += zip64_field(shown["size"], shown["packed"])
        shown = shown | {"packed": MAX32, "size": MAX32}
    flags = entry.flags | (8 if entry.descriptor else 0)
    out = LOCAL.pack(
        b"PK\x03\x04", 20, flags, entry.method, 0, 33, shown["crc"], shown["packed"], shown["size"], len(entry.name),
        len(extra),
    )  # fmt: skip
    out += entry.name + extra + packed
    if entry.descriptor:
        said = true | dict(entry.in_descriptor)
        out += struct.pack(DESCRIPTORS[entry.descriptor], b"PK\x07\x08", said["crc"], said["packed"], said["size"])
    return out


def central_part(entry: Entry, offset: int) -> bytes:
    """Return the record of the directory."""
    true, _ = _values(entry)
    said = true | {"offset": offset} | dict(entry.in_central)
    extra = entry.central_extra
    if entry.is_wide:
        extra += zip64_field(said["size"], said["packed"], said["offset"])
        said |= {"size": MAX32, "packed": MAX32, "offset": MAX32}
    flags = said.get("flags", entry.flags | (8 if entry.descriptor else 0))
    name = entry.name if entry.central_name is None else entry.central_name
    out = CENTRAL.pack(
        b"PK\x01\x02", 0x0314, 20, flags, said.get("method", entry.method), 0, 33, said["crc"], said["packed"],
        said["size"], len(name), len(extra), len(entry.comment), entry.disk, 0, entry.mode << 16, said["offset"],
    )  # fmt: skip
    return out + name + extra + entry.comment


def end_part(
    *, members: int, size: int, offset: int, is_wide: bool = False, comment: bytes = b"",
    in_end: Mapping[str, int] | None = None, in_wide: Mapping[str, int] | None = None,
) -> bytes:  # fmt: skip
    """Return the end records."""
    true = {"disk": 0, "start_disk": 0, "here": members, "members": members, "size": size, "offset": offset}
    out = b""
    said = dict(true)
    if is_wide:
        wide = true | {"length": 44, "locator_disk": 0, "disks": 1, "place": offset + size} | dict(in_wide or {})
        out += END64.pack(
            b"PK\x06\x06", wide["length"], 45, 45, wide["disk"], wide["start_disk"], wide["here"], wide["members"],
            wide["size"], wide["offset"],
        ) + LOCATOR64.pack(b"PK\x06\x07", wide["locator_disk"], wide["place"], wide["disks"])  # fmt: skip
        said |= {"here": MAX16, "members": MAX16, "size": MAX32, "offset": MAX32}
    said |= dict(in_end or {})
    return out + END.pack(b"PK\x05\x06", *said.values(), len(comment)) + comment


def make_zip(
    entries: Iterable[Entry],
    *,
    order: Callable[[list[bytes]], list[bytes]] = list,
    before_directory: bytes = b"",
    tail: bytes = b"",
    **end: object,
) -> bytes:
    """Return a whole archive. ``order`` rearranges the records of the directory; ``end`` goes to ``end_part``."""
    out, records = bytearray(), []
    for entry in entries:
        out += entry.gap
        records.append(central_part(entry, len(out)))
        out += local_part(entry)
    out += before_directory
    records = order(records)
    directory = b"".join(records)
    end_bytes = end_part(members=len(records), size=len(directory), offset=len(out), **end)  # type: ignore[arg-type]
    return bytes(out + directory + end_bytes + tail)


class Kept:
    """A sink that keeps everything and minds its protocol."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.data = bytearray()
        self.state = "open"
        self.error: XferError | None = None

    def write(self, data: bytes | memoryview) -> None:
        """See ``MemberSink``."""
        assert self.state == "open"
        assert len(data) > 0
        self.data += data

    def done(self, *, size: int, crc: int) -> None:
        """See ``MemberSink``."""
        assert self.state == "open"
        assert (size, crc) == (len(self.data), zlib.crc32(self.data))
        assert self.member.size in {None, size}
        assert self.member.crc in {None, crc}
        self.state = "done"

    def broken(self, error: XferError) -> None:
        """See ``MemberSink``."""
        assert self.state == "open"
        assert isinstance(error, XferError)
        self.state, self.error = "broken", error


@dataclass(kw_only=True)
class Outcome:
    """What became of an archive."""

    sinks: list[Kept]
    error: ArchiveBroken | None = None
    summary: ZipSummary | None = None

    @property
    def states(self) -> list[tuple[str, str]]:
        """Name and state of each member."""
        return [(sink.member.name, sink.state) for sink in self.sinks]

    @property
    def verdict(self) -> tuple[object, ...]:
        """What must not depend on how the bytes were cut into feeds."""
        done = [bytes(sink.data) if sink.state == "done" else None for sink in self.sinks]
        return self.states, done, self.error is None, self.summary

    @property
    def files(self) -> dict[str, bytes]:
        """Contents of the members that are whole, of a whole archive."""
        assert self.error is None, self.error
        assert all(sink.state == "done" for sink in self.sinks), self.states
        return {sink.member.name: bytes(sink.data) for sink in self.sinks}


def read(
    raw: bytes, cuts: Iterable[int] = (), *, limits: UnzipLimits | None = None,
    take: Callable[[Kept], MemberSink | None] = lambda kept: kept,
) -> Outcome:  # fmt: skip
    """Feed an archive, cut at these offsets. An end that was reached is asked for even when the feeding failed."""
    outcome = Outcome(sinks=[])

    def choose(member: Member) -> MemberSink | None:
        kept = Kept(member)
        chosen = take(kept)
        if chosen is not None:
            outcome.sinks.append(kept)
        return chosen

    unzip = Unzip(choose, limits=limits)
    edges = [0, *sorted(cuts), len(raw)]
    try:
        for start, stop in itertools.pairwise(edges):
            unzip.feed(raw[start:stop])
        outcome.summary = unzip.finish()
    except ArchiveBroken as error:
        outcome.error = error
    assert all(sink.state != "open" for sink in outcome.sinks)
    return outcome


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A member as ``zipfile`` reads it; ``data`` is None where it refuses."""

    raw_name: bytes
    offset: int
    size: int
    crc: int
    data: bytes | None


def by_zipfile(raw: bytes) -> list[Seen] | None:
    """Return what ``zipfile`` finds, in the order of the data; None where it refuses the archive."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(raw))
    except Exception:  # noqa: BLE001  it raises many kinds on damaged directories
        return None
    with archive:
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        return [_seen(archive, info) for info in infos]


def _seen(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Seen:
    try:
        data = archive.read(info)
    except Exception:  # noqa: BLE001  as above
        data = None
    encoding = "utf-8" if info.flag_bits & 0x800 else "cp437"
    raw_name = info.orig_filename.encode(encoding)
    return Seen(raw_name=raw_name, offset=info.header_offset, size=info.file_size, crc=info.CRC, data=data)


def disagreement(raw: bytes, outcome: Outcome) -> str | None:
    """Compare with ``zipfile`` and say what is wrong, or None. The exact rule:

    - an archive that was taken is read by ``zipfile`` too, with the same members in the same places, and each member
      that was ``done`` has the same bytes there; excused are names with the UTF-8 flag that are not UTF-8, and members
      for readers newer than version 6.3, which ``zipfile`` refuses and nobody else minds; and deflate streams with
      an incomplete set of distance codes, which zlib refuses and the faster inflater does not (CRC and size are proof);
    - of an archive that was refused, a member that was ``done`` has the same bytes in ``zipfile`` if that finds a
      member with that CRC and size at that place at all.
    """
    seen = by_zipfile(raw)
    if seen is None:
        return None if outcome.error or _is_excused(raw) else "zipfile refuses it"
    places = {member.offset: member for member in seen}
    if outcome.error is None:
        assert outcome.summary is not None
        if len(places) != len(seen) or len(seen) != outcome.summary.members:
            return f"zipfile sees {len(seen)} members"
        missing = [sink.member.name for sink in outcome.sinks if sink.member.offset not in places]
        if missing:
            return f"zipfile does not see {missing}"
    for sink in outcome.sinks:
        other = places.get(sink.member.offset)
        if sink.state != "done" or other is None:
            continue
        is_same = (other.raw_name, other.size, other.crc) == (
            sink.member.raw_name, len(sink.data), zlib.crc32(sink.data),
        )  # fmt: skip
        if outcome.error is None and not is_same:
            return f"zipfile reads another {sink.member.name!r}"
        if outcome.error is None and other.data is None and not _is_refused_by_zlib(raw, sink.member.offset):
            return f"zipfile cannot read {sink.member.name!r}"
        if is_same and other.data is not None and other.data != sink.data:
            return f"zipfile reads other bytes of {sink.member.name!r}"
    return None


def _is_refused_by_zlib(raw: bytes, offset: int) -> bool:
    name_size, extra_size = LOCAL.unpack_from(raw, offset)[9:]
    try:
        zlib.decompressobj(-15).decompress(raw[offset + LOCAL.size + name_size + extra_size :])
    except zlib.error:
        return True
    return False


def _is_excused(raw: bytes) -> bool:
    """Tell whether a record of the directory asks for a new reader, or has a name whose UTF-8 flag lies."""
    at = raw.find(b"PK\x01\x02")
    while at >= 0 and at + CENTRAL.size <= len(raw):
        fields = CENTRAL.unpack_from(raw, at)
        name = raw[at + CENTRAL.size : at + CENTRAL.size + fields[10]]
        if fields[2] & 0xFF > 63 or (fields[3] & 0x800 and not _is_utf8(name)):
            return True
        at = raw.find(b"PK\x01\x02", at + 1)
    return False


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
