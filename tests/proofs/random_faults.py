"""Every fault of a server or a way, at random bytes, on random requests, by random routes: nothing wrong ever becomes
final, and when the faults end a few more runs make everything equal.

    python tests/proofs/random_faults.py [--rounds 1000] [--seed 1] [--out benchmarks/results/random_faults.txt]

A round downloads a small project under one to three faults, some of them for ever, into an empty folder or one that
holds other content; it runs the same job again until all is there, the last times without the faults. After *every* run

- each file under a final name has the bytes of the server's disk, or those it had before the round;
- exit 0 means that everything is equal, and any other code that what is missing is named, or the job could not go on.

A failing round is repeated with ``--only NUMBER`` and the same seed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from download_kit import Job, download_spec, local_path, on_disk, settings_for

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.seed import SeededFile, SeedPlace, SeedShape, put_file, seed_project
from xferengine.emulator.server import Emulator, open_emulator
from xferengine.jobs import download_move
from xferengine.model.events import Summary
from xferengine.schedule.grouping import Scope, UnitPlan, Wave
from xferengine.schedule.routes import Route
from xferengine.settings.slices import RetryConfig, TimeoutConfig

ROUTES = ("zip", "single", "ranges", "free")
FAULTY_RUNS, CLEAN_RUNS = 2, 2
LONGEST_S = 60.0
BIG_BYTES = 3_000_000
RETRY = RetryConfig(
    attempts=4, base_s=0.005, cap_s=0.02, budget=60, breaker_probe_s=0.01, give_up_after_s=0.3, settle_s=0.01,
    poll_s=0.01,
)  # fmt: skip
QUICK = TimeoutConfig(receive_stall_s=0.25, think_listing_s=0.3, think_commit_s=0.3)

Details = dict[str, Any]
Maker = Callable[[random.Random], Details]


def _nothing(rng: random.Random) -> Details:
    return {}


def _bytes(rng: random.Random) -> Details:
    """Mostly early, where headers and names are; sometimes anywhere in a large file."""
    return {"after_bytes": int(10 ** rng.uniform(0, 6.55)) if rng.random() < 0.7 else rng.randrange(4 * BIG_BYTES)}


def _stall(rng: random.Random) -> Details:
    return {**_bytes(rng), "delay_s": rng.choice((0.05, 1.0))}


def _status(rng: random.Random) -> Details:
    return {"status": rng.choice((400, 403, 404, 405, 408, 409, 410, 412, 413, 416, 423, 500, 501, 502, 503, 504))}


def _label(rng: random.Random) -> Details:
    names = ("../../{name}", "/etc/{name}", "C:\\{name}", "x/../../evil", "other.dcm", "{name}/inside", "{name}x", "")
    return {"label": rng.choice(names)}


def _longer(rng: random.Random) -> Details:
    return {"limit_bytes": rng.choice((1, 1000, 100_000))}


def _shift(rng: random.Random) -> Details:
    return {"limit_bytes": rng.choice((1, 2, 4096, 1 << 20))}


def _elsewhere(rng: random.Random) -> Details:
    return {"location": rng.choice(("http://127.0.0.1:9/x", "/data/elsewhere", "/app/template/Login.vm", ""))}


REQUESTS: dict[str, Maker] = {
    "reset-before-body": _nothing,
    "reset-after-body": _nothing,
    "reset-in-answer": _bytes,
    "cut-answer": _bytes,
    "end-answer": _bytes,
    "flip-byte": _bytes,
    "early-error": _status,
    "too-many": lambda rng: {"retry_after_s": 0},
    "unavailable": lambda rng: {"retry_after_s": 0},
    "bad-gateway": _nothing,
    "gateway-timeout": _nothing,
    "drop-login": _nothing,
    "login-page": _nothing,
    "html-page": _nothing,
    "redirect": _elsewhere,
    "stall-reading": lambda rng: {"delay_s": rng.choice((0.05, 1.0))},
    "stall-sending": _stall,
    "ignore-range": _nothing,
    "strip-range": _nothing,
    "shift-range": _shift,
}
MEMBERS: dict[str, Maker] = {
    "member-renamed": _label,
    "member-extra": _label,
    "member-link": _label,
    "member-missing": _nothing,
    "member-twice": _nothing,
    "member-crc": _nothing,
    "member-longer": _longer,
}
CHANGES: dict[str, Maker] = {"file-changes": _bytes}
KINDS = {**REQUESTS, **MEMBERS, **CHANGES}
PATHS = ("format=zip", r"\.dcm($|\?)", r"\.bin($|\?)", r"files.*format=json", r"format=json", r"files/", r".")
NAMES = (r"00003", r"\.bin", r"\.dcm", r"E002", r"T1", r".")


@dataclass(frozen=True)
class Rule:
    """One fault of a round."""

    kind: str
    match: str
    times: int
    rate: float
    details: Details

    def __str__(self) -> str:
        more = ",".join(f"{key}={value}" for key, value in self.details.items())
        return f"{self.kind}[{self.match}]x{self.times or 'ever'}{f'@{self.rate:.2f}' if self.rate else ''}({more})"


@dataclass(frozen=True)
class Site:
    """A server with a seeded project."""

    emulator: Emulator
    files: Sequence[SeededFile]
    has_digests: bool
    first: dict[Path, tuple[bytes, int]]
    """Content and time of each file before any fault."""

    def wanted(self) -> dict[str, bytes]:
        """Local path → what is on the server's disk now."""
        return {local_path(file): Path(file.disk_path).read_bytes() for file in self.files}


