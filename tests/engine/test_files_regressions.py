"""What the proofs found once, each reduced to the smallest case."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from xferengine.errors import DiskFull
from xferengine.schedule.grouping import ResourceNeed, Scope, plan_wave
from xferengine.schedule.routes import Route, RouteModel
from xferengine.settings.slices import PoolConfig
from xferengine.store.disk import LocalDisk
from xferengine.store.target import open_target

MB = 1_000_000


class Busy(LocalDisk):
    """A disk on which another thread makes a part file final between two looks."""

    gone = ""

    def lstat(self, path: str):  # type: ignore[override]
        if self.gone and path.endswith(self.gone):
            raise FileNotFoundError(path)
        return super().lstat(path)


def test_a_part_file_that_becomes_final_meanwhile_is_no_leftover(tmp_path: Path) -> None:
    """A large file failed in a resumed run: BadInput, its folder of part files "does not exist"."""
    disk = Busy()
    with open_target(tmp_path / "out", "job", disk=disk) as target:
        for key in (1, 2):
            target.write_whole(key, [b"x" * key], hashing=False)
        disk.gone = "/1"
        assert target.leftovers() == {2: 2}


class Small(LocalDisk):
    """A disk with a megabyte left."""

    def free_bytes(self, path: str) -> int:
        return MB


def test_what_part_files_hold_needs_no_room_again(tmp_path: Path) -> None:
    """After exit 11 no run could go on, however much room was made: parts that were there counted as missing."""
    with open_target(tmp_path / "out", "job", disk=Small()) as target:
        with pytest.raises(DiskFull):
            target.check_space(5 * MB)
        target.write_whole(1, [bytes(6 * MB)], hashing=False)
        target.check_space(5 * MB)
        with pytest.raises(DiskFull):
            target.check_space(9 * MB)


def test_no_zip_carries_a_big_file_that_is_there_or_under_way(tmp_path: Path) -> None:
    """An experiment's zip for some small files moved a file of 100 MB a second time."""

    def need(key: str, *, wanted: bool) -> ResourceNeed:
        files, size = (40, MB) if wanted else (0, 0)
        total = (files, size) if wanted else (1, 100 * MB)
        return ResourceNeed(
            key=key, scan=key[0], in_all=True, wanted_files=files, wanted_bytes=size, total_files=total[0],
            total_bytes=total[1], big=(),
        )  # fmt: skip

    def scopes(*needs: ResourceNeed) -> set[Scope]:
        model = RouteModel(PoolConfig(), workers=lambda: 8, backlog=lambda: 50)
        for n in range(1, 201):
            files, size = n, (n % 7 + 1) * 2 * MB
            taken = 0.1 + 0.002 * files + 0.05 * size / MB
            model.observe(Route.ZIP, files=files, bytes=size, seconds=taken, first_byte_s=0.1, ok=True)
            model.observe(Route.GET, files=1, bytes=20_000, seconds=0.1, first_byte_s=0.1, ok=True)
        model.singles_to_probe = lambda: 0  # type: ignore[method-assign]
        # as on a server where bytes take no time
        model.choose_group = lambda parts, need, *, others: replace(parts[0], route=Route.ZIP)  # type: ignore[method-assign]
        return {unit.scope for unit in plan_wave(needs, model, most=100).units}

    small = [need(key, wanted=True) for key in ("1a", "1b", "2a", "2b")]
    assert scopes(*small) == {Scope.EXPERIMENT}
    assert Scope.EXPERIMENT not in scopes(*small, need("3 big", wanted=False))
    assert scopes(*small[:2], need("1 big", wanted=False)) == {Scope.RESOURCE}
