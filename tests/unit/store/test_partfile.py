"""Part files: whole, appended to, written in ranges, resumed, refused."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from pathlib import Path

import pytest
from forgetful_disk import ForgetfulDisk
from hypothesis import given
from hypothesis import strategies as st

from xferengine.errors import BadInput, DiskFull
from xferengine.store import partfile
from xferengine.store.disk import LocalDisk
from xferengine.store.partfile import PartFile, write_whole

DISK = LocalDisk()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@pytest.mark.parametrize("pieces", [[], [b""], [b"abc"], [b"ab", b"", memoryview(b"cd")], [b"x" * 10] * 2500])
def test_a_small_file_is_written_at_once(tmp_path: Path, pieces: list[bytes]) -> None:
    path = tmp_path / "1"

    result = write_whole(DISK, str(path), pieces, hashing=True)

    whole = b"".join(bytes(piece) for piece in pieces)
    assert path.read_bytes() == whole
    assert (result.path, result.size, result.md5) == (str(path), len(whole), md5(whole))
    assert write_whole(DISK, str(path), pieces, hashing=False).md5 == ""


@given(st.lists(st.binary(max_size=6), max_size=6))
def test_a_system_that_takes_less_than_it_is_given_gets_the_rest(pieces: list[bytes]) -> None:
    disk = ForgetfulDisk()

    write_whole(disk, "/1", pieces, hashing=False)

    assert disk.files() == {"/1": b"".join(pieces)}
    assert disk.open_files == 0


def test_a_whole_file_replaces_a_part_and_never_writes_into_it(tmp_path: Path) -> None:
    path = tmp_path / "1"
    path.write_bytes(b"final under another name")
    os.link(path, tmp_path / "final")

    write_whole(DISK, str(path), [b"new"], hashing=False)

    assert (tmp_path / "final").read_bytes() == b"final under another name"


def test_a_full_disk_leaves_no_whole_file() -> None:
    disk = ForgetfulDisk(free=5)

    with pytest.raises(DiskFull):
        write_whole(disk, "/1", [b"1234567890"], hashing=False)

    assert disk.files() == {}
    assert disk.open_files == 0


def test_appending_digests_on_the_way(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(100_000)
    with PartFile(DISK, str(tmp_path / "1"), size=len(data), hashing=True) as part:
        for at in range(0, len(data), 7000):
            part.write(data[at : at + 7000])
            assert part.size_now == min(at + 7000, len(data))
        result = part.close()

    assert (tmp_path / "1").read_bytes() == data
    assert (result.size, result.md5) == (len(data), md5(data))


@pytest.mark.parametrize("hashing", [True, False])
def test_ranges_in_any_order(tmp_path: Path, hashing: bool) -> None:
    data = random.Random(2).randbytes(50_000)
    part = PartFile(DISK, str(tmp_path / "1"), size=len(data), hashing=hashing)
    for at in (40_000, 0, 20_000, 10_000, 30_000):
        part.write_at(at, memoryview(data)[at : at + 10_000])
        if at == 0:
            part.digest_to(10_000)
    result = part.close()

    assert (tmp_path / "1").read_bytes() == data
    assert result.md5 == (md5(data) if hashing else "")


def test_a_resumed_part_goes_on_and_its_digest_covers_what_was_there(tmp_path: Path) -> None:
    path = str(tmp_path / "1")
    with PartFile(DISK, path, hashing=True) as part:
        part.write(b"first half, ")

    with PartFile(DISK, path, resume=True, hashing=True) as part:
        assert part.size_now == 12
        part.write(b"second half")
        result = part.close()

    assert result.md5 == md5(b"first half, second half")


def test_a_part_that_is_not_resumed_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "1").write_bytes(b"old and longer")
    with PartFile(DISK, str(tmp_path / "1")) as part:
        assert part.size_now == 0
        part.write(b"new")

    assert (tmp_path / "1").read_bytes() == b"new"


def test_a_part_that_is_a_final_file_too_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "1").write_bytes(b"delivered")
    os.link(tmp_path / "1", tmp_path / "final")

    with PartFile(DISK, str(tmp_path / "1"), resume=True) as part:
        assert part.size_now == 0
        part.write(b"!")

    assert (tmp_path / "final").read_bytes() == b"delivered"


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links of POSIX")
def test_a_link_in_place_of_a_part_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"keep")
    (tmp_path / "1").symlink_to("elsewhere")

    with pytest.raises(BadInput):
        PartFile(DISK, str(tmp_path / "1"), resume=True)
    write_whole(DISK, str(tmp_path / "1"), [b"new"], hashing=False)

    assert (tmp_path / "elsewhere").read_bytes() == b"keep"


@given(st.lists(st.one_of(st.binary(max_size=5), st.integers(0, 12)), max_size=10))
def test_writing_and_cutting_keep_size_and_digest_true(steps: list[bytes | int]) -> None:
    disk, expected = ForgetfulDisk(), b""
    with PartFile(disk, "/1", hashing=True) as part:
        for step in steps:
            if isinstance(step, bytes):
                part.write(step)
                expected += step
            elif step <= len(expected):
                part.truncate(step)
                expected = expected[:step]
            assert part.size_now == len(expected)
        result = part.close()

    assert disk.files() == {"/1": expected}
    assert (result.size, result.md5) == (len(expected), md5(expected))


def test_space_is_reserved_before_the_first_byte_and_shows_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = ForgetfulDisk(free=10 << 20)

    PartFile(disk, "/small", size=partfile.RESERVE_FROM_BYTES - 1).discard()
    assert "reserve" not in [what for what, _ in disk.log]
    with pytest.raises(DiskFull):
        PartFile(disk, "/big", size=11 << 20)

    assert disk.files() == {}
    assert disk.open_files == 0


def test_a_resumed_part_stays_when_space_for_the_rest_is_missing() -> None:
    disk = ForgetfulDisk(free=10 << 20)
    write_whole(disk, "/big", [b"begun"], hashing=False)

    with pytest.raises(DiskFull):
        PartFile(disk, "/big", size=11 << 20, resume=True)

    assert disk.files() == {"/big": b"begun"}
    assert disk.open_files == 0


def test_reserved_space_is_no_size_and_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "1"
    part = PartFile(DISK, str(path), size=9 << 20)
    part.write(b"abc")
    assert path.stat().st_size == 3
    part.close()

    assert path.stat().st_size == 3
    assert path.stat().st_blocks * 512 < 1 << 20


def test_a_disk_that_fills_up_in_the_middle_is_told_and_the_part_can_go() -> None:
    disk = ForgetfulDisk(free=25)
    part = PartFile(disk, "/1")
    part.write(b"x" * 20)
    with pytest.raises(DiskFull):
        part.write(b"y" * 20)
    assert part.size_now == 20

    part.discard()

    assert disk.files() == {}
    assert disk.open_files == 0


def test_a_part_can_be_read_and_made_durable_while_it_is_written() -> None:
    disk = ForgetfulDisk()
    with PartFile(disk, "/1") as part:
        part.write_at(3, b"defg")
        part.write_at(0, b"abc")
        assert [part.read_at(1, 3), part.read_at(5, 9), part.read_at(7, 1)] == [b"bcd", b"fg", b""]
        part.sync()
        part.write(b"lost")

    assert disk.crash(random.Random(1), lose_all=True).files() == {"/1": b"abcdefg", "/1.synced": b""}


def test_leaving_keeps_the_part_and_closing_twice_is_harmless(tmp_path: Path) -> None:
    with PartFile(DISK, str(tmp_path / "1")) as part:
        part.write(b"kept")
        part.leave()
    part.discard()

    assert not (tmp_path / "1").exists()
    part.discard()


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o000, 0o644)])
def test_files_have_the_mode_the_person_wants(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_whole(DISK, str(tmp_path / "1"), [b"x"], hashing=False)
        PartFile(DISK, str(tmp_path / "2")).close()
    finally:
        os.umask(before)

    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "12"] == [mode, mode]
