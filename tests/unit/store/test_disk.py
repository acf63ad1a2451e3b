"""What the real disk can do, and that the forgetful one stands in for it."""

from __future__ import annotations

import os
import random
import stat
import sys
from pathlib import Path

import pytest
from forgetful_disk import ForgetfulDisk

from xferengine.store.disk import Disk, LocalDisk, file_system_type

MOUNTS = """\
27 1 254:0 / / rw - ext4 /dev/vda rw
30 27 0:25 / /mnt/nas rw,relatime shared:1 - nfs4 host:/x rw
31 27 0:26 / /mnt/nas/a\\040b rw - xfs /dev/vdb rw
32 27 0:27 / /over rw - ext4 /dev/vdc rw
33 27 0:28 / /over rw - fuse.sshfs host: rw
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/home/x", "ext4"),
        ("/mnt/nas", "nfs4"),
        ("/mnt/nas/deep/er", "nfs4"),
        ("/mnt/nasty", "ext4"),
        ("/mnt/nas/a b/c", "xfs"),
        ("/over/x", "fuse.sshfs"),
    ],
)
def test_the_file_system_of_a_path(path: str, found: str) -> None:
    assert file_system_type(path, MOUNTS) == found


def test_a_table_without_the_path_says_nothing() -> None:
    assert file_system_type("/x", "") == ""


def test_reserving_keeps_the_size_and_is_no_error_where_it_cannot_be_done(tmp_path: Path) -> None:
    disk = LocalDisk()
    fd = disk.open(str(tmp_path / "file"), os.O_RDWR | os.O_CREAT)
    try:
        disk.reserve(fd, 1 << 20)
        assert disk.fstat(fd).st_size == 0
    finally:
        disk.close(fd)
    read, write = os.pipe()
    try:
        if sys.platform == "linux":
            with pytest.raises(OSError, match=r"seek|pipe"):
                disk.reserve(write, 1 << 20)
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.skipif(sys.platform != "linux", reason="syncfs is Linux's")
def test_syncing_all_works_here_and_tells_of_errors(tmp_path: Path) -> None:
    disk = LocalDisk()
    disk.sync_all(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        disk.sync_all(str(tmp_path / "missing"))
    assert not disk.can_sync_all("/proc")


def _play(disk: Disk, root: str, seed: int) -> list[object]:
    """Do the same random things on any disk; returns all that can be seen."""
    rng, seen = random.Random(seed), []
    paths = [f"{root}/{folder}{name}" for folder in ("", "d/", "e/") for name in ("a", "b", "d")]
    for _ in range(60):
        path, other = rng.choice(paths), rng.choice(paths)
        try:
            match rng.randrange(7):
                case 0:
                    disk.mkdir(path)
                case 1:
                    disk.unlink(path)
                case 2:
                    if stat.S_ISREG(disk.lstat(path).st_mode):
                        disk.rename(path, other)
                case 3:
                    disk.rmdir(path)
                case 4:
                    seen.append(disk.lstat(path).st_size if stat.S_ISREG(disk.lstat(path).st_mode) else "folder")
                case 5:
                    seen.append(sorted(disk.names(os.path.dirname(path))))
                case _:
                    fd = disk.open(path, os.O_RDWR | os.O_CREAT | rng.choice([os.O_EXCL, os.O_TRUNC, 0]))
                    if disk.write_at(fd, b"x", rng.randrange(5)):
                        disk.truncate(fd, rng.randrange(1, 9))
                    seen.append(disk.read_at(fd, 0, 99))
                    disk.close(fd)
        except OSError as error:
            seen.append(type(error).__name__)
    return seen


@pytest.mark.skipif(sys.platform != "linux", reason="which error comes first differs")
@pytest.mark.parametrize("seed", range(40))
def test_the_forgetful_disk_behaves_like_the_real_one_while_the_power_is_on(tmp_path: Path, seed: int) -> None:
    assert _play(ForgetfulDisk(), "", seed) == _play(LocalDisk(), str(tmp_path), seed)
