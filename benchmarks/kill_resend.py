"""What does a kill cost? ``kill -9`` of the engine half-way, resume, and the server's own count of body bytes.

    python benchmarks/kill_resend.py [--kills 5] [--seed 1] [--scenario 1x2000 …]

Every kill has a fresh server and a fresh state folder; it hits the whole process group when a random 30-70 % of the
bytes were answered. *Resent* are the body bytes that the server counted over both runs, minus every bundle once. It
must not be more than the bundles that were in flight at the kill (the attempts that the manifest holds as leased), and
each instance must be archived once. Result: benchmarks/results/kill_resend.txt.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients import Run
from cohorts import Cohort, open_cohort
from machine import facts
from proof import missing_or_wrong
from servers import PROJECT, Pace, Server, running_server

from xferengine.emulator.cohort import CohortShape

HERE = Path(__file__).resolve().parent
SIZE = 200_000
SHAPES = {
    "1x2000": CohortShape(sessions=1, series=4, instances=500, instance_bytes=SIZE),
    "20x100": CohortShape(sessions=20, series=2, instances=50, instance_bytes=SIZE, seed=2),
}
PACE = Pace(instance_ms=2.0, lock_ms=0.5)
ENTRY_BYTES, END_BYTES = 30 + 46, 22
"""What a stored zip adds to each entry (besides its name, twice) and at its end (APPNOTE 4.3)."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One kill and what came of it. Sizes are body bytes, zip framing included."""

    share: float
    answered_bytes: int
    in_flight: int
    in_flight_bytes: int
    received_bytes: int
    once_bytes: int
    engine_says_bytes: int
    seconds: float
    wrong: str

    @property
    def resent_bytes(self) -> int:
        """More than every bundle once."""
        return self.received_bytes - self.once_bytes

    @property
    def is_good(self) -> bool:
        """All arrived once, and no more was sent twice than was in flight."""
        return not self.wrong and 0 <= self.resent_bytes <= self.in_flight_bytes

    def __str__(self) -> str:
        return (
            f"{'ok  ' if self.is_good else 'FAIL'} killed at {self.share:.0%} ({_mb(self.answered_bytes)} answered):"
            f" {self.in_flight} bundles of {_mb(self.in_flight_bytes)} in flight; the server received"
            f" {_mb(self.received_bytes)}, every bundle once is {_mb(self.once_bytes)}: resent"
            f" {_mb(self.resent_bytes)} (the engine's report says {_mb(self.engine_says_bytes)});"
            f" {self.seconds:.1f} s {self.wrong}"
        )


def _mb(size: int) -> str:
    return f"{size / 1e6:.2f} MB"


@contextmanager
def engine(run: Run, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the engine in a process group of its own; what is left of the group is killed at the end."""
    with (run.home / "client.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "xferengine", *arguments, "--json"],
            env=run.environment,
            cwd=run.temp,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            assert process.stdout is not None, "stdout was piped"
            process.stdout.close()


def events(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """Yield the events as they come."""
    assert process.stdout is not None, "stdout was piped"
    for line in process.stdout:
        yield json.loads(line)


def one_kill(cohort: Cohort, share: float, delay_s: float, work: Path) -> Kill:
    """Upload, kill, resume, count."""
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="kill-", dir=work) as name,
        running_server(Path(name) / "server", PACE) as server,
    ):
        run = Run(url=server.url, home=Path(name), rivals=work, cohort=cohort)
        run.temp.mkdir()
        before = server.counters()["bytes_in"]
        job, answered = killed_run(run, share * cohort.bytes, delay_s)
        folder = run.home / "state" / "jobs" / job
        leased = list(_leased(folder))
        with engine(run, "jobs", "resume", job) as process:
            summary = list(events(process))[-1]
        received = server.counters()["bytes_in"] - before
        return Kill(
            share=share,
            answered_bytes=answered,
            in_flight=len(leased),
            in_flight_bytes=sum(map(bundle_bytes, leased)),
            received_bytes=received,
            once_bytes=sum(map(bundle_bytes, _final(folder))),
            engine_says_bytes=summary["totals"]["bytes_resent"],
            seconds=time.monotonic() - began,
            wrong=_wrong(server, cohort, summary),
        )


def killed_run(run: Run, target_bytes: float, delay_s: float) -> tuple[str, int]:
    """Start an upload and kill it ``delay_s`` after ``target_bytes`` were answered; return job and bytes answered."""
    job, answered = "", 0
    with engine(run, "upload", str(run.cohort.folder), "-P", PROJECT, "--yes") as process:
        for event in events(process):
            job = event.get("job", job)
            if event["event"] == "unit-done":
                answered += event["bytes"]
                if answered >= target_bytes:
                    time.sleep(delay_s)
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    return job, answered
    raise RuntimeError("the upload ended before it was killed")


def bundle_bytes(files: list[tuple[str, int]]) -> int:
    """Return the length of the stored zip of some (SOP Instance UID, size)."""
    return END_BYTES + sum(size + ENTRY_BYTES + 2 * len(f"{uid}.dcm") for uid, size in files)


def _leased(folder: Path) -> Iterable[list[tuple[str, int]]]:
    """Return the files of the bundles that were in flight when the writer of the manifest died."""
    return _bundles(folder, "SELECT unit_id FROM attempt WHERE outcome='leased'")


def _final(folder: Path) -> Iterable[list[tuple[str, int]]]:
    """Return the files of the bundles that were answered with success."""
    return _bundles(folder, "SELECT DISTINCT unit_id FROM attempt WHERE outcome='done'")


def _bundles(folder: Path, query: str) -> Iterable[list[tuple[str, int]]]:
    with closing(sqlite3.connect(folder / "manifest.db")) as con:
        units = [row[0] for row in con.execute(query)]
        return [con.execute("SELECT sop_uid, size FROM file WHERE unit_id=?", (unit,)).fetchall() for unit in units]


def _wrong(server: Server, cohort: Cohort, summary: dict[str, Any]) -> str:
    if summary["exit_code"]:
        return f"exit code {summary['exit_code']}"
    return missing_or_wrong(server.data, cohort.files)


def main() -> int:
    """Make all kills; exit code 1 when one of them is not good."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--kills", type=int, default=5, help="kills of each scenario")
    add("--seed", type=int, default=1)
    add("--scenario", action="append", choices=list(SHAPES), help="only this one; repeatable")
    add("--work", default="", help="folder for data; default: a temporary one")
    add("--results", default=str(HERE / "results"))
    given = parser.parse_args()
    rng = random.Random(given.seed)
    lines = [f"kill -9 half-way, resume; seed {given.seed}, instance/lock {PACE} ms", _about()]
    good = True
    with tempfile.TemporaryDirectory(prefix="kill-resend-", dir=given.work or None) as name:
        for scenario in given.scenario or SHAPES:
            cohort = open_cohort(Path(name), scenario, SHAPES[scenario], zips_each=1)
            lines.append(f"{scenario}: {len(cohort.files)} instances, {_mb(cohort.bytes)}")
            for _ in range(given.kills):
                kill = one_kill(cohort, rng.uniform(0.3, 0.7), rng.uniform(0, 0.05), Path(name))
                good &= kill.is_good
                lines.append(f"  {kill}")
                print(lines[-1], flush=True)
    results = Path(given.results)
    results.mkdir(parents=True, exist_ok=True)
    (results / "kill_resend.txt").write_text("\n".join(line.rstrip() for line in lines) + "\n")
    return 0 if good else 1


def _about() -> str:
    return " · ".join(f"{key.replace('_', ' ')}: {value}" for key, value in facts().items())


if __name__ == "__main__":
    sys.exit(main())
