"""What sending alone costs a client: read, CRC, frame, send, to a server that throws everything away.

    python benchmarks/sending.py --rivals DIR [--sessions 1 --series 10 --instances 500 --bytes 200000] [--rounds 3]

The engine reports the CPU of its own process from the plan to the last answer. Of the others the whole process tree is
taken, minus a run that does everything but send (xnatctl --dry-run, xnatpy with no session). curl sends ready-made
zips: the floor. Results: benchmarks/results/sending.jsonl and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clients import CLIENTS, Run, install
from cohorts import Cohort, open_cohort, warm
from machine import facts
from measured import Measured, run_measured

from xferengine.emulator.cohort import CohortShape

HERE = Path(__file__).resolve().parent
GOAL_S_PER_GB = 0.6
LIMIT_S = 600.0


@contextmanager
def running_sink() -> Iterator[str]:
    """Start the sink and yield its URL."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    process = subprocess.Popen(
        [sys.executable, str(HERE / "sink.py")], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None, "stdout was piped"
    try:
        yield process.stdout.readline().rpartition(" ")[2].strip()
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


def _call(run: Run, command: list[str], *, keep: bool = False) -> Measured:
    done = run_measured(
        command,
        environment=run.environment,
        temp=run.temp,
        limit_s=LIMIT_S,
        wanted=(lambda line: True) if keep else None,
        log=run.home / "client.log",
    )
    if done.exit_code:
        raise RuntimeError(f"{command[0]} ended with {done.exit_code}: {done.errors}")
    return done


def engine(run: Run) -> dict[str, Any]:
    """Return what the engine says of its own sending."""
    script = str(HERE / "engine_sending.py")
    done = _call(run, [sys.executable, script, run.url, str(run.cohort.folder), str(run.home / "state")], keep=True)
    return json.loads(done.lines[-1][1])


def _whole(client: str) -> Callable[[Run], dict[str, Any]]:
    def work(run: Run) -> dict[str, Any]:
        rest_s = _rest_s(client, run)
        done = _call(run, CLIENTS[client](run))
        gb = run.cohort.bytes / 1e9
        return {
            "sent_mb": round(run.cohort.bytes / 1e6, 1),
            "wall_s": round(done.wall_s, 3),
            "cpu_s_per_gb": round((done.cpu_s - rest_s) / gb, 3),
            "whole_cpu_s": round(done.cpu_s, 3),
            "peak_rss_mb": round(done.process_rss_mb),
        }

    return work


def _rest_s(client: str, run: Run) -> float:
    """Return the CPU seconds of everything but sending."""
    if client == "xnatctl":
        command = CLIENTS[client](run)
        return _call(run, [*command[:-1], command[-1] + " --dry-run"]).cpu_s
    if client == "xnatpy":
        empty = Run(url=run.url, home=run.home, rivals=run.rivals, cohort=Cohort(name="", folder=run.home, sessions=[]))
        return _call(run, CLIENTS[client](empty)).cpu_s
    return 0.0


SENDERS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "engine": engine,
    "xnatctl": _whole("xnatctl"),
    "xnatpy": _whole("xnatpy"),
    "curl-4": _whole("curl-4"),
}


def measure(client: str, cohort: Cohort, work: Path, rivals: Path) -> dict[str, Any]:
    """Make one run against a fresh sink."""
    warm(cohort)
    home = Path(tempfile.mkdtemp(prefix="client-", dir=work))
    (home / "tmp").mkdir()
    try:
        with running_sink() as url:
            found = SENDERS[client](Run(url=url, home=home, rivals=rivals, cohort=cohort))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if abs(found["sent_mb"] - cohort.bytes / 1e6) > 0.1:
        raise RuntimeError(f"{client} sent {found['sent_mb']} MB of {cohort.bytes / 1e6:.1f}")
    return {"benchmark": "sending", "client": client, "load": round(os.getloadavg()[0], 2)} | found


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--sessions", type=int, default=1)
    add("--series", type=int, default=10)
    add("--instances", type=int, default=500)
    add("--bytes", type=int, default=200_000)
    add("--rounds", type=int, default=3)
    add("--rivals", default=os.environ.get("XFERENGINE_FOREIGN_DIR", ""))
    add("--only", action="append", choices=list(SENDERS))
    add("--results", default=str(HERE / "results"))
    given = parser.parse_args()
    shape = CohortShape(
        sessions=given.sessions, series=given.series, instances=given.instances, instance_bytes=given.bytes
    )
    chosen = given.only or list(SENDERS)
    records = []
    with tempfile.TemporaryDirectory(prefix="sending-") as name:
        work = Path(name)
        rivals = Path(given.rivals or work / "rivals")
        if {"xnatctl", "xnatpy"} & set(chosen):
            install(rivals)
        cohort = open_cohort(work, "sending", shape, zips_each=max(1, 32 // given.sessions))
        for round_ in range(given.rounds):
            for client in chosen:
                records.append(measure(client, cohort, work, rivals) | {"round": round_})
                print(json.dumps(records[-1]), flush=True)
    _write(Path(given.results), records, chosen)


def _write(folder: Path, records: list[dict[str, Any]], chosen: list[str]) -> None:
    about = facts()
    text = ["# sending", "", " · ".join(f"{k}: {v}" for k, v in about.items()), "",
            "| client | CPU s/GB (median, lowest) | of it the manifest | wall s | peak MB |",
            "|---|---|---|---|---|"]  # fmt: skip
    for client in chosen:
        mine = [record for record in records if record["client"] == client]
        cost = [record["cpu_s_per_gb"] for record in mine]
        manifest = statistics.median(record.get("manifest_s_per_gb", 0.0) for record in mine)
        wall_s = statistics.median(record["wall_s"] for record in mine)
        peak = max(record["peak_rss_mb"] for record in mine)
        shown = f"{statistics.median(cost):.2f}, {min(cost):.2f} | {_blank(manifest)}"
        text.append(f"| {client} | {shown} | {wall_s:.2f} | {peak} |")
    text += ["", f"goal: {GOAL_S_PER_GB} CPU s/GB"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sending.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [{"about": about}, *records]))
    (folder / "sending.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


def _blank(value: float) -> str:
    return f"{value:.2f}" if value else ""


if __name__ == "__main__":
    main()
