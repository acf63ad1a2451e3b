"""A folder that downloads write to."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from forgetful_disk import ForgetfulDisk

from xferengine.errors import BadInput, DiskFull, LockedByOther, UnsafePath
from xferengine.store.disk import LocalDisk
from xferengine.store.names import OWN_FOLDER
from xferengine.store.target import Deliver, Delivered, Target, open_target


def put(target: Target, files: dict[str, bytes]) -> list[Delivered]:
    items = [
        Deliver(part=target.write_whole(key, [data], hashing=False).path, local=path)
        for key, (path, data) in enumerate(files.items())
    ]
    return target.commit(items)


def errors(outcomes: list[Delivered]) -> list[str | None]:
    return [outcome.error and outcome.error.kind for outcome in outcomes]


@pytest.fixture(params=[True, False], ids=["syncfs", "fsync"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LocalDisk:
    if not request.param:
        monkeypatch.setattr(LocalDisk, "can_sync_all", lambda *_: False)
    return LocalDisk()


def test_a_batch_becomes_files_and_nothing_of_ours_is_left(tmp_path: Path, disk: LocalDisk) -> None:
    files = {
        f"EXP/scans/{number}-T1/resources/DICOM/files/ä {number}.dcm": bytes([number]) * number for number in range(9)
    }
    with open_target(tmp_path / "new" / "target", "job", disk=disk) as target:
        outcomes = put(target, files)
        for (path, data), outcome in zip(files.items(), outcomes, strict=True):
            assert outcome.error is None
            assert outcome.local == path
            assert outcome.file == target.stat(path)
            assert outcome.file is not None
            assert (outcome.file.size, outcome.file.is_regular) == (len(data), True)
            assert target.local(path).read_bytes() == data
            assert target.md5(path) == hashlib.md5(data).hexdigest()

    assert os.listdir(tmp_path / "new" / "target") == ["EXP"]


def test_what_stands_there_is_replaced_and_a_folder_is_not(tmp_path: Path, disk: LocalDisk) -> None:
    (tmp_path / "folder" / "x").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"old")
    with open_target(tmp_path, "job", disk=disk) as target:
        outcomes = put(target, {"folder": b"1", "file": b"new", "file/below": b"3", "folder/y/z": b"4", "../out": b"5"})
        assert errors(outcomes) == ["BadInput", None, "BadInput", None, "UnsafePath"]
        assert sorted(target.leftovers()) == [0, 2, 4]

    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "folder" / "y" / "z").read_bytes() == b"4"
    assert not (tmp_path.parent / "out").exists()


def test_a_part_that_is_gone_fails_alone(tmp_path: Path, disk: LocalDisk) -> None:
    with open_target(tmp_path, "job", disk=disk) as target:
        good = target.write_whole(1, [b"x"], hashing=False).path
        outcomes = target.commit([Deliver(part=f"{good}9", local="a/b"), Deliver(part=good, local="a/c")])

    assert errors(outcomes) == ["BadInput", None]


def test_folders_that_somebody_removed_are_made_again(tmp_path: Path) -> None:
    with open_target(tmp_path, "job") as target:
        put(target, {"a/b/c": b"1"})
        (tmp_path / "a/b/c").unlink()
        (tmp_path / "a/b").rmdir()
        assert errors(put(target, {"a/b/d": b"2"})) == [None]

    assert (tmp_path / "a/b/d").read_bytes() == b"2"


def test_links_that_leave_the_target_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"outside")
    root = tmp_path / "target"
    (root / "inside").mkdir(parents=True)
    (root / "near").symlink_to("inside")
    (root / "far").symlink_to(outside)
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    (root / "far-file").symlink_to(outside / "file")
    (root / "near-file").symlink_to("inside/1")
    with open_target(root, "job") as target:
        outcomes = put(
            target,
            {"far/x": b"1", "far-file": b"2", "near/1": b"3", "near-file": b"4", "dangling/x": b"5", "far/y/z": b"6"},
        )
        assert errors(outcomes) == ["UnsafePath", "UnsafePath", None, None, "UnsafePath", "UnsafePath"]
        for look in (target.stat, target.md5):
            with pytest.raises(UnsafePath):
                look("far/file")
        found = target.stat("far-file")
        assert found is not None
        assert not found.is_regular
        with pytest.raises(BadInput):
            target.md5("far-file")

    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (root / "inside/1").read_bytes() == b"3"
    assert (root / "near-file").read_bytes() == b"4"
    assert not (root / "near-file").is_symlink()


def test_a_folder_on_another_disk_is_named_as_such(tmp_path: Path) -> None:
    class Mounted(LocalDisk):
        def rename(self, old: str, new: str) -> None:
            if "/mounted/" in new:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), new)
            os.replace(old, new)

    with open_target(tmp_path, "job", disk=Mounted()) as target:
        outcomes = put(target, {"mounted/a": b"1", "b": b"2"})
        target.drop_part(0)

    assert errors(outcomes) == ["BadInput", None]
    assert "another disk" in str(outcomes[0].error)


def test_a_target_may_be_a_link_itself(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with open_target(tmp_path / "link", "job") as target:
        assert errors(put(target, {"a/b": b"1"})) == [None]
        assert target.stat("a/b") is not None

    assert (tmp_path / "real/a/b").read_bytes() == b"1"


def test_our_own_folder_may_not_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / OWN_FOLDER).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(BadInput), open_target(tmp_path / "target", "job"):
        pass

    assert os.listdir(tmp_path / "elsewhere") == []


def test_stat_of_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with open_target(tmp_path, "job") as target:
        assert target.stat("a/b") is None
        assert target.stat("file/below") is None
        found = target.stat("folder")
        assert found is not None
        assert not found.is_regular
        with pytest.raises(UnsafePath):
            target.local("../x")


OPEN = """
import sys, pathlib
from xferengine.errors import LockedByOther
from xferengine.store.target import open_target
try:
    with open_target(pathlib.Path(sys.argv[1]), "other"): pass
