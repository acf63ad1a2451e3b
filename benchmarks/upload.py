"""Mass upload beside other clients: one command, the same data, a fresh server for every run.

    python benchmarks/upload.py --rivals DIR [--matrix small|full] [--repeat N] [--only CLIENT …] [--pace 2.0/0.1 …]

Each run gets a fresh server, home and folder for temporary files; clients take turns. A run counts only if the server's
disk holds every instance and each session is an experiment: whatever a client leaves in the prearchive or half way into
the archive is archived by the benchmark afterwards (four sessions side by side), which is timed apart. Results go to
benchmarks/results/ as JSON lines, a table and plots.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import phases
from clients import CLIENTS, Run, install
from cohorts import Cohort, open_cohort, warm
from machine import facts
from measured import Measured, run_measured
from proof import missing_or_wrong
from servers import PROJECT, Pace, Server, running_server
from tables import write_results

from xferengine.emulator.cohort import CohortShape

HERE = Path(__file__).resolve().parent
PACES = ("0/0", "2.0/0.1", "0.5/0.5")
LIMIT_S = 600.0
SIZE = 200_000
SHAPES = {
    "small": {
        "10x20": (CohortShape(sessions=10, series=2, instances=10, instance_bytes=SIZE), 1),
        "1x200": (CohortShape(sessions=1, series=4, instances=50, instance_bytes=SIZE, seed=2), 32),
    },
    "full": {
        "100x50": (CohortShape(sessions=100, series=2, instances=25, instance_bytes=SIZE), 1),
        "1x5000": (CohortShape(sessions=1, series=10, instances=500, instance_bytes=SIZE, seed=2), 32),
    },
}
"""Scenario → its data, and into how many ready-made zips the floor's sessions are split."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run to make."""

    client: str
    cohort: Cohort
    pace: Pace
    round: int


def measure(case: Case, *, rivals: Path, work: Path, server_dir: Path) -> dict[str, Any]:
    """Make one run and return its record; ``failed`` says why its figures do not count."""
    home = Path(tempfile.mkdtemp(prefix="client-", dir=work))
    site = Path(tempfile.mkdtemp(prefix="site-", dir=server_dir))
    try:
        (home / "tmp").mkdir()
        load = os.getloadavg()[0]
        with running_server(site / "server", case.pace) as server:
            run = Run(url=server.url, home=home, rivals=rivals, cohort=case.cohort)
            before = server.counters()
            done = run_measured(
                CLIENTS[case.client](run),
                environment=run.environment,
                temp=run.temp,
                limit_s=LIMIT_S,
                wanted=phases.is_wanted if case.client == "engine" else None,
                log=home / "client.log",
            )
            after = server.counters()
            record = _record(case, done, before, after) | {"load": round(load, 2)}
            record |= _finish(case, server, done)
        return record
    finally:
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(site, ignore_errors=True)


def _finish(case: Case, server: Server, done: Measured) -> dict[str, Any]:
    """Bring the server to the common end state and judge the run."""
    if done.exit_code != 0:
        return {"failed": f"exit code {done.exit_code}", "errors": done.errors, "closing_by_benchmark_s": 0.0}
    closing_s = server.close_sessions()
    labels = server.table(f"/data/projects/{PROJECT}/experiments")
    wrong = missing_or_wrong(server.data, case.cohort.files)
    if not wrong and len(labels) != len(case.cohort.sessions):
        wrong = f"{len(labels)} experiments, not {len(case.cohort.sessions)}"
    return {"closing_by_benchmark_s": round(closing_s, 3), "failed": wrong, "errors": done.errors if wrong else ""}


