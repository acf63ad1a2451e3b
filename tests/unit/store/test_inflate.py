"""Inflating streams: any order of forward reads gives the bytes; cuts and damage are seen."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xferengine.store.bytesource import UNKNOWN_SIZE, DamagedData, MemoryBytes
from xferengine.store.inflate import GZIP, RAW, InflateStream

PLAIN = random.Random(2).randbytes(100_000).hex().encode() + b"\0" * 300_000


def deflated(data: bytes) -> bytes:
    machine = zlib.compressobj(6, zlib.DEFLATED, RAW)
    return machine.compress(data) + machine.flush()


def opened(packed: bytes, wbits: int) -> InflateStream:
    return InflateStream(MemoryBytes(packed), 0, end=len(packed), wbits=wbits)


PACKED = {RAW: deflated(PLAIN), GZIP: gzip.compress(PLAIN[:150_000]) + gzip.compress(PLAIN[150_000:]) + b"\0" * 99}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([RAW, GZIP]), st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 90_000)), max_size=12))
def test_forward_reads_give_the_bytes(wbits: int, reads: list[tuple[int, int]]) -> None:
    stream, offset = opened(PACKED[wbits], wbits), 0
    for step, count in reads:
        offset += step
        assert stream.read_at(offset, count) == PLAIN[offset : offset + count]


@pytest.mark.parametrize("wbits", [RAW, GZIP])
def test_the_size_is_known_at_the_end(wbits: int) -> None:
    stream = opened(PACKED[wbits] + (b"behind" if wbits == RAW else b""), wbits)
    assert stream.size == UNKNOWN_SIZE
    assert stream.read_at(len(PLAIN), 10) == b""
    assert stream.size == len(PLAIN)
    assert wbits == GZIP or stream.packed_end == len(PACKED[RAW])


@pytest.mark.parametrize("wbits", [RAW, GZIP])
def test_cut_and_damaged_streams_are_seen(wbits: int) -> None:
    packed = PACKED[wbits].rstrip(b"\0") if wbits == RAW else gzip.compress(PLAIN)
    for size in (0, 1, 9, 20, 70_000, len(packed) - 1):
        with pytest.raises(DamagedData) as caught:
            opened(packed[:size], wbits).read_at(len(PLAIN), 1)
        assert caught.value.cut
    damaged = bytearray(packed)
    damaged[12:20] = b"\xff" * 8
    with pytest.raises(DamagedData):
        opened(bytes(damaged), wbits).read_at(len(PLAIN), 1)


def test_a_stream_cannot_be_read_backwards() -> None:
    stream = opened(PACKED[RAW], RAW)
    stream.read_at(300_000, 10)
    with pytest.raises(DamagedData):
        stream.read_at(0, 10)


@pytest.mark.parametrize("at", [1, 50_000, 149_999, 150_000, 150_001, 399_000])
def test_a_restart_point_gives_the_same_bytes(at: int) -> None:
    stream = opened(PACKED[GZIP], GZIP)
    stream.read_at(at, 1)
    point = stream.restart_point()
    stream.read_at(len(PLAIN), 1)  # the first stream goes on; the point must not move with it
    for _ in range(2):
        packed = PACKED[GZIP]
        again = InflateStream(MemoryBytes(packed), 0, end=len(packed), wbits=GZIP, restart=point)
        assert again.read_at(point.offset, 1 << 20) == PLAIN[point.offset :]