except LockedByOther:
    sys.exit(6)
"""


def other_run(folder: Path) -> int:
    return subprocess.run([sys.executable, "-c", OPEN, str(folder)], check=False).returncode


def test_one_live_run_per_target(tmp_path: Path) -> None:
    with open_target(tmp_path / "a", "job"):
        assert other_run(tmp_path / "a") == 6
        assert other_run(tmp_path / "b") == 0
    assert other_run(tmp_path / "a") == 0


def test_runs_that_come_and_go_never_hold_a_target_together(tmp_path: Path) -> None:
    holders, most, seen = [0], [0], [0]

    def come_and_go() -> None:
        for _ in range(25):
            try:
                with open_target(tmp_path, "job"):
                    holders[0] += 1
                    most[0] = max(most[0], holders[0])
                    seen[0] += 1
                    holders[0] -= 1
            except LockedByOther:
                pass

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1]
    assert seen[0] > 0
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class NoLocks(LocalDisk):
        def lock(self, fd: int) -> bool:
            raise OSError(errno.ENOSYS, "no locks")

    with caplog.at_level(logging.WARNING), open_target(tmp_path, "job", disk=NoLocks()):
        pass

    assert "no locks" in caplog.text


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_target_that_cannot_be_written_to(tmp_path: Path, code: int) -> None:
    class ReadOnly(LocalDisk):
        def mkdir(self, path: str, mode: int = 0o777) -> None:
            if path != str(tmp_path):
                raise OSError(code, os.strerror(code), path)
            os.mkdir(path, mode)

    with pytest.raises(BadInput, match=r"read-only|permission denied"), open_target(tmp_path, "job", disk=ReadOnly()):
        pass


def test_a_target_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in ("file", "file/below"):
        with pytest.raises(BadInput, match="no folder"), open_target(tmp_path / folder, "job"):
            pass


def test_errors_of_the_caller_pass_through_unchanged(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError), open_target(tmp_path, "job"):
        raise ConnectionResetError

    assert os.listdir(tmp_path) == []


def test_trouble_while_tidying_up_hides_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class NoRemoval(LocalDisk):
        def rmdir(self, path: str) -> None:
            raise OSError(errno.EIO, "broken", path)

    with pytest.raises(KeyError), open_target(tmp_path, "job", disk=NoRemoval()):
        raise KeyError
    assert "tidied up" in caplog.text
    assert other_run(tmp_path) == 0


def test_space_is_looked_at_before_the_start(tmp_path: Path) -> None:
    with open_target(tmp_path, "job") as target:
        free = target.free_bytes()
        assert free > 0
        target.check_space(0)
        with pytest.raises(DiskFull, match=r"TB are needed and [0-9.]+ [kMGT]?B"):
            target.check_space(free + (7 << 40))


def test_parts_of_a_run_that_ended_are_there_for_the_next_and_apart_per_job(tmp_path: Path) -> None:
    with open_target(tmp_path, "one") as target:
        target.write_whole(7, [b"seven"], hashing=False)
        target.part(8).leave()
    with open_target(tmp_path, "two") as target:
        assert target.leftovers() == {}
    with open_target(tmp_path, "one") as target:
        assert target.leftovers() == {7: 5, 8: 0}
        target.drop_part(7)
        target.drop_part(7)
        assert target.leftovers() == {8: 0}
        target.drop_part(8)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("ended_well", "same_boot", "kept"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_parts_are_trusted_unless_power_was_lost(ended_well: bool, same_boot: bool, kept: bool) -> None:
    disk = ForgetfulDisk()
    opened = open_target(Path("/t"), "job", disk=disk)
    target = opened.__enter__()
    target.write_whole(1, [b"begun"], hashing=False)
    if ended_well:
        opened.__exit__(None, None, None)
    disk.boot += not same_boot

    with open_target(Path("/t"), "job", disk=disk) as target:
        assert target.leftovers() == ({1: 5} if kept else {})


def test_a_part_that_was_synced_outlives_a_power_loss() -> None:
    disk = ForgetfulDisk()
    opened = open_target(Path("/t"), "job", disk=disk)
    target = opened.__enter__()
    target.write_whole(1, [b"not synced"], hashing=False)
    part = target.part(2, size=9)
    part.write(b"kept ")
    part.sync()
    part.write(b"lost")

    disk = disk.crash(random.Random(1), lose_all=True)

    with open_target(Path("/t"), "job", disk=disk) as target:
        assert target.leftovers() == {2: 5}
        target.part(2).leave()  # begun anew: nothing of it is durable now
    disk.boot += 1
    disk.unlink(f"/t/{OWN_FOLDER}/parts-job/mark")
    with open_target(Path("/t"), "job", disk=disk) as target:
        assert target.leftovers() == {}


def test_where_the_boot_is_not_known_only_a_good_end_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ForgetfulDisk, "boot_id", lambda _: "")
    disk = ForgetfulDisk()
    with open_target(Path("/t"), "job", disk=disk) as target:
        target.write_whole(1, [b"begun"], hashing=False)
    killed = open_target(Path("/t"), "job", disk=disk)
    assert killed.__enter__().leftovers() == {1: 5}
    with open_target(Path("/t"), "job", disk=disk) as target:
        assert target.leftovers() == {}


def test_traits_of_the_file_system_are_found_out(tmp_path: Path) -> None:
    with open_target(Path("/t"), "job", disk=ForgetfulDisk(ignores_case=True)) as target:
        assert target.traits.ignores_case
        assert not target.traits.ignores_form
    with open_target(Path("/t"), "job", disk=ForgetfulDisk()) as target:
        assert not target.traits.ignores_case
    if sys.platform == "linux":
        with open_target(tmp_path, "job") as target:
            assert not target.traits.ignores_form


def steps(disk: ForgetfulDisk, files: dict[str, bytes]) -> list[tuple[str, str]]:
    with open_target(Path("/t"), "job", disk=disk) as target:
        put(target, {"before/x": b"1"})
        items = [
            Deliver(part=target.write_whole(key, [data], hashing=False).path, local=path)
            for key, (path, data) in enumerate(files.items())
        ]
        start = len(disk.log)
        target.commit(items)
        return [(what, path.removeprefix("/t/")) for what, path in disk.log[start:]]


def test_the_order_of_a_batch_is_that_of_the_design() -> None:
    many = {"before/y": b"1", "new/a/1": b"2", "new/a/2": b"3"}
    renames = [("rename", path) for path in many]
    folders = [("mkdir", "new"), ("mkdir", "new/a")]

    assert steps(ForgetfulDisk(), many) == [
        ("sync_all", f"{OWN_FOLDER}/parts-job"), *folders, *renames, ("sync_all", "/t"),
    ]  # fmt: skip
    assert steps(ForgetfulDisk(can_sync_all=False), many) == [
        *[("fsync", f"{OWN_FOLDER}/parts-job/{key}") for key in range(3)], *folders, *renames,
        *[("sync_folder", folder) for folder in ("/t", "new", "before", "new/a")],
    ]  # fmt: skip
    assert steps(ForgetfulDisk(), {"before/y": b"1"}) == [
        ("fsync", f"{OWN_FOLDER}/parts-job/0"), ("rename", "before/y"), ("sync_folder", "before"),
    ]  # fmt: skip


@pytest.mark.parametrize(("call", "can_sync_all"), [("sync_all", True), ("fsync", False), ("sync_folder", False)])
@pytest.mark.parametrize(("code", "kind"), [(errno.EIO, "BadInput"), (errno.ENOSPC, "DiskFull")])
def test_what_could_not_be_made_durable_is_not_delivered(
    call: str, can_sync_all: bool, code: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = ForgetfulDisk(can_sync_all=can_sync_all)

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with open_target(Path("/t"), "job", disk=disk) as target:
        with monkeypatch.context() as patch:
            patch.setattr(disk, call, fail)
            outcomes = put(target, {"a/1": b"1", "b/2": b"2", "c": b"3"})
        assert errors(outcomes) == [kind] * 3
        assert all(outcome.file is None for outcome in outcomes)
        assert errors(put(target, {"a/1": b"1", "b/2": b"2", "c": b"3"})) == [None] * 3
        folders = {path for what, path in disk.log if what in {"sync_folder", "sync_all"}}
        assert "/t" in folders, "folders of the batch that failed are not taken for durable"


def test_several_threads_use_one_target(tmp_path: Path) -> None:
    failed: list[object] = []

    def work(target: Target, worker: int) -> None:
        for batch in range(5):
            keys = range(worker * 1000 + batch * 20, worker * 1000 + batch * 20 + 20)
            items = [
                Deliver(
                    part=target.write_whole(key, [str(key).encode()], hashing=False).path, local=f"d{key % 7}/s/{key}"
                )
                for key in keys
            ]
            failed.extend(outcome for outcome in target.commit(items) if outcome.error)

    with open_target(tmp_path, "job") as target:
        threads = [threading.Thread(target=work, args=(target, worker)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert failed == []
    found = sorted(int(path.name) for path in tmp_path.rglob("*") if path.is_file())
    assert found == [worker * 1000 + number for worker in range(4) for number in range(100)]
    assert all(path.read_bytes() == path.name.encode() for path in tmp_path.rglob("*") if path.is_file())


def test_a_folder_that_cannot_be_made_says_why_and_not_that_it_is_missing(tmp_path):
    class ReadOnly(LocalDisk):
        def mkdir(self, path, mode=0o777):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    with pytest.raises(BadInput, match="read-only"), open_target(tmp_path / "new", "job", disk=ReadOnly()):
        pass
