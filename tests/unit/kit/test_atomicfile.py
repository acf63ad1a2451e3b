"""Files that are old or new, and disk errors in our words."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from xferengine.errors import BadInput, DiskFull
from xferengine.kit.atomicfile import map_disk_errors, write_atomic


def test_write_replaces_the_file_with_the_mode_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_bytes(b"old")

    write_atomic(target, b"new", 0o640)

    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["a.json"]


def test_private_by_default(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_full_disk_leaves_the_old_file_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="no space left"):
        write_atomic(target, b"new")

    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_missing_folder_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist") as caught:
        write_atomic(tmp_path / "no" / "a", b"")
    assert caught.value.path == str(tmp_path / "no" / "a")


def test_order_is_file_then_rename_then_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        steps.append("fsync folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "fsync file")
        real_fsync(handle)

    def replace(old: str, new: str) -> None:
        steps.append("rename")
        real_replace(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomic(tmp_path / "a", b"x")

    assert steps == ["fsync file", "rename", "fsync folder"]


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        (errno.ENOSPC, DiskFull, "no space left"),
        (errno.EDQUOT, DiskFull, "no space left"),
        (errno.EACCES, BadInput, "permission denied"),
        (errno.EROFS, BadInput, "read-only"),
        (errno.EMFILE, BadInput, "ulimit"),
        (errno.ESTALE, BadInput, os.strerror(errno.ESTALE)),
    ],
)
def test_system_errors_become_ours(code: int, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught, map_disk_errors("/some/where"):
        raise OSError(code, os.strerror(code))
    assert isinstance(caught.value.__cause__, OSError)
    assert "/some/where" in str(caught.value)


def test_other_errors_pass_untouched() -> None:
    with pytest.raises(KeyError), map_disk_errors("x"):
        raise KeyError("x")
