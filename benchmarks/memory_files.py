"""Do memory and temporary disk of downloads and comparisons grow with the number of files?

    python benchmarks/memory_files.py [--files 10000 …] [--site DIR] [--target DIR]

Each size is a site of sessions of 10,000 small files, downloaded by the command line as a user calls it, and then
compared with ``verify``. Peak memory is the kernel's VmHWM of the process tree. Temporary disk is what lies in the
folder for temporary files (state excluded, it is reported apart), and the part files inside the target at their most.
Results: benchmarks/results/memory-files.jsonl, .md and .png.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from file_clients import Task, engine
from file_sites import OWN_FOLDER, Site, SiteShape, files_below, missing_or_wrong, open_site, serving
from machine import command_line, facts
from measured import Measured, run_measured
from servers import PROJECT

HERE = Path(__file__).resolve().parent
GOAL_MB = 250
SIZES = (10_000, 100_000)
SESSION = SiteShape(scans=20, files=500, file_bytes=100)
LIMIT_S = 1800.0
LOOK_S = 0.1


class Parts:
    """The part files in a target, looked at now and then."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.count = 0
        self.bytes = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look until the end of the block."""
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(LOOK_S):
            count = size = 0
            for parent, _, names in os.walk(self._folder):
                for name in names:
                    try:
                        size += os.lstat(os.path.join(parent, name)).st_size
                        count += 1
                    except OSError:  # made final meanwhile
                        continue
            self.count, self.bytes = max(self.count, count), max(self.bytes, size)


def run_size(files: int, given: argparse.Namespace) -> dict[str, Any]:
    """Download and compare one site."""
    sessions = max(1, files // SESSION.count)
    shape = SiteShape(sessions=sessions, scans=SESSION.scans, files=SESSION.files, file_bytes=SESSION.file_bytes)
    home = Path(tempfile.mkdtemp(prefix="client-", dir=given.target))
    folder = Path(given.site) / f"memory-{files}"
    try:
        site = open_site(folder, shape)
        for name in ("tmp", "out"):
            (home / name).mkdir()
        with serving(site) as server:
            task = Task(url=server.url, home=home, rivals=Path(), sessions=site.sessions)
            return {"benchmark": "memory-files", "files": shape.count, "sessions": sessions} | _both(task, site)
    finally:
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def _both(task: Task, site: Site) -> dict[str, Any]:
    parts = Parts(task.out / OWN_FOLDER)
    load = os.getloadavg()[0]
    with parts.watched():
        down = _call(task, engine(task))
    wrong = missing_or_wrong(task.out, site.content)
    compared = _call(task, [sys.executable, "-m", "xferengine", "verify", f":{PROJECT}", str(task.out), "--json"])
    return {
        "load": round(load, 2),
        "failed": wrong or ("" if down.exit_code == 0 else f"exit code {down.exit_code}: {down.errors[-300:]}"),
        "download": _figures(down) | {"most_parts": parts.count, "most_part_mb": round(parts.bytes / 1e6, 3)},
        "verify": _figures(compared) if compared.exit_code == 0 else {"failed": compared.errors[-300:]},
        "state_mb": round(sum(path.stat().st_size for path in files_below(task.home / "state")) / 1e6, 1),
    }


def _call(task: Task, command: list[str]) -> Measured:
    return run_measured(
        command, environment=task.environment, temp=task.temp, limit_s=LIMIT_S, log=task.home / "client.log"
    )  # fmt: skip


def _figures(done: Measured) -> dict[str, Any]:
    return {
        "wall_s": round(done.wall_s, 2), "cpu_s": round(done.cpu_s, 2), "peak_mb": round(done.tree_rss_mb, 1),
        "temp_mb": round(done.temp_mb, 2),
    }  # fmt: skip


def write(folder: Path, records: list[dict[str, Any]]) -> None:
    """Write results as JSON lines, a table and a plot."""
    about = facts() | {"command": command_line()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory-files.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [{"about": about}, *records]))
    text = [
        "# memory-files", "", " · ".join(f"{key}: {value}" for key, value in about.items()), "",
        "| files | download: peak MB | s per 1,000 | temp MB | part files at most (MB) | verify: peak MB |"
        " s per 1,000 | state MB | load |", "|" + "---|" * 9,
    ]  # fmt: skip
    for record in records:
        down, compared, thousands = record["download"], record["verify"], record["files"] / 1000
        failed = compared.get("failed")
        cells = (
            f"{record['files']:,}", f"{down['peak_mb']:.0f}", f"{down['wall_s'] / thousands:.3f}",
            f"{down['temp_mb']:.1f}", f"{down['most_parts']} ({down['most_part_mb']:.2f})",
            "FAILED" if failed else f"{compared['peak_mb']:.0f}",
            "" if failed else f"{compared['wall_s'] / thousands:.3f}", f"{record['state_mb']:.0f}", str(record["load"]),
        )  # fmt: skip
        text.append("| " + " | ".join(cells) + " |" + (f" {record['failed']}" if record["failed"] else ""))
    text += ["", f"goal: peak < {GOAL_MB} MB and flat, temporary disk 0 but for part files inside the target"]
    (folder / "memory-files.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))
    _plot(folder / "memory-files.png", records)


def _plot(path: Path, records: list[dict[str, Any]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for verb in ("download", "verify"):
        good = [record for record in records if "peak_mb" in record[verb]]
        axis.plot([r["files"] for r in good], [r[verb]["peak_mb"] for r in good], marker="o", label=verb)
    axis.axhline(GOAL_MB, color="#999999", linestyle="--", label="goal")
    axis.set_xscale("log")
    axis.set_ylim(0)
    axis.set_xlabel("files")
    axis.set_ylabel("peak memory of the client, MB")
    axis.legend()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main() -> int:
    """Run all sizes; exit code 1 when a download failed or a peak is beyond the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--files", type=int, action="append", help="repeatable; default: 10,000 and 100,000")
    add("--site", default="", help="folder for the server's disk; default: a temporary one")
    add("--target", default="", help="folder to download to; default: a temporary one")
    add("--results", default=str(HERE / "results"))
    given = parser.parse_args()
    records = []
    with (
        tempfile.TemporaryDirectory(prefix="memory-", dir=given.target or None) as target,
        tempfile.TemporaryDirectory(prefix="memory-", dir=given.site or None) as site,
    ):
        given.target, given.site = target, site
        for files in given.files or SIZES:
            records.append(run_size(files, given))
            print(json.dumps(records[-1]), flush=True)
    write(Path(given.results), records)
    peaks = [record[verb].get("peak_mb", 0) for record in records for verb in ("download", "verify")]
    return int(any(record["failed"] for record in records) or max(peaks) >= GOAL_MB)


if __name__ == "__main__":
    sys.exit(main())
