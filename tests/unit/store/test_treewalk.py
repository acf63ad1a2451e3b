"""The walk of a folder that verify and upload-files compare with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xferengine.errors import BadInput
from xferengine.store import treewalk
from xferengine.store.treewalk import TreeFile, TreeProblem, walk_tree


def make(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


def test_files_come_in_the_order_of_their_whole_paths(tmp_path: Path) -> None:
    paths = ["a/b", "a.txt", "a-b/c", "a/b.c/d", "Z", "é/x", "a0", "a/c"]
    make(tmp_path, *paths)

    found = list(walk_tree(tmp_path))

    assert [file.path for file in found] == sorted(paths)
    assert all(isinstance(file, TreeFile) and file.size == len(file.path.encode()) for file in found)
    assert isinstance(found[0], TreeFile)
    assert found[0].mtime_ns == (tmp_path / found[0].path).stat().st_mtime_ns


def test_a_folder_larger_than_what_is_sorted_at_once_is_sorted_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(treewalk, "SORT_ENTRIES", 7)
    paths = [f"big/{number}" for number in range(40)] + [f"big/{number}d/x" for number in range(12)] + ["z"]
    make(tmp_path, *paths)

    assert [file.path for file in walk_tree(tmp_path)] == sorted(paths)


def test_our_own_folder_is_skipped_at_the_top_only(tmp_path: Path) -> None:
    make(tmp_path, ".xferengine/lock", "a/.xferengine/x", ".hidden")

    assert [file.path for file in walk_tree(tmp_path)] == [".hidden", "a/.xferengine/x"]


@pytest.mark.skipif(os.name == "nt", reason="links and devices of POSIX")
def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    make(tmp_path, "a")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "loop").symlink_to(".")
    os.mkfifo(tmp_path / "pipe")

    found = list(walk_tree(tmp_path))

    assert [entry.path for entry in found] == ["a", "link", "loop", "pipe"]
    problems = [entry for entry in found if isinstance(entry, TreeProblem)]
    assert [problem.detail for problem in problems] == [
        "links are not followed",
        "links are not followed",
        "it is no file",
    ]


def test_an_unreadable_folder_is_named_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/x", "b/y", "c")
    real = os.scandir

    def refuse(path: str) -> object:
        if path.rstrip("/").endswith("a"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = list(walk_tree(tmp_path))

    assert found[0] == TreeProblem(path="a", detail="it cannot be read: Permission denied", is_folder=True)
    assert [entry.path for entry in found[1:]] == ["b/y", "c"]


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names there are Unicode")
def test_a_name_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"bad\xff")).write_bytes(b"")

    assert list(walk_tree(tmp_path)) == [TreeProblem(path="bad\\xff", detail="its name is not valid UTF-8")]


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no folder"):
        list(walk_tree(tmp_path / "missing"))
