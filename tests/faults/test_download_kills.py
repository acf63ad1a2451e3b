"""Downloads, and uploads of files, killed and disturbed, in short.

The long forms are ``tests/proofs/kill_download.py``, ``kill_upload_files.py``, ``random_faults.py`` and
``random_upload_faults.py``.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from proofs.kill_download import Site, can_mount, make_site, measured, one_trial
from proofs.kill_upload_files import make_source
from proofs.kill_upload_files import one_trial as one_upload
from proofs.random_faults import one_round, open_sites
from proofs.random_upload_faults import one_round as one_upload_round

from xferengine.emulator.seed import SeedShape

SHAPE = SeedShape(sessions=3, scans=2, files=15, file_bytes=20_000)
ROUNDS, UPLOAD_ROUNDS = 40, 20

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Some files, one of them large enough to come in ranges."""
    place = tmp_path_factory.mktemp("site")
    (place / "clean").mkdir()
    return measured(make_site(place / "data", SHAPE, [(70, True)], 1), place / "clean")


@posix
@pytest.mark.parametrize(("kind", "seed"), [("program", 3), ("signals", 1), ("disk", 1)])
def test_whatever_ends_a_download_the_same_command_brings_the_rest(
    site: Site, tmp_path: Path, kind: str, seed: int
) -> None:
    if kind == "disk" and not can_mount():
        pytest.skip("small file systems need the right to mount")
    line, good = one_trial(kind, site, random.Random(seed), tmp_path)
    assert good, line


@posix
@pytest.mark.parametrize(("kind", "seed"), [("program", 1), ("signals", 2)])
def test_whatever_ends_an_upload_the_same_command_sends_the_rest(tmp_path: Path, kind: str, seed: int) -> None:
    source = make_source(tmp_path / "in", random.Random(seed), small=100, big_mb=(3,))
    place = tmp_path / "trial"
    place.mkdir()
    line, good = one_upload(kind, source, tmp_path / "in", random.Random(seed), place)
    assert good, line


async def test_no_fault_of_a_download_makes_anything_wrong_final(tmp_path: Path) -> None:
    async with open_sites(tmp_path / "servers") as sites:
        for number in range(ROUNDS):
            one = await one_round(sites, random.Random(f"1/{number}"), tmp_path / str(number), faulty_runs=1)
            assert not one.wrong, f"round {number}: {one} {one.wrong[:3]}"


async def test_no_fault_of_an_upload_loses_or_doubles_anything(tmp_path: Path) -> None:
    for number in range(UPLOAD_ROUNDS):
        one = await one_upload_round(random.Random(f"1/{number}"), tmp_path / str(number), faulty_runs=1)
        assert not one.wrong, f"round {number}: {one.rules} {one.codes} {one.wrong[:3]}"