@asynccontextmanager
async def open_sites(place: Path) -> AsyncIterator[list[Site]]:
    """Three servers: one whose catalogs have digests, one without, and one with awkward names at every level."""
    async with (
        open_site(place / "with", digests=True) as one,
        open_site(place / "without", digests=False) as other,
        open_site(place / "awkward", digests=True, awkward=True) as awkward,
    ):
        yield [one, one, one, other, other, other, awkward]


@asynccontextmanager
async def open_site(data: Path, *, digests: bool, awkward: bool = False) -> AsyncIterator[Site]:
    """A server with two experiments of small files and two of three megabytes."""
    async with open_emulator(EmulatorConfig(data_dir=data, projects=("P",))) as emulator:
        shape = SeedShape(sessions=2, scans=2, files=5, file_bytes=30_000, digests=digests, awkward=awkward)
        files = seed_project(emulator, "P", shape)
        rng = random.Random(1)
        for number in range(2):
            place = SeedPlace("P", f"P_S00{number + 1}", f"P_E00{number + 1}", scan="1")
            content = rng.randbytes(BIG_BYTES + number)
            files.append(put_file(emulator, place, "RAW", f"big {number}.bin", content, digest=digests))
        paths = [Path(file.disk_path) for file in files]
        first = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}
        yield Site(emulator, files, digests, first)


def _by_zip(resources: Any, model: Any, *, most: int) -> Wave:
    return _wave(Route.ZIP, resources)


def _singly(resources: Any, model: Any, *, most: int) -> Wave:
    return _wave(Route.GET, resources)


def _wave(route: Route, resources: Any) -> Wave:
    units = [
        UnitPlan(
            route=route, scope=Scope.RESOURCE, keys=(need.key,), files=need.wanted_files, bytes=need.wanted_bytes,
            predicted_s=0.0, why="proof",
        )
        for need in resources
        if need.wanted_files
    ]  # fmt: skip
    return Wave(units=units, rest=[])


@contextmanager
def routed(route: str) -> Iterator[None]:
    """Force a route while the block runs."""
    plan = {"zip": _by_zip, "single": _singly, "ranges": _singly}.get(route)
    before = download_move.plan_wave
    if plan is not None:
        download_move.plan_wave = plan
    try:
        yield
    finally:
        download_move.plan_wave = before


