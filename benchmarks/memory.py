"""Is memory flat, and time linear, from 10,000 to 1,000,000 planned instances?

    python benchmarks/memory.py [--instances 10000 …] [--session 500] [--one-session 100000]

Each size is one whole job in a process of its own: synthetic scan results instead of files, a server that is not there
(``nullserver``) instead of the network; everything between is the engine as it runs: manifest, duplicates, labels,
bundles, gate, archive, verification, report. Peak memory is the kernel's VmHWM of that process. Results:
benchmarks/results/memory.jsonl and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from machine import facts

HERE = Path(__file__).resolve().parent
GOAL_MB = 250
SIZES = (10_000, 100_000, 1_000_000)
PHASES = ("plan", "send and close", "report")


def status_mb(name: str) -> float:
    """Return a memory figure of this process: ``VmRSS`` or ``VmHWM``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024 / 1e6
    raise LookupError(name)


class Watch:
    """Notes time, CPU and memory as the job goes from phase to phase."""

    def __init__(self) -> None:
        self._marks = [(time.monotonic(), time.process_time(), 0.0)]

    def mark(self) -> None:
        """A phase ends."""
        self._marks.append((time.monotonic(), time.process_time(), status_mb("VmHWM")))

    def phases(self) -> Iterator[tuple[str, float, float, float]]:
        """Yield name, wall seconds, CPU seconds and peak MB up to its end, of each phase."""
        for name, before, after in zip(PHASES, self._marks, self._marks[1:], strict=False):
            yield name, after[0] - before[0], after[1] - before[1], after[2]


def run_one(sessions: int, instances: int, state: Path) -> dict[str, Any]:
    """Run one job in this process and return what it took."""
    import nullserver

    from xferengine.cli.main import start_loop
    from xferengine.jobs import core, planning
    from xferengine.jobs.runner import run_job
    from xferengine.jobs.spec import JobReport, UploadSpec
    from xferengine.jobs.upload_verb import UploadVerb
    from xferengine.model.events import Event, PlanReady, Summary
    from xferengine.settings.slices import Credentials, ServerConfig, Settings
    from xferengine.store.reader import SourceReader

    shape = nullserver.Shape(sessions=sessions, instances=instances)
    server = nullserver.NullServer(shape)
    watch = Watch()
    begin_mb = status_mb("VmRSS")

    @asynccontextmanager
    async def open_scan(_: Any) -> AsyncIterator[AsyncIterator[Any]]:
        async def batches() -> AsyncIterator[Any]:
            for batch in nullserver.synthetic_batches(shape):
                yield batch

        yield batches()

    planning.open_scan = open_scan  # type: ignore[assignment]
    core.open_client = server.open_client  # type: ignore[assignment]
    SourceReader.check = lambda *_: None  # type: ignore[method-assign]

    write_report = UploadVerb.report

    def marked_report(self: UploadVerb, folder: Path, summary: Summary) -> JobReport:
        watch.mark()
        return write_report(self, folder, summary)

    UploadVerb.report = marked_report  # type: ignore[method-assign]

    def emit(event: Event) -> None:
        if isinstance(event, PlanReady):
            watch.mark()

    settings = Settings(
        server=ServerConfig(url="http://127.0.0.1:1"), state_dir=state, credentials=Credentials("nobody", "nothing")
    )
    spec = UploadSpec(
        paths=("/cohort",), project=nullserver.PROJECT, server_url=settings.server.url,
        subject=nullserver.SUBJECT_TEMPLATE, session=nullserver.SESSION_TEMPLATE,
    )  # fmt: skip

    async def work() -> JobReport:
        return await run_job(spec, settings, emit=emit)

    report = start_loop(work)
    assert isinstance(report, JobReport)
    watch.mark()
    totals = report.summary.totals
    return {
        "instances": sessions * instances,
        "sessions": sessions,
        "state": report.summary.state,
        "verified": totals.verified,
        "units": totals.units,
        "requests": server.requests,
        "begin_mb": round(begin_mb, 1),
        "peak_mb": round(status_mb("VmHWM"), 1),
        "manifest_mb": round(sum(p.stat().st_size for p in state.rglob("manifest.db*")) / 1e6, 1),
        "phases": {
            name: {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3), "peak_mb": round(peak, 1)}
            for name, wall, cpu, peak in watch.phases()
        },
    }


def child(sessions: int, instances: int, work: str) -> dict[str, Any]:
    """Run one job in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="memory-", dir=work or None) as name:
        done = subprocess.run(
            [sys.executable, str(HERE / "memory.py"), "--child", f"{sessions}x{instances}", "--work", name],
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def write(folder: Path, records: list[dict[str, Any]]) -> None:
    """Write ``memory.jsonl`` and ``memory.md``."""
    about = facts()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [{"about": about}, *records]))
    text = [
        "# memory", "", " · ".join(f"{k}: {v}" for k, v in about.items()), "",
        "| instances | sessions | bundles | peak MB | plan: s per 1,000 | send and close: s per 1,000 | report s |"
        " manifest MB | state |", "|" + "---|" * 9,
    ]  # fmt: skip
    for record in records:
        thousands, phases = record["instances"] / 1000, record["phases"]
        cells = (
            f"{record['instances']:,}", f"{record['sessions']:,}", f"{record['units']:,}", f"{record['peak_mb']:.0f}",
            f"{phases['plan']['wall_s'] / thousands:.3f}", f"{phases['send and close']['wall_s'] / thousands:.3f}",
            f"{phases['report']['wall_s']:.2f}", f"{record['manifest_mb']:.0f}", record["state"],
        )  # fmt: skip
        text.append("| " + " | ".join(cells) + " |")
    text += ["", f"goal: peak < {GOAL_MB} MB and flat, seconds per 1,000 instances flat"]
    (folder / "memory.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


def main() -> int:
    """Run all sizes; exit code 1 when a job did not end verified or a peak is beyond the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--instances", type=int, action="append", help="repeatable; default: 10,000, 100,000 and 1,000,000")
    add("--session", type=int, default=500, help="instances of a session")
    add("--one-session", type=int, default=100_000, help="also one session of so many instances; 0: none")
    add("--work", default="", help="folder for the manifests; default: a temporary one")
    add("--results", default=str(HERE / "results"))
    add("--child", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        sessions, _, instances = given.child.partition("x")
        print(json.dumps(run_one(int(sessions), int(instances), Path(given.work) / "state")))
        return 0
    shapes = [(max(1, size // given.session), given.session) for size in given.instances or SIZES]
    shapes += [(1, given.one_session)] if given.one_session else []
    records = []
    for sessions, instances in shapes:
        records.append(child(sessions, instances, given.work))
        print(json.dumps(records[-1]), flush=True)
    write(Path(given.results), records)
    good = all(r["state"] == "done" and r["verified"] == r["instances"] and r["peak_mb"] < GOAL_MB for r in records)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
