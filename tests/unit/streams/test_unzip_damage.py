"""Damage anywhere: cut at any byte, any bit flipped, records altered. Nothing wrong is ever ``done``."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proofs.unzip_kit import Entry, deflate, disagreement, make_zip, read, unicode_path

RNG = random.Random(5)

FILES = [
    Entry(name=b"S/stored", data=RNG.randbytes(40)),
    Entry(name=b"S/deflated", data=b"abc" * 40, method=8),
    Entry(name=b"S/streamed", data=b"abd" * 40, method=8, descriptor="signed32"),
    Entry(name=b"S/bare", data=b"abe" * 40, method=8, descriptor="bare64"),
    Entry(name=b"S/f/", data=b"", mode=0o040755),
    Entry(name=b"\x81", data=b"wide", is_wide=True, extra=unicode_path("ü", b"\x81"),
          central_extra=unicode_path("ü", b"\x81")),
]  # fmt: skip
RAW = make_zip(FILES, is_wide=True, comment=b"comment")
WHOLE = read(RAW)
CONTENTS = [entry.data for entry in FILES]
ENDS = [*(sink.member.offset for sink in WHOLE.sinks[1:]), RAW.index(b"PK\x01\x02")]


def test_the_specimen_is_whole() -> None:
    assert [bytes(sink.data) for sink in WHOLE.sinks] == CONTENTS
    assert WHOLE.error is None
    assert disagreement(RAW, WHOLE) is None


def test_cut_at_any_byte() -> None:
    for stop in range(len(RAW)):
        outcome = read(RAW[:stop], [stop // 2])
        assert outcome.error is not None
        states = [sink.state for sink in outcome.sinks]
        whole = sum(end <= stop for end in ENDS)
        # the record after a data descriptor is looked at before the member before it is trusted
        assert states.count("done") in {whole, max(whole - 1, 0)}
        assert states[: states.count("done")] == ["done"] * states.count("done")
        assert [bytes(sink.data) for sink in outcome.sinks if sink.state == "done"] == CONTENTS[: states.count("done")]


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_any_byte_flipped(flip: int) -> None:
    """What is still taken says the same in ``zipfile``; what is done is what was sent, unless its header was hit."""
    for position in range(len(RAW)):
        raw = bytearray(RAW)
        raw[position] ^= flip
        outcome = read(bytes(raw))
        assert disagreement(bytes(raw), outcome) is None, position
        for sink in outcome.sinks:
            if sink.state == "done" and sink.data:
                assert bytes(sink.data) in CONTENTS, position


def test_any_byte_lost_or_doubled_ends_the_archive() -> None:
    for position in range(len(RAW)):
        for raw in (
            RAW[:position] + RAW[position + 1 :],
            RAW[:position] + RAW[position : position + 1] + RAW[position:],
        ):
            outcome = read(raw)
            assert outcome.error is not None
            assert all(bytes(sink.data) in CONTENTS for sink in outcome.sinks if sink.state == "done")


@given(st.lists(st.tuples(st.integers(0, len(RAW) - 1), st.integers(1, 255)), min_size=1, max_size=4), st.data())
def test_several_bytes_flipped_and_any_cutting(flips: list[tuple[int, int]], data: st.DataObject) -> None:
    raw = bytearray(RAW)
    for position, flip in flips:
        raw[position] ^= flip
    whole = read(bytes(raw))
    cut = read(bytes(raw), data.draw(st.lists(st.integers(0, len(RAW)), max_size=9)))
    assert cut.verdict == whole.verdict
    assert disagreement(bytes(raw), whole) is None


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_any_bytes_at_all(raw: bytes, cuts: list[int]) -> None:
    cuts = [min(cut, len(raw)) for cut in cuts]
    assert read(raw, cuts).verdict == read(raw).verdict
    assert read(raw).error is not None


CENTRAL_LIES = [
    {"crc": 1}, {"size": 5}, {"packed": 5}, {"offset": 1}, {"method": 0}, {"method": 97}, {"flags": 1},
]  # fmt: skip


@pytest.mark.parametrize("lie", CENTRAL_LIES, ids=str)
@pytest.mark.parametrize("descriptor", ["", "signed32"])
def test_a_directory_that_says_anything_else_is_refused(lie: dict[str, int], descriptor: str) -> None:
    entry = Entry(name=b"lie", method=8, descriptor=descriptor, in_central=lie)
    outcome = read(make_zip([Entry(name=b"true"), entry]))
    assert outcome.error is not None
    assert outcome.states == [("true", "done"), ("lie", "done")]
    assert read(make_zip([Entry(name=b"true"), Entry(name=b"lie", method=8, descriptor=descriptor)])).error is None


@pytest.mark.parametrize(
    "lie",
    [{"members": 1}, {"here": 1}, {"size": 1}, {"offset": 1}, {"disk": 1}, {"start_disk": 1},
     {"members": 3, "here": 3}, {"members": 0xFFFF, "here": 0xFFFF}, {"offset": 0xFFFFFFFF}],
    ids=str,
)  # fmt: skip
def test_an_end_record_that_says_anything_else_is_refused(lie: dict[str, int]) -> None:
    files = [Entry(name=b"a"), Entry(name=b"b")]
    assert read(make_zip(files, in_end=lie)).error is not None
    hides_nothing = set(lie.values()) <= {0xFFFF, 0xFFFFFFFF}
    assert (read(make_zip(files, in_end=lie, is_wide=True)).error is None) == hides_nothing


@pytest.mark.parametrize(
    "lie",
    [{"members": 1}, {"here": 1}, {"size": 1}, {"offset": 1}, {"disk": 1}, {"start_disk": 1}, {"length": 45},
     {"locator_disk": 1}, {"disks": 2}, {"place": 1}],
    ids=str,
)  # fmt: skip
def test_a_wide_end_record_that_says_anything_else_is_refused(lie: dict[str, int]) -> None:
    files = [Entry(name=b"a"), Entry(name=b"b")]
    assert read(make_zip(files, is_wide=True, in_wide=lie)).error is not None


def test_members_swapped_in_place_are_seen_by_the_directory() -> None:
    """Two headers of equal length that changed places: each member is whole by CRC, and under the other's name."""
    first, second = Entry(name=b"one", data=b"1" * 9), Entry(name=b"two", data=b"2" * 9)
    true, swapped = make_zip([first, second]), make_zip([second, first])
    start = true.index(b"PK\x01\x02")
    outcome = read(swapped[:start] + true[start:])
    assert [state for _, state in outcome.states] == ["done", "done"]
    assert "contradicts" in str(outcome.error)


def test_a_directory_that_lists_one_member_in_the_place_of_another() -> None:
    raw = make_zip([Entry(name=b"a"), Entry(name=b"b")], order=lambda records: records[:1] * 2)
    assert "twice" in str(read(raw).error)
    raw = make_zip([Entry(name=b"a"), Entry(name=b"b")], order=lambda records: records[1:])
    assert "1 of 2" in str(read(raw).error)


def test_a_crc_that_fits_a_changed_descriptor_but_not_the_directory() -> None:
    entry = Entry(data=b"abcd", method=8, descriptor="signed32")
    other = deflate(b"abce")
    true = make_zip([entry])
    raw = true.replace(deflate(b"abcd"), other).replace(
        zlib.crc32(b"abcd").to_bytes(4, "little"), zlib.crc32(b"abce").to_bytes(4, "little"), 1
    )
    outcome = read(raw)
    assert outcome.states == [("a.dcm", "done")]
    assert outcome.error is not None