def random_rule(rng: random.Random, *, has_digests: bool) -> Rule:
    """Choose a fault.

    Nobody can see a turned bit in a listing that stays one, nor in a single file of which only the size is known.
    """
    kind = rng.choice(sorted(KINDS))
    match = rng.choice(NAMES if kind in MEMBERS or kind in CHANGES else PATHS)
    if kind == "flip-byte":
        match = rng.choice(PATHS[:3]) if has_digests else "format=zip"
    times = rng.choice((1, 1, 2, 3, 5, 0))
    if kind in CHANGES:
        times = 1
    rate = rng.choice((0.0, 0.0, rng.uniform(0.05, 0.9)))
    return Rule(kind, match, times, rate, KINDS[kind](rng))


@dataclass
class Round:
    """One round: the faults, the runs, and what was wrong."""

    site: Site
    rng: random.Random
    place: Path
    wrong: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)
    faulty_runs: int = FAULTY_RUNS

    def __post_init__(self) -> None:
        rng = self.rng
        self.route = rng.choice(ROUTES)
        self.rules = [random_rule(rng, has_digests=self.site.has_digests) for _ in range(rng.choice((1, 1, 2, 3)))]
        self.before = self._fill()
        self.versions = {name: {content} for name, content in self.site.wanted().items()}
        emulator = self.site.emulator
        settings = settings_for(emulator, self.place / "state", retry=RETRY, timeouts=QUICK)
        limit = 1000 if self.route == "ranges" else 1 << 30
        self.job = Job(
            emulator,
            download_spec(emulator, self.place / "out"),
            msgspec.structs.replace(settings, pool=msgspec.structs.replace(settings.pool, ranges_from_bytes=limit)),
        )

    def _fill(self) -> dict[str, bytes]:
        """Let some files lie there already: equal ones, others of the same size, others."""
        (self.place / "out").mkdir()
        if self.rng.random() < 0.7:
            return {}
        for name, content in self.site.wanted().items():
            kind = self.rng.randrange(4)
            if kind:
                path = self.place / "out" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes((content, bytes(len(content)), b"other content")[kind - 1])
        return on_disk(self.place / "out")

    def __str__(self) -> str:
        digests = "digests" if self.site.has_digests else "no digests"
        there = f", {len(self.before)} files there" if self.before else ""
        return f"{self.route}, {digests}{there}: {' '.join(map(str, self.rules))} → {self.codes}"

    async def run(self) -> None:
        """Make the round; what is wrong is in ``wrong``."""
        emulator = self.site.emulator
        emulator.faults._random.seed(self.rng.random())  # the plan's own chances, anew for each round
        for rule in self.rules:
            emulator.faults.add(rule.kind, match=rule.match, times=rule.times, rate=rule.rate, **rule.details)
        try:
            with routed(self.route):
                for number in range(self.faulty_runs + CLEAN_RUNS):
                    if number == self.faulty_runs:
                        emulator.faults.clear()
                    if await self._run_once() == 0 and number >= self.faulty_runs:
                        return
            if not self._is_stale_only():
                self.wrong.append(f"no good end: {self.codes} {self.summary.failures[:3]}")
        finally:
            emulator.faults.clear()
            self.hits.update(hit.kind for hit in emulator.faults.hits)
            emulator.faults.hits.clear()
            self._restore()

    async def _run_once(self) -> int:
        try:
            with anyio.fail_after(LONGEST_S):
                self.summary: Summary = await self.job.run()
        except TimeoutError:
            self.wrong.append("the job hangs")
            return -1
        except BaseException:
            self.wrong.append(traceback.format_exc()[-1500:])
            raise
        code = self.summary.exit_code
        self.codes.append(code)
        self._look(code)
        return code

    def _look(self, code: int) -> None:
        """Compare the folder with the server's disk."""
        wanted = self.site.wanted()
        for name, content in wanted.items():
            self.versions[name].add(content)
        there = on_disk(self.place / "out")
        for name, content in there.items():
            good = self.versions.get(name, set())
            if content not in good and self.before.get(name) != content:
                self.wrong.append(f"{name} has bytes that nobody sent (run {len(self.codes)}, exit {code})")
        if code == 0:
            self._look_at_all(there)
        elif code not in {3, 5, 7, 9}:
            self.wrong.append(f"exit {code}: {self.summary.failures[:3]}")
        elif code in {3, 9}:
            self._look_at_names(there)
        elif not self.summary.failures:
            self.wrong.append(f"exit {code} without a word")
        outside = sorted(path.name for path in self.place.iterdir())
        if outside != ["out", "state"]:
            self.wrong.append(f"written outside: {outside}")

    def _look_at_all(self, there: dict[str, bytes]) -> None:
        for name, versions in self.versions.items():
            if there.get(name) not in versions:
                self.wrong.append(f"exit 0 and {name} is {'other' if name in there else 'not there'}")
        if (self.place / "out" / ".xferengine").exists():
            self.wrong.append("exit 0 and part files are left")

    def _look_at_names(self, there: dict[str, bytes]) -> None:
        """What is missing must be named, or what holds it, or why the job could not go on."""
        named = {failure.ref for failure in self.summary.failures}
        if "" in named:
            return
        for file in self.site.files:
            name = local_path(file)
            versions = self.versions[name]
            is_named = name in named or named & {file.accession or file.project, file.project}
            is_named = is_named or (file.level == "subject" and any(ref.startswith("XNAT_S") for ref in named))
            if there.get(name) not in versions and not is_named:
                self.wrong.append(f"exit {self.codes[-1]} and {name} is named nowhere: {sorted(named)[:3]}")

    def _is_stale_only(self) -> bool:
        """Tell whether all that is left is a catalog that does not know of a change, and the files are as they are."""
        is_changed = any(rule.kind in CHANGES for rule in self.rules)
        return is_changed and {failure.error for failure in self.summary.failures} <= {"CatalogStale"}

    def _restore(self) -> None:
        """Give the server's disk its first content back."""
        if any(rule.kind in CHANGES for rule in self.rules):
            for path, (content, mtime_ns) in self.site.first.items():
                path.write_bytes(content)
                os.utime(path, ns=(mtime_ns, mtime_ns))


