"""Downloads killed and disturbed, in short; ``tests/proofs/kill_download.py`` and ``random_faults.py`` are the long form."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from proofs.kill_download import Site, can_mount, make_site, measured, one_trial
from proofs.random_faults import one_round, open_sites

from xferengine.emulator.seed import SeedShape

SHAPE = SeedShape(sessions=3, scans=2, files=15, file_bytes=20_000)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("site")
    (place / "clean").mkdir()
    yield measured(make_site(place / "data", SHAPE, [(70, True)], 1), place / "clean")


@pytest.mark.parametrize(
    ("kind", "seed"),
    [("program", 1), ("program", 2), ("program", 3), ("signal", 1), ("signals", 1), ("server", 2), ("disk", 1)],
)
def test_whatever_ends_a_download_the_same_command_brings_the_rest(
    site: Site, tmp_path: Path, kind: str, seed: int
) -> None:
    if kind == "disk" and not can_mount():
        pytest.skip("small file systems need the right to mount")
    line, good = one_trial(kind, site, random.Random(seed), tmp_path)
    assert good, line


@pytest.mark.parametrize("seed", range(6))
async def test_no_fault_makes_anything_wrong_final(tmp_path: Path, seed: int) -> None:
    """Ten rounds each."""
    async with open_sites(tmp_path / "servers") as sites:
        for number in range(10):
            one = await one_round(sites, random.Random(f"{seed}/{number}"), tmp_path / str(number))
            assert not one.wrong, f"round {seed}/{number}: {one} {one.wrong[:3]}"
