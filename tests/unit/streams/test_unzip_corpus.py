"""The kept inputs of the fuzzer, and a short run of it: every branch of the reader, in seconds."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from proofs.branches import Branches
from proofs.unzip_checks import PARSER, check, standard_inflater, watch
from proofs.unzip_kit import disagreement, read
from proofs.unzip_mutations import mutate, odd, seeds

CORPUS = sorted((Path(__file__).parents[2] / "proofs" / "corpus" / "unzip").glob("*.zip"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_kept_inputs_hold_everything_and_end_as_they_did(path: Path) -> None:
    outcome = check(path.read_bytes(), random.Random(1), is_thorough=True)
    assert path.stem.split("-")[0] in {"found", "refused" if outcome.error else "taken"}


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="branches of compiled code; the corpus is made for 3.11")
def test_kept_inputs_take_every_branch() -> None:
    branches = Branches(PARSER)
    for path in CORPUS:
        watch(path.read_bytes(), branches)
    assert branches.left == []
    assert branches.count > 300


def test_sound_archives_are_taken_and_odd_ones_hold_everything() -> None:
    for raw in seeds():
        assert read(raw).error is None
    for raw in (*seeds(), *odd()):
        check(raw, random.Random(2), is_thorough=True)


def test_some_damaged_archives() -> None:
    rng, sources = random.Random(3), [*seeds(), *odd()]
    ends = {"taken": 0, "refused": 0}
    for _ in range(3000):
        outcome = check(mutate(rng, sources)[0], rng)
        ends["refused" if outcome.error else "taken"] += 1
    assert min(ends.values()) > 100


def test_without_a_faster_library_everything_is_the_same() -> None:
    for raw in (*seeds(), *odd()):
        with standard_inflater():
            slow = read(raw)
        assert slow.verdict == read(raw).verdict
        assert disagreement(raw, slow) is None
