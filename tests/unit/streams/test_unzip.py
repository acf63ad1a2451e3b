"""What the streaming reader promises: order of calls, what is broken alone, what ends the archive, limits."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proofs.unzip_kit import Entry, Kept, deflate, end_part, local_part, make_zip, read, unicode_path, zip64_field

from xferengine.errors import ArchiveBroken, DigestMismatch, DiskFull, ReadInterrupted, SizeMismatch
from xferengine.streams.unzip import Member, Unzip, UnzipLimits

DESCRIPTORS = ["signed32", "signed64", "bare32", "bare64"]

contents = st.binary(max_size=300)
kinds = st.sampled_from([(0, ""), (8, ""), *((8, name) for name in DESCRIPTORS)])


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    drawn = draw(st.lists(st.tuples(contents, kinds, st.booleans()), max_size=6))
    return [
        Entry(name=b"f%d" % index, data=data, method=method, descriptor=descriptor, is_wide=is_wide)
        for index, (data, (method, descriptor), is_wide) in enumerate(drawn)
    ]


@given(entries(), st.booleans(), st.binary(max_size=30), st.data())
def test_any_cutting_into_feeds_gives_every_member(
    files: list[Entry], is_wide: bool, comment: bytes, data: st.DataObject
) -> None:
    raw = make_zip(files, is_wide=is_wide, comment=comment.replace(b"PK", b""), order=lambda records: records[::-1])
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=12))

    outcome = read(raw, cuts)

    assert outcome.files == {entry.name.decode(): entry.data for entry in files}
    assert outcome.summary is not None
    assert (outcome.summary.members, outcome.summary.broken) == (len(files), 0)
    assert outcome.summary.archive_bytes == len(raw)


def test_byte_by_byte() -> None:
    files = [Entry(name=b"f%d" % n, method=8, descriptor=name) for n, name in enumerate(DESCRIPTORS)]
    raw = make_zip([*files, Entry(name=b"stored", data=b"x" * 50)], is_wide=True, comment=b"hello")
    assert read(raw, range(len(raw))).files == read(raw).files


def test_a_member_is_announced_with_all_its_local_header_says() -> None:
    seen: list[Member] = []
    files = [
        Entry(name=b"folder/", data=b""),
        Entry(name=b"stored", data=b"abc"),
        Entry(name=b"deflated", data=b"abc", method=8),
        Entry(name=b"streamed", data=b"abc", method=8, descriptor="signed32"),
    ]
    raw = make_zip(files)
    unzip = Unzip(lambda member: seen.append(member))

    unzip.feed(raw)
    unzip.finish()

    crc = zlib.crc32(b"abc")
    facts = [(m.name, m.is_folder, m.method, m.size, m.crc, m.packed_size, m.has_descriptor) for m in seen]
    assert facts == [
        ("folder/", True, 0, 0, 0, 0, False),
        ("stored", False, 0, 3, crc, 3, False),
        ("deflated", False, 8, 3, crc, len(deflate(b"abc")), False),
        ("streamed", False, 8, None, None, None, True),
    ]
    assert [member.offset for member in seen] == [0, 37, 76, 76 + 38 + len(deflate(b"abc"))]


def test_skipped_members_are_passed_over_and_still_compared_with_the_directory() -> None:
    files = [
        Entry(name=b"stored", data=b"a" * 99),
        Entry(name=b"deflated", data=b"b" * 99, method=8),
        Entry(name=b"streamed", data=b"c" * 99, method=8, descriptor="bare32"),
        Entry(name=b"kept", data=b"d"),
    ]
    outcome = read(make_zip(files), take=lambda kept: kept if kept.member.name == "kept" else None)
    assert outcome.files == {"kept": b"d"}
    assert outcome.summary is not None
    assert outcome.summary.members == 4

    wrong = [Entry(name=b"stored", data=b"a" * 99, in_central={"crc": 1})]
    assert read(make_zip(wrong), take=lambda kept: None).error is not None


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (Entry(name=b"bad", data=b"abcd", packed=b"abce"), DigestMismatch),
        (Entry(name=b"bad", data=b"abcd", in_local={"crc": 1}), DigestMismatch),
        (Entry(name=b"bad", data=b"abcd", method=8, in_local={"size": 3}), SizeMismatch),
        (Entry(name=b"bad", data=b"abcd", method=8, in_local={"crc": 1}), DigestMismatch),
        (Entry(name=b"bad", method=8, packed=deflate(b"data") + b"more"), SizeMismatch),
        (Entry(name=b"bad", method=8, packed=deflate(b"data" * 50)[:-3]), SizeMismatch),
        (Entry(name=b"bad", method=8, packed=b""), SizeMismatch),
        (Entry(name=b"bad", method=8, packed=b"\xff" * 30), ArchiveBroken),
        (Entry(name=b"bad", method=8, descriptor="signed32", in_descriptor={"crc": 1}), DigestMismatch),
        (Entry(name=b"bad", method=8, descriptor="bare64", in_descriptor={"size": 1}), SizeMismatch),
        (Entry(name=b"bad", method=8, descriptor="bare32", in_descriptor={"packed": 1}), SizeMismatch),
        (Entry(name=b"bad", descriptor="signed32", in_descriptor={"crc": 1}), DigestMismatch),
    ],
)
def test_wrong_crc_or_size_breaks_that_member_alone(entry: Entry, kind: type[Exception]) -> None:
    raw = make_zip([Entry(name=b"before"), entry, Entry(name=b"after")])
    for cuts in ((), range(len(raw))):
        outcome = read(raw, cuts)
        assert outcome.states == [("before", "done"), ("bad", "broken"), ("after", "done")]
        assert type(outcome.sinks[1].error) is kind
        assert outcome.error is None
        assert outcome.summary is not None
        assert outcome.summary.broken == 1


def test_lost_framing_breaks_the_open_member_and_every_later_call() -> None:
    raw = make_zip([Entry(name=b"whole"), Entry(name=b"bad", method=8, descriptor="signed32", packed=b"\xff" * 30)])
    sinks: list[Kept] = []

    def take(member: Member) -> Kept:
        sinks.append(Kept(member))
        return sinks[-1]

    unzip = Unzip(take)
    with pytest.raises(ArchiveBroken, match="damaged"):
        unzip.feed(raw)
    assert [sink.state for sink in sinks] == ["done", "broken"]
    for call in (lambda: unzip.feed(b"x"), lambda: unzip.feed(b""), unzip.finish):
        with pytest.raises(ArchiveBroken, match="damaged"):
            call()
    assert len(sinks) == 2


def test_stored_with_a_descriptor_needs_its_size_in_front() -> None:
    known = [Entry(name=b"known", data=b"abc", descriptor=name) for name in DESCRIPTORS]
    assert [state for _, state in read(make_zip(known)).states] == ["done"] * 4
    empty = [Entry(name=b"empty", data=b"", descriptor=name) for name in DESCRIPTORS]
    assert [state for _, state in read(make_zip(empty)).states] == ["done"] * 4

    outcome = read(make_zip([Entry(data=b"abc" * 30, descriptor="signed32", in_local={"size": 0, "packed": 0})]))
    assert "without its size in front" in str(outcome.error)
    assert outcome.states == [("a.dcm", "broken")]


def test_abort_tells_the_open_member_and_only_that() -> None:
    sinks: list[Kept] = []

    def take(member: Member) -> Kept:
        sinks.append(Kept(member))
        return sinks[-1]

    unzip = Unzip(take)
    unzip.feed(make_zip([Entry(name=b"whole"), Entry(name=b"half", data=b"x" * 99)])[:100])
    error = ReadInterrupted("the connection broke")
    unzip.abort(error)
    unzip.abort(error)
    assert [(sink.state, sink.error) for sink in sinks] == [("done", None), ("broken", error)]
    with pytest.raises(ArchiveBroken, match="connection broke"):
        unzip.feed(b"")


class Failing(Kept):
    """A sink whose disk is full."""

    def write(self, data: bytes | memoryview) -> None:
        raise DiskFull("no space left")


def test_what_a_sink_raises_passes_through_and_ends_the_reading() -> None:
    sinks: list[Kept] = []

    def take(member: Member) -> Kept:
        sinks.append(Failing(member))
        return sinks[-1]

    unzip = Unzip(take)
    with pytest.raises(DiskFull) as caught:
        unzip.feed(make_zip([Entry()]))
    with pytest.raises(ArchiveBroken, match="given up"):
        unzip.feed(b"")
    assert sinks[0].state == "open"
    unzip.abort(caught.value)
    assert sinks[0].state == "broken"


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("descriptor", ["", "signed32"])
def test_a_member_above_its_limit_is_broken_and_never_given_more(method: int, descriptor: str) -> None:
    bomb = Entry(name=b"bomb", data=bytes(3_000_000), method=method, descriptor=descriptor)
    raw = make_zip([bomb, Entry(name=b"after", data=b"abcd")])
    limits = UnzipLimits(member_bytes=lambda member: 4 if member.name == "after" else 1_000_000)

    outcome = read(raw, limits=limits)

    assert outcome.states == [("bomb", "broken"), ("after", "done")]
    assert isinstance(outcome.sinks[0].error, SizeMismatch)
    assert len(outcome.sinks[0].data) <= 1_000_000
    assert outcome.error is None


def test_inflating_for_nobody_has_an_end() -> None:
    raw = make_zip([Entry(name=b"f%d" % n, data=bytes(600_000), method=8, descriptor="signed32") for n in range(3)])
    limits = UnzipLimits(passed_over_bytes=1_500_000)
    outcome = read(raw, limits=limits, take=lambda kept: None)
    assert "anybody asked" in str(outcome.error)
    assert read(raw, limits=limits).error is None


def test_number_of_members_is_limited() -> None:
    raw = make_zip([Entry(name=b"f%d" % n) for n in range(4)])
    assert read(raw, limits=UnzipLimits(members=4)).error is None
    outcome = read(raw, limits=UnzipLimits(members=3))
    assert "more than 3 members" in str(outcome.error)
    assert len(outcome.sinks) == 3


def test_links_and_devices_are_reported_by_their_unix_mode() -> None:
    modes = {
        b"file": 0o100644,
        b"none": 0,
        b"folder/": 0o040755,
        b"link": 0o120777,
        b"pipe": 0o010644,
        b"disk": 0o060600,
    }
    outcome = read(make_zip([Entry(name=name, mode=mode) for name, mode in modes.items()]))
    assert outcome.summary is not None
    assert (outcome.summary.links, outcome.summary.specials) == (("link",), ("pipe", "disk"))


def test_names_of_links_are_kept_in_bounded_memory() -> None:
    entry = Entry(name=b"n" * 65_000, data=b"", mode=0o120777)
    assert "too many links" in str(read(make_zip([entry] * 65)).error)


@pytest.mark.parametrize(
    ("raw_name", "flags", "extra", "name"),
    [
        (b"plain", 0, b"", "plain"),
        ("ünï".encode(), 0x800, b"", "ünï"),
        ("ünï".encode(), 0, b"", "ünï"),
        (b"\x81n\x8b", 0, b"", "ünï"),
        (b"\x81n\x8b", 0x800, b"", "ünï"),
        (b"\x81", 0, unicode_path("名", b"\x81"), "名"),
        (b"\x81", 0x800, unicode_path("名", b"\x81"), "ü"),
        (b"\x81", 0, unicode_path("名", b"\x81", crc=1), "ü"),
        (b"\x81", 0, b"\x75\x70\x06\x00\x01" + zlib.crc32(b"\x81").to_bytes(4, "little") + b"\xff", "ü"),
        (b"\x81", 0, b"\x75\x70\x01\x00\x01", "ü"),
        (b"a\0b", 0, b"", "a\0b"),
        (b"", 0, b"", ""),
        (b"x" * 65535, 0, b"", "x" * 65535),
    ],
)
def test_names(raw_name: bytes, flags: int, extra: bytes, name: str) -> None:
    outcome = read(make_zip([Entry(name=raw_name, flags=flags, extra=extra, central_extra=extra)]))
    assert outcome.files == {name: b"data"}
    assert outcome.sinks[0].member.raw_name == raw_name


def test_a_name_that_header_and_directory_decode_differently_is_refused() -> None:
    entry = Entry(name=b"\x81", extra=unicode_path("名", b"\x81"))
    assert "contradicts" in str(read(make_zip([entry])).error)


def test_empty_archive_and_archive_of_nothing() -> None:
    assert read(end_part(members=0, size=0, offset=0)).files == {}
    assert read(end_part(members=0, size=0, offset=0, is_wide=True, comment=b"hello")).files == {}
    assert "0 bytes came" in str(read(b"").error)


def test_feeds_of_every_buffer_kind_which_may_be_reused() -> None:
    raw = make_zip([Entry(name=b"f%d" % n, data=b"%d" % n * 40, method=8) for n in range(5)])
    sinks: list[Kept] = []

    def take(member: Member) -> Kept:
        sinks.append(Kept(member))
        return sinks[-1]

    unzip, buffer = Unzip(take), bytearray(7)
    for start in range(0, len(raw), 7):
        part = raw[start : start + 7]
        buffer[: len(part)] = part
        unzip.feed(memoryview(buffer)[: len(part)])
    unzip.feed(b"")
    assert unzip.finish() == unzip.finish()
    assert [bytes(sink.data) for sink in sinks] == [b"%d" % n * 40 for n in range(5)]


def test_a_local_zip64_field_with_one_size_only() -> None:
    """APPNOTE wants both; some writers give the one that did not fit."""
    entry = Entry(method=8, in_local={"size": 0xFFFFFFFF}, extra=zip64_field(4))
    assert read(make_zip([entry])).files == {"a.dcm": b"data"}
    packed = len(deflate(b"data"))
    entry = Entry(method=8, in_local={"packed": 0xFFFFFFFF}, extra=zip64_field(packed))
    assert read(make_zip([entry])).files == {"a.dcm": b"data"}
    entry = Entry(in_local={"packed": 0xFFFFFFFF, "size": 0xFFFFFFFF}, extra=zip64_field(4))
    assert "too short" in str(read(local_part(entry)).error)


def test_more_than_was_declared_never_reaches_the_sink() -> None:
    outcome = read(make_zip([Entry(name=b"bad", data=bytes(3_000_000), method=8, in_local={"size": 9})]))
    assert outcome.states == [("bad", "broken")]
    assert len(outcome.sinks[0].data) <= 9


def test_no_error_names_a_member() -> None:
    """Names hold labels of people."""
    name = b"Doe_John/scans/1"
    for entry in (
        Entry(name=name, in_local={"crc": 1}),
        Entry(name=name, flags=1),
        Entry(name=name, in_central={"crc": 1}),
    ):
        outcome = read(make_zip([entry]))
        errors = [outcome.error, *(sink.error for sink in outcome.sinks)]
        assert any(errors)
        assert "Doe" not in str(errors)


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("descriptor", ["", "signed32"])
def test_the_limit_of_a_member_is_exact(method: int, descriptor: str) -> None:
    raw = make_zip([Entry(data=b"x" * 100, method=method, descriptor=descriptor)])
    states = [read(raw, limits=UnzipLimits(member_bytes=lambda _, most=most: most)).states for most in (100, 99)]
    assert states == [[("a.dcm", "done")], [("a.dcm", "broken")]]
