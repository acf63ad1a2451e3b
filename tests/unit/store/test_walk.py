"""The walk: every file once, sorted, nothing dropped silently."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from xferengine.errors import BadInput
from xferengine.model.dicom import ProblemKind
from xferengine.store import walk
from xferengine.store.walk import WalkBatch, check_paths, walk_files

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX links and names")


def all_of(*paths: Path, batch_files: int = 256) -> WalkBatch:
    total = WalkBatch()
    for batch in walk_files(check_paths([str(path) for path in paths]), batch_files=batch_files):
        assert 0 < len(batch) <= batch_files
        total.paths += batch.paths
        total.problems += batch.problems
        total.others += batch.others
    return total


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_files_come_sorted_and_before_folders(tmp_path: Path) -> None:
    make(tmp_path, "b/2", "b/1", "a/x/9", "a/y", "z", "c")
    found = all_of(tmp_path, batch_files=2)
    assert [os.path.relpath(path, tmp_path).replace(os.sep, "/") for path in found.paths] == [
        "c",
        "z",
        "a/y",
        "a/x/9",
        "b/1",
        "b/2",
    ]


def test_hidden_entries_are_reported_not_read(tmp_path: Path) -> None:
    make(tmp_path, ".DS_Store", "._IM1", "Thumbs.db", ".git/config", "IM1")
    found = all_of(tmp_path)
    assert [Path(path).name for path in found.paths] == ["IM1"]
    assert {Path(other.source.path).name for other in found.others} == {".DS_Store", "._IM1", "Thumbs.db", ".git"}
    assert {other.why for other in found.others} == {"hidden"}


def test_a_hidden_path_that_was_named_is_read(tmp_path: Path) -> None:
    make(tmp_path, ".hidden/IM1", ".one")
    assert len(all_of(tmp_path / ".hidden").paths) == 1
    assert len(all_of(tmp_path / ".one").paths) == 1


def test_a_missing_path_is_refused_before_anything(tmp_path: Path) -> None:
    make(tmp_path, "a")
    with pytest.raises(BadInput, match="nowhere"):
        check_paths([str(tmp_path), str(tmp_path / "nowhere")])


def test_an_empty_folder_gives_nothing(tmp_path: Path) -> None:
    assert len(all_of(tmp_path)) == 0


def test_paths_inside_other_paths_are_walked_once(tmp_path: Path) -> None:
    make(tmp_path, "a/1", "a/.cache/2", "b/3")
    found = all_of(tmp_path, tmp_path / "a", tmp_path / "a" / "1", tmp_path, tmp_path / "a" / ".cache")
    assert sorted(Path(path).name for path in found.paths) == ["1", "2", "3"]


@posix_only
def test_links_to_files_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    make(tmp_path, "in/a/1", "elsewhere/2", "elsewhere/folder/3")
    inside = tmp_path / "in"
    (inside / "file").symlink_to(tmp_path / "elsewhere" / "2")
    (inside / "a" / "loop").symlink_to(inside)
    (inside / "away").symlink_to(tmp_path / "elsewhere")
    (inside / "broken").symlink_to(tmp_path / "nothing")
    found = all_of(inside)
    assert [Path(path).name for path in found.paths] == ["file", "1"]
    assert {Path(problem.shown).name for problem in found.problems} == {"away", "broken"}
    assert {problem.kind for problem in found.problems} == {ProblemKind.UNREADABLE}


@posix_only
def test_a_link_that_was_named_is_followed(tmp_path: Path) -> None:
    make(tmp_path, "real/1")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(all_of(tmp_path / "link").paths) == 1
    assert len(all_of(tmp_path / "link", tmp_path / "real").paths) == 1


@posix_only
def test_pipes_and_names_that_are_no_text_are_reported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    bad = os.path.join(os.fsencode(tmp_path), b"bad\xff")
    with open(bad, "wb") as file:
        file.write(b"x")
    found = all_of(tmp_path)
    assert not found.paths
    assert [Path(other.source.path).name for other in found.others] == ["pipe"]
    assert [Path(problem.shown).name for problem in found.problems] == ["bad\\xff"]


def test_an_unreadable_folder_is_named_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/1", "locked/2", "z/3")
    scandir = os.scandir

    def refuse(path: str):
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(walk.os, "scandir", refuse)
    found = all_of(tmp_path)
    assert [Path(path).name for path in found.paths] == ["1", "3"]
    (problem,) = found.problems
    assert problem.kind is ProblemKind.UNREADABLE
    assert problem.shown.endswith("locked")
    assert "Permission denied" in problem.detail


def test_a_huge_folder_is_sorted_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, *(f"{number:03d}" for number in range(50)))
    monkeypatch.setattr(walk, "_SORT_ENTRIES", 8)
    names = [Path(path).name for path in all_of(tmp_path).paths]
    assert sorted(names) == [f"{number:03d}" for number in range(50)]
    assert all(names[at : at + 8] == sorted(names[at : at + 8]) for at in range(0, 50, 8))