def _record(case: Case, done: Measured, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    size = case.cohort.bytes
    received = after["bytes_in"] - before["bytes_in"]
    record: dict[str, Any] = {
        "benchmark": "upload",
        "scenario": case.cohort.name,
        "pace": str(case.pace),
        "client": case.client,
        "round": case.round,
        "instances": len(case.cohort.files),
        "payload_mb": round(size / 1e6, 1),
        "lock_bound_s": round(len(case.cohort.files) * case.pace.lock_ms / 1000, 3),
        "wall_s": round(done.wall_s, 3),
        "client_cpu_s": round(done.cpu_s, 3),
        "server_cpu_s": round(after["cpu_s"] - before["cpu_s"], 3),
        "tree_rss_mb": round(done.tree_rss_mb, 1),
        "process_rss_mb": round(done.process_rss_mb, 1),
        "temp_mb": round(done.temp_mb, 1),
        "requests": after["requests"] - before["requests"],
        "received_mb": round(received / 1e6, 2),
        "surplus_mb": round((received - size) / 1e6, 2),
    }
    return record | phases.split(done.lines)


def parse_pace(text: str) -> Pace:
    """Read ``INSTANCE_MS/LOCK_MS``."""
    instance, _, lock = text.partition("/")
    return Pace(instance_ms=float(instance), lock_ms=float(lock))


def run_matrix(given: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Make all runs: clients take turns within each scenario and pace."""
    records = []
    server_dir = Path(given.server_dir) if given.server_dir else work
    for name, (shape, zips) in SHAPES[given.matrix].items():
        if given.scenario and name not in given.scenario:
            continue
        cohort = open_cohort(work, name, shape, zips_each=zips)
        for pace, round_ in itertools.product(map(parse_pace, given.pace), range(given.repeat)):
            for client in given.only:
                warm(cohort)
                case = Case(client=client, cohort=cohort, pace=pace, round=round_)
                record = measure(case, rivals=Path(given.rivals), work=work, server_dir=server_dir)
                records.append(record)
                print(_line(record), flush=True)
        shutil.rmtree(work / name)
    return records


def _line(record: dict[str, Any]) -> str:
    parts = (
        f"{record['scenario']:>8} {record['pace']:>9} {record['client']:<18}",
        f"wall {record['wall_s']:7.2f} s +{record['closing_by_benchmark_s']:5.2f}",
        f"cpu {record['client_cpu_s']:6.2f}",
        f"server {record['server_cpu_s']:6.2f}",
        f"rss {record['tree_rss_mb']:5.0f} MB",
        f"temp {record['temp_mb']:5.0f} MB",
        f"{record['requests']:6d} requests",
        f"FAILED: {record['failed']}" if record["failed"] else "",
    )
    return "  ".join(parts)


def main() -> int:
    """Run the matrix and write the results; exit code 1 when a run of the engine failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--matrix", choices=list(SHAPES), default="small")
    add("--repeat", type=int, default=0, help="runs of each; 0: three of the small matrix, one of the full")
    add("--scenario", action="append", default=[], help="only this one; repeatable")
    add("--pace", action="append", default=[], help="INSTANCE_MS/LOCK_MS; repeatable")
    add("--only", action="append", default=[], choices=list(CLIENTS), help="only this client; repeatable")
    add("--rivals", default=os.environ.get("XFERENGINE_FOREIGN_DIR", ""), help="folder of the rivals' environments")
    add("--work", default="", help="folder for data; default: a temporary one")
    add("--server-dir", default="", help="folder for the server's disk (a RAM disk makes runs steadier)")
    add("--results", default=str(HERE / "results"))
    add("--name", default="", help="name of the results; default: upload-MATRIX")
    given = parser.parse_args()
    given.repeat = given.repeat or (3 if given.matrix == "small" else 1)
    given.pace = given.pace or list(PACES)
    given.only = given.only or list(CLIENTS)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=given.work or None) as name:
        work = Path(name)
        given.rivals = given.rivals or str(work / "rivals")
        if set(given.only) - {"engine", "curl-4", "curl-16"}:
            install(Path(given.rivals))
        records = run_matrix(given, work)
    about = facts() | {"server_disk": "RAM" if given.server_dir.startswith("/dev/shm") else "disk"}
    write_results(Path(given.results), given.name or f"upload-{given.matrix}", records, about)
    return int(any(record["failed"] for record in records if record["client"] == "engine"))


if __name__ == "__main__":
    sys.exit(main())
