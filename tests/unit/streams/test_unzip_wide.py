"""Beyond 4 GiB and 65,535: true sizes stream through, made of one block again and again; and the memory it takes."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Iterator

from proofs.unzip_kit import Entry, central_part, end_part, local_part

from xferengine.errors import ArchiveBroken
from xferengine.kit.checksums import crc32
from xferengine.streams import zipframe
from xferengine.streams.unzip import Member, Unzip, UnzipLimits

MIB = 1 << 20
ZEROS = bytes(MIB)


class Counting:
    """A sink that keeps nothing."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.size = 0
        self.longest = 0
        self.state = "open"

    def write(self, data: bytes | memoryview) -> None:
        self.size += len(data)
        self.longest = max(self.longest, len(data))

    def done(self, *, size: int, crc: int) -> None:
        assert size == self.size
        self.state = "done"

    def broken(self, error: Exception) -> None:
        self.state = f"broken: {error}"


def crc_of_zeros(mibs: int, tail: bytes) -> int:
    crc = 0
    for _ in range(mibs):
        crc = crc32(ZEROS, crc)
    return crc32(tail, crc)


def feed_all(pieces: Iterator[bytes]) -> tuple[list[Counting], Unzip]:
    sinks: list[Counting] = []

    def take(member: Member) -> Counting:
        sinks.append(Counting(member))
        return sinks[-1]

    unzip = Unzip(take)
    for piece in pieces:
        unzip.feed(piece)
    return sinks, unzip


def test_stored_member_of_more_than_4_gib_and_another_behind_it() -> None:
    mibs = 4097
    size, crc = mibs * MIB + 1, crc_of_zeros(mibs, b"x")
    header = zipframe.stored_header("huge", size=size, crc=crc)
    small = zipframe.stored_header("small", size=1, crc=zlib.crc32(b"y")) + b"y"
    placed = [
        zipframe.Placed(name="huge", method=0, crc=crc, packed_size=size, size=size, offset=0),
        zipframe.Placed(name="small", method=0, crc=zlib.crc32(b"y"), packed_size=1, size=1, offset=len(header) + size),
    ]

    def pieces() -> Iterator[bytes]:
        yield header
        for _ in range(mibs):
            yield ZEROS
        yield b"x" + small
        yield zipframe.directory(placed, offset=len(header) + size + len(small))

    sinks, unzip = feed_all(pieces())
    assert [(sink.member.name, sink.member.size, sink.state) for sink in sinks] == [
        ("huge", size, "done"),
        ("small", 1, "done"),
    ]
    assert unzip.finish().archive_bytes > 1 << 32


def test_deflated_member_of_more_than_4_gib_with_a_wide_descriptor() -> None:
    """Made of one deflate block that stands on its own; the pieces that come out stay small."""
    mibs = 4097
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(16 * MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, zlib.DEFLATED, -15)
    blocks, last = mibs // 16, end.compress(bytes((mibs % 16) * MIB) + b"x") + end.flush()
    size, crc = mibs * MIB + 1, crc_of_zeros(mibs, b"x")
    packed_size = len(packed) * blocks + len(last)
    header = zipframe.deflated_header("huge", size=size)
    tail = zipframe.descriptor(crc=crc, packed_size=packed_size, size=size)
    placed = zipframe.Placed(name="huge", method=8, crc=crc, packed_size=packed_size, size=size, offset=0)

    def pieces() -> Iterator[bytes]:
        yield header
        for _ in range(blocks):
            yield packed
        yield last + tail
        yield zipframe.directory([placed], offset=len(header) + packed_size + len(tail))

    sinks, unzip = feed_all(pieces())
    assert [sink.state for sink in sinks] == ["done"]
    assert sinks[0].longest <= 256 << 10
    assert unzip.finish().members == 1


def test_number_of_members_around_the_16_bit_limit() -> None:
    """The ZIP64 end record appears where the number does not fit, or is the one that stands for it."""
    entry = Entry(data=b"")
    local = local_part(entry)
    records = [central_part(entry, number * len(local)) for number in range(65_536)]
    for members, is_wide, result in ((65_535, False, 65_535), (65_536, True, 65_536), (65_536, False, None)):
        size, offset = members * len(records[0]), members * len(local)
        said = members if is_wide else members & 0xFFFF
        end = end_part(members=said, size=size, offset=offset, is_wide=is_wide)
        assert counted(local * members + b"".join(records[:members]) + end) == result


def counted(raw: bytes) -> int | None:
    unzip = Unzip(lambda member: None)
    try:
        unzip.feed(raw)
    except ArchiveBroken:
        return None
    return unzip.finish().members


def test_memory_does_not_grow_with_names_or_sizes() -> None:
    """Many members, the directory in reverse order: 17 bytes each, and some for growing."""
    count = 20_000
    unzip = Unzip(lambda member: None, limits=UnzipLimits(members=count))
    entry = Entry(name=b"n" * 200, data=b"")
    local = local_part(entry)
    tracemalloc.start()
    try:
        for _ in range(count // 1000):
            unzip.feed(local * 1000)
        for number in range(count - 1, -1, -1):
            unzip.feed(central_part(entry, number * len(local)))
        unzip.feed(end_part(members=count, size=count * 246, offset=count * len(local)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert unzip.finish().members == count
    assert peak / count < 40
