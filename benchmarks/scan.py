"""How fast is a scan, beside one process of pydicom on the same files?

    python benchmarks/scan.py [--sessions 10 --series 5 --instances 100 --bytes 200000] [--workers N] [--keep DIR]

Makes its own cohort, warms the page cache, runs both sides in turn, checks that both found the same UIDs, and prints
one JSON line: medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pydicom

from xferengine.emulator.cohort import CohortShape, make_cohort
from xferengine.store.fields import wanted_fields
from xferengine.store.scan import ScanConfig, open_scan

TAGS = [
    *wanted_fields().fields,
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
]


def cpu_s() -> float:
    """CPU seconds of this process and of the children that have ended."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def timed(work: Callable[[], set[str]]) -> tuple[set[str], float, float]:
    """Return what ``work`` found, wall seconds and CPU seconds."""
    cpu, wall = cpu_s(), time.perf_counter()
    found = work()
    return found, time.perf_counter() - wall, cpu_s() - cpu


def scan_with_engine(folder: Path, workers: int) -> set[str]:
    """Scan, processes started and ended included."""

    async def run() -> set[str]:
        found: set[str] = set()
        async with open_scan(ScanConfig(paths=(str(folder),), workers=workers)) as batches:
            async for batch in batches:
                found.update(file.sop_uid for file in batch.files)
        return found

    return anyio.run(run)


def scan_with_pydicom(folder: Path) -> set[str]:
    """Read the same tags in one process."""
    found = set()
    for parent, _, names in os.walk(folder):
        for name in names:
            dataset = pydicom.dcmread(os.path.join(parent, name), stop_before_pixels=True, specific_tags=TAGS)
            found.add(str(dataset.SOPInstanceUID))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of a scan.")
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--series", type=int, default=5)
    parser.add_argument("--instances", type=int, default=100)
    parser.add_argument("--bytes", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=0, help="0: one per core, at most 4")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    shape = CohortShape(
        sessions=given.sessions, series=given.series, instances=given.instances, instance_bytes=given.bytes
    )
    with tempfile.TemporaryDirectory(prefix="scan-bench-") as name:
        folder = Path(name)
        started = time.perf_counter()
        expected = {record.sop_uid for record in make_cohort(folder, shape)}
        cohort_s = time.perf_counter() - started
        engine, rival = [], []
        for _ in range(given.rounds):
            for runs, work in (
                (engine, lambda: scan_with_engine(folder, given.workers)),
                (rival, lambda: scan_with_pydicom(folder)),
            ):
                found, wall_s, used_s = timed(work)
                if found != expected:
                    raise SystemExit(f"found {len(found)} of {len(expected)} instances")
                runs.append((wall_s, used_s))
    wall_s, rival_s = (statistics.median(run[0] for run in runs) for runs in (engine, rival))
    print(
        json.dumps(
            {
                "benchmark": "scan",
                "files": len(expected),
                "files_per_s": round(len(expected) / wall_s),
                "wall_s": round(wall_s, 3),
                "cpu_s": round(statistics.median(run[1] for run in engine), 3),
                "pydicom_files_per_s": round(len(expected) / rival_s),
                "pydicom_cpu_s": round(statistics.median(run[1] for run in rival), 3),
                "ratio_to_pydicom": round(rival_s / wall_s, 2),
                "cohort_s": round(cohort_s, 2),
                "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "peak_rss_child_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            }
        )
    )


if __name__ == "__main__":
    main()
