"""Feed the streaming zip reader damaged archives by the million.

    python tests/proofs/fuzz_unzip.py [--minutes 60] [--inputs 10000000] [--seed 1] [--jobs 2]
        [--out benchmarks/results/fuzz_unzip.txt] [--keep-corpus]

Ends at whichever comes first, minutes or inputs. Inputs are sound archives of every kind, and the corpus, damaged in
ways that know the format: flips, cuts, splices, fields with other values, records swapped or doubled, and archives put
together from odd parts. For each input nothing but ``ArchiveBroken`` may come out; the result must not depend on how
it was fed; a member is ``done`` only with the bytes that ``zipfile`` reads there (``unzip_kit.disagreement`` has the
exact rule); limits, skipped members and failing sinks are tried too. Which branches of the reader were taken is
watched instruction by instruction, first with the corpus, which takes all of them, then with some inputs as long as
any is left. Exit 1 when one was never taken, or when something did not hold (its input is kept in ``fuzz-failures/``).

``--keep-corpus`` rewrites ``tests/proofs/corpus/unzip`` with a small set of inputs that takes every branch; what was
found once (``found-*.zip``) stays.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import time
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

from proofs.branches import Branch, Branches
from proofs.unzip_checks import PARSER, check, watch
from proofs.unzip_kit import read
from proofs.unzip_mutations import mutate, odd, seeds

CORPUS = Path(__file__).parent / "corpus" / "unzip"
FAILURES = Path("fuzz-failures")
ROUND_S = 20.0
HANG_S = 20
WATCH_SHARE = 1 / 100
"""Of the inputs that are watched while branches are left."""


class Hanging(BaseException):
    """One input took too long."""


@dataclass(kw_only=True)
class Tally:
    """What some inputs gave."""

    inputs: int = 0
    results: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    taken: set[Branch] = field(default_factory=set)
    keepers: list[bytes] = field(default_factory=list)
    """Inputs that took a branch first."""
    failures: list[str] = field(default_factory=list)
    peak_mib: int = 0
    cpu_s: float = 0.0

    def add(self, other: Tally) -> None:
        """Take in another tally."""
        self.inputs += other.inputs
        self.results += other.results
        self.ways += other.ways
        self.taken |= other.taken
        self.keepers += other.keepers
        self.failures += other.failures
        self.cpu_s += other.cpu_s
        self.peak_mib = max(self.peak_mib, other.peak_mib)


def corpus() -> list[bytes]:
    """Return the kept inputs."""
    return [path.read_bytes() for path in sorted(CORPUS.glob("*.zip"))]


def run_slice(seed: str, seconds: float, most: int, known: set[Branch]) -> Tally:
    """Try inputs until the time or the number is over."""
    rng, tally, branches = random.Random(seed), Tally(taken=set(known)), Branches(PARSER)
    share = 0 if known >= branches.all else WATCH_SHARE
    signal.signal(signal.SIGALRM, _hang)
    sources = [*seeds(), *odd(), *corpus()]
    end, cpu_start = time.monotonic() + seconds, time.process_time()
    while tally.inputs < most and (tally.inputs % 64 or time.monotonic() < end):
        raw, way = mutate(rng, sources)
        if tally.inputs % 64 == 0:
            signal.alarm(HANG_S)
        tally.inputs += 1
        tally.ways[way] += 1
        _try_one(raw, rng, tally, branches if rng.random() < share and len(raw) < 3000 else None)
    signal.alarm(0)
    tally.cpu_s = time.process_time() - cpu_start
    tally.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return tally


def _try_one(raw: bytes, rng: random.Random, tally: Tally, branches: Branches | None) -> None:
    try:
        if branches is not None:
            taken = watch(raw, branches)
            if not taken <= tally.taken:
                tally.keepers.append(raw)
                tally.taken |= taken
        outcome = check(raw, rng)
    except (Exception, Hanging) as error:  # noqa: BLE001  whatever comes out is the finding
        FAILURES.mkdir(exist_ok=True)
        path = FAILURES / f"{zlib.crc32(raw):08x}.zip"
        path.write_bytes(raw)
        tally.failures.append(f"{path}: {type(error).__name__}: {error}")
        return
    tally.results["refused" if outcome.error else "taken"] += 1
    for sink in outcome.sinks:
        tally.results[f"members {sink.state}"] += 1


def _hang(number: int, frame: object) -> None:
    raise Hanging(f"64 inputs took more than {HANG_S} s")


def keep_corpus(candidates: list[bytes]) -> None:
    """Write few and small inputs that together take every branch that any of them takes."""
    branches = Branches(PARSER)
    left = {raw: watch(raw, branches, only_new=False) for raw in dict.fromkeys(candidates) if len(raw) < 3000}
    wanted, chosen = set().union(*left.values()), []
    while wanted:
        best = max(left, key=lambda raw: (len(left[raw] & wanted), -len(raw)))
        chosen.append(best)
        wanted -= left.pop(best)
    CORPUS.mkdir(parents=True, exist_ok=True)
    for path in (*CORPUS.glob("taken-*.zip"), *CORPUS.glob("refused-*.zip")):
        path.unlink()
    for raw in chosen:
        verdict = "refused" if read(raw).error else "taken"
        (CORPUS / f"{verdict}-{zlib.crc32(raw):08x}.zip").write_bytes(raw)


def report(tally: Tally, branches: Branches, *, seconds: float, options: argparse.Namespace) -> str:
    """Return the result as text."""
    lines = [
        "Streaming zip reader, fuzzed (tests/proofs/fuzz_unzip.py)",
        f"date        {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {sys.version.split()[0]}, seed {options.seed}",
        f"inputs      {tally.inputs:,} in {seconds / 60:.1f} min on {options.jobs} processes: "
        f"{tally.inputs / max(tally.cpu_s, 1e-9):,.0f} a CPU second",
        "made by     " + ", ".join(f"{name} {count:,}" for name, count in tally.ways.most_common()),
        "archives    " + ", ".join(f"{name} {count:,}" for name, count in sorted(tally.results.items())),
        f"memory      at most {tally.peak_mib} MiB a process, interpreter and zipfile included",
        f"branches    {branches.count - len(branches.left)} of {branches.count} taken",
        *(f"            {text}" for text in branches.left),
        f"failures    {len(tally.failures)}",
        *(f"            {text}" for text in tally.failures[:20]),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run in rounds, print how it goes, and judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep-corpus", action="store_true")
    options = parser.parse_args()

    branches, total, number = Branches(PARSER), Tally(), 0
    for raw in (*corpus(), *seeds(), *odd()):
        watch(raw, branches)
    start = time.monotonic()
    end = start + 60 * options.minutes
    with ProcessPoolExecutor(options.jobs) as pool:
        while total.inputs < options.inputs and (left_s := end - time.monotonic()) > 0:
            most = -(-(options.inputs - total.inputs) // options.jobs)
            seeds_ = [f"{options.seed}-{number}-{job}" for job in range(options.jobs)]
            slices = [pool.submit(run_slice, s, min(ROUND_S, left_s), most, branches.taken) for s in seeds_]
            for one in slices:
                total.add(one.result())
            branches.taken |= total.taken
            number += 1
            left = len(branches.left)
            print(f"{total.inputs:,} inputs, {left} branches left, {len(total.failures)} failures", flush=True)
    text = report(total, branches, seconds=time.monotonic() - start, options=options)
    if options.keep_corpus:
        keep_corpus([*corpus(), *seeds(), *odd(), *total.keepers])
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return 1 if total.failures or branches.left else 0


if __name__ == "__main__":
    sys.exit(main())
