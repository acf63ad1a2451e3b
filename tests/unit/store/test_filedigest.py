"""Reading files for their MD5, and asking a file system what it takes for one name, without writing anything."""

import hashlib
import os
from pathlib import Path

import pytest

from xferengine.errors import BadInput, SourceChanged
from xferengine.store import filedigest
from xferengine.store.filedigest import DigestedFile, kind_of, read_traits
from xferengine.store.names import FolderTraits


def seen(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns, state.st_ino


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3_000_000])
@pytest.mark.parametrize("step", [1 << 20, 700_000])
def test_the_digest_is_that_of_all_bytes_however_they_are_read(tmp_path: Path, size: int, step: int) -> None:
    data = os.urandom(size)
    path = tmp_path / "f"
    path.write_bytes(data)
    with DigestedFile(str(path), seen(path)) as file:
        steps = []
        while got := file.step(step):
            steps.append(got)
        assert file.result() == hashlib.md5(data).hexdigest()
    assert sum(steps) == size
    assert all(got <= step for got in steps)


def test_another_file_than_was_seen_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"1")
    before = seen(path)
    path.write_bytes(b"22")
    with pytest.raises(SourceChanged):
        DigestedFile(str(path), before)


def test_a_file_that_changes_while_it_is_read_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"1")
    with DigestedFile(str(path), seen(path)) as file:
        file.step(10)
        os.utime(path, ns=(5, 5))
        with pytest.raises(SourceChanged):
            file.result()
    with DigestedFile(str(path), seen(path)) as file, pytest.raises(SourceChanged):
        file.result()  # read to nowhere near its end


def test_links_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe", "nothing"):
        with pytest.raises(BadInput):
            DigestedFile(str(tmp_path / name), (0, 0, 0))
    kinds = {name: kind_of(str(tmp_path / name)) for name in ("f", "link", "folder", "pipe", "nothing")}
    assert kinds == {"f": "file", "link": "link", "folder": "folder", "pipe": "other", "nothing": ""}
    assert kind_of(str(tmp_path / ("x" * 300))) == ""
    assert kind_of("a\0b") == ""


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"1")
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(3):
        with pytest.raises(SourceChanged):
            DigestedFile(str(path), (9, 9, 9))
        with DigestedFile(str(path), seen(path)):
            pass
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before


def test_a_disk_that_tells_names_apart(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("sub/File.txt", "\u00e9.txt", "123"):
        (tmp_path / name).write_bytes(b"")
    os.link(tmp_path / "sub/File.txt", tmp_path / "sub/fILE.TXT")  # another name of the same file is no folding
    assert read_traits(tmp_path, ["sub/File.txt", "\u00e9.txt", "123", "gone"]) == FolderTraits()


def test_a_disk_that_folds_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "File.txt").write_bytes(b"")
    (tmp_path / "\u00e9.txt").write_bytes(b"")
    real = os.lstat
    folds = {"fILE.TXT": "File.txt", "e\u0301.txt": "\u00e9.txt"}

    def lstat(path: Path) -> os.stat_result:
        return real(path.with_name(folds.get(path.name, path.name)))

    with monkeypatch.context() as patched:
        patched.setattr(filedigest.os, "lstat", lstat)
        case, form = read_traits(tmp_path, ["File.txt"]), read_traits(tmp_path, ["\u00e9.txt"])
    assert case == FolderTraits(ignores_case=True)
    assert form == FolderTraits(ignores_form=True)