async def one_round(sites: Sequence[Site], rng: random.Random, place: Path, *, faulty_runs: int = FAULTY_RUNS) -> Round:
    """Make a round in a fresh folder; what was wrong is in it."""
    place.mkdir()
    one = Round(rng.choice(sites), rng, place, faulty_runs=faulty_runs)
    await one.run()
    return one


async def prove(given: argparse.Namespace, place: Path) -> int:
    """Make all rounds; print those that fail, and in the end what was met how often."""
    numbers = range(1, given.rounds + 1) if given.only is None else [given.only]
    failed = 0
    hits: Counter[str] = Counter()
    codes: Counter[int] = Counter()
    lines: list[str] = []
    began = time.monotonic()
    async with open_sites(place / "servers") as sites:
        for number in numbers:
            one = await one_round(sites, random.Random(f"{given.seed}/{number}"), place / str(number))
            shutil.rmtree(one.place)
            hits.update(one.hits)
            codes.update(one.codes)
            if one.wrong or given.only is not None:
                failed += bool(one.wrong)
                lines.append(f"{'FAIL' if one.wrong else 'ok'} {number}: {one}")
                lines += [f"       {fault}" for fault in one.wrong[:6]]
                print("\n".join(lines[-7:]), flush=True)
            if number % 250 == 0:
                print(f"{number} rounds, {failed} failed, {time.monotonic() - began:.0f} s", flush=True)
    lines.append(f"{len(numbers) - failed} rounds passed, {failed} failed, {time.monotonic() - began:.0f} s")
    lines.append(f"runs by exit code: {dict(sorted(codes.items()))}")
    lines.append("faults that struck: " + ", ".join(f"{kind} {count}" for kind, count in sorted(hits.items())))
    print("\n".join(lines[-3:]))
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text("\n".join([f"downloads under random faults; seed {given.seed}", *lines]) + "\n")
    return 1 if failed else 0


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="number of the one round to repeat")
    parser.add_argument("--out", type=Path, help="keep the result here, too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="random-faults-") as place:
        return anyio.run(prove, given, Path(place))


if __name__ == "__main__":
    sys.exit(main())
