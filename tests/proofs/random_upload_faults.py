"""Every fault of a server or a way while files are uploaded, at random bytes, on random requests.

    python tests/proofs/random_upload_faults.py [--rounds 500] [--seed 1]

A round sends a small tree under one to three faults, some of them for ever, to a resource that is not there or holds
some of it, other content, or orphans; it runs the same job again until all is there, the last times without the faults.
After *every* run

- exit 0 means that disk and catalog of the one resource of that name equal the source; any other code that what is
  missing is named, or that the job could not go on;
- a file that was there and is no business of the job is there as it was, and nothing was stored that was never sent.

A failing round is repeated with ``--only NUMBER`` and the same seed.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from files_kit import PLACE, FilesJob, put_file, seed, write_tree
from proofs.random_faults import LONGEST_S, QUICK, RETRY
from trouble_kit import open_site

from xferengine.emulator.server import Emulator
from xferengine.model.events import Summary

FAULTY_RUNS, CLEAN_RUNS = 2, 3
KEPT = "other/kept.txt"
NAMES = ("a b.txt", "hash#1", "what?", "100%", "ü/日本語.txt", "sub/same.txt", "same.txt", "empty", ".hidden", "it's")
STATUSES = (400, 403, 404, 405, 408, 409, 412, 413, 423, 500, 501, 502, 503, 504)

Maker = Callable[[random.Random], dict[str, Any]]


def _nothing(rng: random.Random) -> dict[str, Any]:
    return {}


def _bytes(rng: random.Random) -> dict[str, Any]:
    return {"after_bytes": int(10 ** rng.uniform(0, 5.8))}


KINDS: dict[str, Maker] = {
    "reset-before-body": _nothing,
    "reset-in-body": _bytes,
    "reset-after-body": _nothing,
    "reset-in-answer": _bytes,
    "cut-answer": _bytes,
    "end-answer": _bytes,
    "early-error": lambda rng: {"status": rng.choice(STATUSES)},
    "too-large": lambda rng: {"limit_bytes": rng.choice((1, 10_000, 100_000, 300_000))},
    "too-many": lambda rng: {"retry_after_s": 0},
    "unavailable": lambda rng: {"retry_after_s": 0},
    "bad-gateway": _nothing,
    "gateway-timeout": _nothing,
    "drop-login": _nothing,
    "login-page": _nothing,
    "html-page": _nothing,
    "redirect": lambda rng: {"location": "http://127.0.0.1:9/x"},
    "stall-reading": lambda rng: {"delay_s": rng.choice((0.05, 1.0))},
    "stall-sending": lambda rng: {**_bytes(rng), "delay_s": rng.choice((0.05, 1.0))},
}
PLACES = (("files/", "PUT"), ("files/", "PUT"), ("NOTES", ""), ("refresh", ""), ("format=json", "GET"), (".", ""))


@dataclass
class Round:
    """One round on a server of its own."""

    emulator: Emulator
    rng: random.Random
    place: Path
    wrong: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    faulty_runs: int = FAULTY_RUNS

    def __post_init__(self) -> None:
        rng = self.rng
        sizes = {name: rng.randrange(3000) for name in NAMES} | {"empty": 0, "big.bin": 400_000}
        sizes |= {f"d{number % 3}/{number}.bin": rng.randrange(20_000) for number in range(20)}
        self.source: dict[str, bytes] = {name: rng.randbytes(size) for name, size in sizes.items()}
        write_tree(self.place / "in", dict(self.source))
        seed(self.emulator)
        self.before: dict[str, set[bytes]] = {name: set() for name in self.source}
        if rng.random() < 0.5:
            self._fill()
        for _ in range(rng.choice((1, 1, 2, 3))):
            self._add_rule()
        self.job = FilesJob(self.emulator, self.place / "state", [self.place / "in"])
        self.job.settings = msgspec.structs.replace(self.job.settings, retry=RETRY, timeouts=QUICK)

    def _fill(self) -> None:
        put_file(self.emulator, PLACE, "NOTES", KEPT, b"kept")
        self.before[KEPT] = {b"kept"}
        for name, content in self.source.items():
            kind = self.rng.randrange(6)
            if kind < 3:
                there = (content, b"other content", content[:50])[kind]
                put_file(self.emulator, PLACE, "NOTES", name, there, catalogued=kind < 2)
                self.before[name].add(there)

    def _add_rule(self) -> None:
        rng = self.rng
        kind = rng.choice(sorted(KINDS))
        match, method = rng.choice(PLACES)
        details = {"nth": rng.choice((0, 1, 1, 2, 3, 5)), "times": rng.choice((1, 1, 2, 3, 6, 0)), **KINDS[kind](rng)}
        self.emulator.faults.add(kind, match, method=method, **details)
        self.rules.append(f"{kind}[{method} {match}]{details}")

    async def run(self) -> None:
        """Make the round; what is wrong is in ``wrong``."""
        for number in range(self.faulty_runs + CLEAN_RUNS):
            if number == self.faulty_runs:
                self.emulator.faults.clear()
            try:
                with anyio.fail_after(LONGEST_S):
                    summary = await self.job.run()
            except TimeoutError:
                self.wrong.append("the job hangs")
                return
            self.codes.append(summary.exit_code)
            self._look(summary)
            if summary.exit_code == 0 and number >= self.faulty_runs:
                return
        self.wrong.append(f"no good end: {summary.failures[:3]}")

    def _look(self, summary: Summary) -> None:
        """Compare the server's disk and catalog with the source."""
        code = summary.exit_code
        resources = [resource for resource in self.emulator.world.resources.values() if resource.label == "NOTES"]
        if len(resources) > 1:
            self.wrong.append(f"{len(resources)} resources of that name (exit {code})")
        if code not in {0, 3, 5, 7, 9} or (code and not summary.failures):
            self.wrong.append(f"exit {code}: {summary.failures[:2]}")
        if not resources:
            if code == 0:
                self.wrong.append("exit 0 and no resource")
            return
        root = self.emulator.world.resource_dir(resources[0])
        there = {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and not path.name.endswith("_catalog.xml")
        }
        entries = self.emulator.world.entries(resources[0])
        if KEPT in self.before and (there.get(KEPT) != b"kept" or KEPT not in entries):
            self.wrong.append("a file that was no business of the job is gone or another")
        self.wrong += [f"{name} was never sent (exit {code})" for name in there if name not in self.before]
        named = {failure.ref.removeprefix(f"{self.place}/in/") for failure in summary.failures}
        for name, content in self.source.items():
            entry = entries.get(name)
            listed = entry is not None and (entry.size, entry.digest) == (len(content), _md5(content))
            is_right = there.get(name) == content and listed
            # a job that could not go on, or whose resource could not be listed, says so once for all
            is_named = name in named or code in {5, 7} or any(ref == "" or "NOTES" in ref for ref in named)
            if not is_right and (code == 0 or not is_named):
                self.wrong.append(f"exit {code} and {name} is not there as it should be; named {sorted(named)[:2]}")


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


