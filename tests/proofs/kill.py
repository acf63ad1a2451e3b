"""Kill it anywhere, run it again: ``kill -9`` of the engine and of the server at random moments, then resume.

    python tests/proofs/kill.py [--engine 20] [--server 10] [--seed 1] [--out benchmarks/results/kill.txt]

Every kill has a server, a state folder and a run of its own. It passes when the job ends with exit 0 and the server's
disk holds each instance exactly once, none in the prearchive, with the pixels that were sent.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from process_kit import Engine, Moment, Server, wrong_on_disk

from xferengine.emulator.cohort import CohortFile, CohortShape, make_cohort
from xferengine.jobs.admin import list_jobs

SWITCHES = ("--request-ms", "5", "--instance-ms", "2")
RESUMES = 6


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """What is sent in every trial."""

    folder: Path
    files: list[CohortFile]
    sessions: int


def moments(rng: random.Random, count: int, cohort: Cohort) -> list[Moment]:
    """Return moments spread over scan, sending, build, archive and verification, in random order."""
    studies, files = cohort.sessions, len(cohort.files)
    makers: list[Callable[[], Moment]] = [
        lambda: Moment(event="job-started", delay_s=rng.uniform(0, 0.2)),
        lambda: Moment(event="scan-progress", delay_s=rng.uniform(0, 0.05)),
        lambda: Moment(event="unit-started", number=1, delay_s=rng.uniform(0, 0.02)),
        lambda: Moment(event="unit-started", number=rng.randint(2, files // 5), delay_s=rng.uniform(0, 0.02)),
        lambda: Moment(event="unit-done", number=rng.randint(1, files // 5), delay_s=rng.uniform(0, 0.02)),
        lambda: Moment(
            event="study-changed", state="sent", number=rng.randint(1, studies), delay_s=rng.uniform(0, 0.03)
        ),
        lambda: Moment(
            event="study-changed", state="gated", number=rng.randint(1, studies), delay_s=rng.uniform(0, 0.04)
        ),
        lambda: Moment(
            event="study-changed", state="archived", number=rng.randint(1, studies), delay_s=rng.uniform(0, 0.02)
        ),
        lambda: Moment(
            event="study-changed", state="verified", number=rng.randint(1, studies), delay_s=rng.uniform(0, 0.02)
        ),
        lambda: Moment(event="job-started", delay_s=rng.uniform(0.2, 2.5)),
    ]
    chosen = [makers[i % len(makers)]() for i in range(count)]
    rng.shuffle(chosen)
    return chosen


@contextmanager
def trial(switches: tuple[str, ...] = SWITCHES) -> Iterator[tuple[Server, Path, Path]]:
    """A fresh server with its data folder, and a fresh state folder."""
    with tempfile.TemporaryDirectory(prefix="kill-") as place:
        data = Path(place) / "data"
        server = Server(data, *switches)
        server.start()
        try:
            yield server, data, Path(place) / "state"
        finally:
            server.stop()


def resume(server: Server, state: Path, folder: Path, *, small: bool) -> Engine:
    """Continue: with ``jobs resume`` of the program, or with short waits; a run that left no job starts anew."""
    jobs = list_jobs(state)
    if small or not jobs:
        return Engine.small(server, state, folder, resume=True)
    return Engine.program(server, "jobs", "resume", jobs[0].id, "--state-dir", str(state))


def finish(engine: Engine, server: Server, state: Path, folder: Path, *, small: bool) -> tuple[Engine, int, int]:
    """Wait for the end, resuming while the job can be resumed; return the last run, its code and the number of runs."""
    runs, code = 1, engine.end()
    while code != 0 and runs <= RESUMES:
        engine = resume(server, state, folder, small=small)
        runs, code = runs + 1, engine.end()
    return engine, code, runs


def kill_engine(
    cohort: Cohort, moment: Moment, again: Moment | None = None, *, small: bool = False
) -> tuple[str, bool]:
    """Kill the engine (with ``again``, its resumed run too), resume, compare; return a line and whether it passed."""
    with trial() as (server, data, state):
        began = time.monotonic()
        engine = Engine.small(server, state, cohort.folder)
        struck = engine.wait_for(moment)
        engine.kill()
        if again is not None:
            engine = resume(server, state, cohort.folder, small=True)
            engine.wait_for(again)
            engine.kill()
        engine = resume(server, state, cohort.folder, small=small)
        engine, code, runs = finish(engine, server, state, cohort.folder, small=small)
        text = f"engine at {moment}{f' and again at {again}' if again else ''}"
        return verdict(text, server, data, cohort, engine, code, runs, struck=struck, seconds=time.monotonic() - began)


def kill_server(cohort: Cohort, moment: Moment, pause_s: float, *, small: bool = False) -> tuple[str, bool]:
    """Kill the server while the engine works, start it again, compare; return a line and whether it passed."""
    with trial() as (server, data, state):
        began = time.monotonic()
        engine = Engine.small(server, state, cohort.folder)
        struck = engine.wait_for(moment)
        server.kill()
        time.sleep(pause_s)
        server.start()
        engine, code, runs = finish(engine, server, state, cohort.folder, small=small)
        text = f"server at {moment}, back after {pause_s:.1f} s"
        return verdict(text, server, data, cohort, engine, code, runs, struck=struck, seconds=time.monotonic() - began)


def verdict(
    text: str,
    server: Server,
    data: Path,
    cohort: Cohort,
    engine: Engine,
    code: int,
    runs: int,
    *,
    struck: bool,
    seconds: float,
) -> tuple[str, bool]:
    """Look at the server's disk and put the trial into a line."""
    wrong = wrong_on_disk(data, cohort.files)
    wrong += [f"row left: {row['url']} {row['status']}" for row in server.rows()]
    if code != 0:
        wrong.insert(0, f"exit {code}: {engine.summary.get('failures')}")
    resent = engine.summary.get("totals", {}).get("bytes_resent", 0)
    again = f", {resent / 1000:.0f} kB sent in vain" if resent else ""  # a killed engine could not count its own
    note = f"{runs} run{'s' if runs > 1 else ''} to the end{again}, {seconds:.1f} s"
    line = f"{'ok  ' if not wrong else 'FAIL'} {text}{'' if struck else ' (ended before)'}: {note}"
    return "\n".join([line, *(f"       {fault}" for fault in wrong[:10])]), not wrong


