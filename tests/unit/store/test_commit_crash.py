"""The power goes before any operation of a download: no final without its data, nothing delivered is lost."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from forgetful_disk import ForgetfulDisk, PowerCut

from xferengine.store.names import OWN_FOLDER
from xferengine.store.target import Deliver, Target, open_target

ROOT = "/data/target"
OLD = {"EXP/scans/1-T1/0.dcm": b"an older version", "kept.txt": b"not ours"}


@functools.cache
def content(key: int) -> bytes:
    return random.Random(key).randbytes((key * 7) % 40 if key % 3 else 30 + key)


def local(key: int) -> str:
    if key % 11 == 3:
        return f"EXP/notes/{key}.txt"
    return f"EXP/scans/{key // 4}-T1/{key % 4}.dcm" if key % 5 else f"OTHER/{key}"


TWICE = "EXP/scans/1-T1/0.dcm"
"""Stands there before, and is delivered as 4 and again as 100."""


def wanted() -> dict[str, bytes]:
    return {local(key): content(key) for key in range(14)} | {TWICE: content(100)}


def batches() -> Iterator[list[int]]:
    yield from ([0, 1, 2, 3, 4], [5], [6, 7, 8, 9, 10, 11], [100, 12], [13])


KEEPS_ACCOUNT = {9, 12}


def path_of(key: int) -> str:
    return TWICE if key == 100 else local(key)


@dataclass
class Manifest:
    """What a run remembers however it ends."""

    delivered: set[int] = field(default_factory=set)
    synced: dict[int, int] = field(default_factory=dict)
    """Bytes of parts whose writer keeps account of them."""


class Stopped(Exception):
    """Somebody ends the run in an orderly way."""


def write(target: Target, key: int, done: Manifest, *, stop: int = -1) -> Deliver:
    data = content(key)
    if key % 3:
        result = target.write_whole(key, [data[:9], data[9:]], hashing=True)
    else:
        with target.part(key, size=len(data), resume=True, hashing=True) as part:
            if key in KEEPS_ACCOUNT and part.size_now:
                assert part.size_now >= done.synced.get(key, 0)
                part.truncate(done.synced.get(key, 0))
            # what an earlier run left is trusted, as a server without digests would have it
            assert data.startswith(target_bytes(target, key, part.size_now))
            part.write(data[part.size_now : 20])
            if key in KEEPS_ACCOUNT:
                part.sync()
                done.synced[key] = part.size_now
            if key == stop:
                raise Stopped
            part.write(data[part.size_now :])
            result = part.close()
    assert result.md5 == hashlib.md5(data).hexdigest()
    return Deliver(part=result.path, local=path_of(key))


def target_bytes(target: Target, key: int, size: int) -> bytes:
    disk = target._disk
    assert isinstance(disk, ForgetfulDisk)
    return disk.files().get(f"{ROOT}/{OWN_FOLDER}/parts-job/{key}", b"")[:size]


def run(disk: ForgetfulDisk, done: Manifest, *, stop: int = -1) -> None:
    """Download all that was not delivered; it may end in the middle of a unit."""
    with open_target(Path(ROOT), "job", disk=disk) as target:
        for keys in batches():
            todo = [key for key in keys if key not in done.delivered]
            items = [write(target, key, done, stop=stop) for key in todo]
            for key, outcome in zip(todo, target.commit(items), strict=True):
                assert outcome.error is None
                assert outcome.file is not None
                assert outcome.file.size == len(content(key))
                done.delivered.add(key)


def fresh_disk(*, can_sync_all: bool) -> ForgetfulDisk:
    disk = ForgetfulDisk(can_sync_all=can_sync_all)
    disk.mkdir("/data")
    for path, data in OLD.items():
        at = ROOT
        for part in ["", *path.split("/")[:-1]]:
            at = f"{at}/{part}".rstrip("/")
            if at not in {"/data"} and at.rpartition("/")[2] not in disk.names(at.rpartition("/")[0]):
                disk.mkdir(at)
        fd = disk.open(f"{ROOT}/{path}", 0o101)
        done = 0
        while done < len(data):
            done += disk.write_at(fd, data[done:], done)
        disk.close(fd)
    for node in disk._everything:
        node.sync()
    return disk


def finals(disk: ForgetfulDisk) -> dict[str, bytes]:
    found = {path.removeprefix(f"{ROOT}/"): data for path, data in disk.files().items()}
    return {path: data for path, data in found.items() if not path.startswith(f"{OWN_FOLDER}/")}


def check(disk: ForgetfulDisk, done: Manifest) -> None:
    found = finals(disk)
    assert found.pop("kept.txt") == OLD["kept.txt"]
    versions = {local(key): [content(key)] for key in range(14)}
    versions[TWICE] = [OLD[TWICE], content(4), content(100)][(4 in done.delivered) + (100 in done.delivered) :]
    for path, data in found.items():
        assert data in versions[path], path
    assert {path_of(key) for key in done.delivered} <= found.keys()


def operations(*, can_sync_all: bool) -> int:
    disk = fresh_disk(can_sync_all=can_sync_all)
    before = disk.operations
    run(disk, Manifest())
    assert finals(disk) == {**OLD, **wanted()}
    assert f"{ROOT}/{OWN_FOLDER}" not in {path.rpartition("/")[0] for path in disk.files()}
    assert disk.open_files == 0
    return disk.operations - before


@pytest.mark.parametrize("can_sync_all", [True, False])
def test_power_may_go_before_any_operation(can_sync_all: bool) -> None:
    for at in range(operations(can_sync_all=can_sync_all) + 1):
        for chance in range(4):
            rng = random.Random(at * 100 + chance)
            disk = fresh_disk(can_sync_all=can_sync_all)
            done = Manifest()
            for cut in (disk.operations + at, rng.randrange(60), None):  # it goes again while the next run clears up
                disk.cut_after = cut
                try:
                    run(disk, done, stop=-1 if cut is None else rng.choice([-1, 0, 3, 6, 9, 12]))
                except (PowerCut, Stopped):
                    assert cut is not None
                # chance 0: the process was killed, the machine lives; 1: all that can be lost is lost; else by chance
                assert disk.open_files == 0 or disk.operations == cut
                disk = disk.crash(None if chance == 0 else rng, lose_all=chance == 1)
                check(disk, done)
            assert finals(disk) == {**OLD, **wanted()}


def test_a_target_that_was_made_is_there_after_a_power_loss() -> None:
    disk = ForgetfulDisk(can_sync_all=False)
    with open_target(Path("/some/new/target"), "job", disk=disk) as target:
        assert [outcome.error for outcome in target.commit([write(target, key, Manifest()) for key in range(3)])] == [
            None
        ] * 3

    files = disk.crash(random.Random(1), lose_all=True).files()

    assert {f"/some/new/target/{local(key)}": content(key) for key in range(3)}.items() <= files.items()


@pytest.mark.parametrize("forgotten", ["fsync", "sync_folder", "sync_all"])
def test_a_download_that_skipped_a_sync_would_be_caught(forgotten: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ForgetfulDisk, forgotten, lambda *_: None)

    with pytest.raises(AssertionError):
        test_power_may_go_before_any_operation(can_sync_all=forgotten == "sync_all")