async def one_round(rng: random.Random, place: Path, *, faulty_runs: int = FAULTY_RUNS) -> Round:
    """Make a round with a server and folders of its own; what was wrong is in it."""
    place.mkdir()
    async with open_site(data_dir=place / "server") as emulator:
        one = Round(emulator, rng, place, faulty_runs=faulty_runs)
        await one.run()
        return one


async def prove(given: argparse.Namespace, place: Path) -> int:
    """Make all rounds; print those that fail."""
    numbers = range(1, given.rounds + 1) if given.only is None else [given.only]
    codes: Counter[int] = Counter()
    hits: Counter[str] = Counter()
    lines: list[str] = []
    failed = 0
    began = time.monotonic()
    for number in numbers:
        one = await one_round(random.Random(f"{given.seed}/{number}"), place / str(number))
        shutil.rmtree(one.place)
        codes.update(one.codes)
        hits.update(hit.kind for hit in one.emulator.faults.hits)
        if one.wrong or given.only is not None:
            failed += bool(one.wrong)
            lines += [f"{'FAIL' if one.wrong else 'ok'} {number}: {' '.join(one.rules)} → {one.codes}"]
            lines += [f"       {fault}" for fault in one.wrong[:5]]
            print("\n".join(lines[-1 - len(one.wrong[:5]) :]), flush=True)
    lines.append(f"{len(numbers) - failed} rounds passed, {failed} failed, {time.monotonic() - began:.0f} s")
    lines.append(f"runs by exit code: {dict(sorted(codes.items()))}")
    lines.append("faults that struck: " + ", ".join(f"{kind} {count}" for kind, count in sorted(hits.items())))
    print("\n".join(lines[-3:]))
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text("\n".join([f"uploads of files under random faults; seed {given.seed}", *lines]) + "\n")
    return 1 if failed else 0


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="number of the one round to repeat")
    parser.add_argument("--out", type=Path, help="keep the result here, too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="random-upload-faults-") as place:
        return anyio.run(prove, given, Path(place))


if __name__ == "__main__":
    sys.exit(main())