def main() -> int:
    """Run all trials and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=int, default=20, help="kills of the engine")
    parser.add_argument("--server", type=int, default=10, help="kills of the server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sessions", type=int, default=12)
    parser.add_argument("--small", action="store_true", help="resume with short waits instead of the program itself")
    parser.add_argument("--out", type=Path, help="keep the lines here, too")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="kill-cohort-") as place:
        shape = CohortShape(sessions=given.sessions, series=2, instances=10, instance_bytes=8000)
        cohort = Cohort(folder=Path(place), files=make_cohort(Path(place), shape), sessions=given.sessions)
        lines: list[str] = []
        passed = 0
        trials: list[Callable[[], tuple[str, bool]]] = []
        for number, moment in enumerate(moments(rng, given.engine, cohort)):
            again = moments(rng, 1 + number % 10, cohort)[-1] if number % 4 == 3 else None
            trials.append(partial(kill_engine, cohort, moment, again, small=given.small))
        trials += [
            partial(kill_server, cohort, moment, rng.uniform(0.1, 1.5), small=given.small)
            for moment in moments(rng, given.server, cohort)
        ]
        for number, run in enumerate(trials, 1):
            line, good = run()
            passed += good
            lines.append(f"{number:>3} {line}")
            print(lines[-1], flush=True)
        lines.append(f"{passed} passed, {len(trials) - passed} failed")
        print(lines[-1])
        if given.out:
            given.out.parent.mkdir(parents=True, exist_ok=True)
            size = f"{len(cohort.files)} instances in {given.sessions} sessions"
            head = f"kill -9 of engine and server; seed {given.seed}, {size}"
            given.out.write_text("\n".join([head, *lines]) + "\n")
        return 0 if passed == len(trials) else 1


if __name__ == "__main__":
    sys.exit(main())
