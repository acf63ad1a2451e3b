"""One run of one client: what it took, and whether the bytes are right."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from file_clients import ENGINE, Client, Task
from measured import Measured, run_measured

LIMIT_S = 900.0
QUIET_LOAD = 3.0

_MARKS = ("job-started", "plan-ready", "unit-started", "files-done", "unit-done", "summary")

Counters = Callable[[], dict[str, float]]
"""What a server counted so far: ``requests``, ``bytes_in``, ``bytes_out``, ``cpu_s``, ``made``."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where runs of one scenario happen."""

    task: Task
    work: Path
    """Folder for homes and results."""
    counters: Counters
    check: Callable[[Task, float], str]
    """Look at the result of a client that was given that share of the files; says what is wrong."""
    payload_bytes: int
    payload_files: int


def run_client(place: Place, client: Client) -> dict[str, Any]:
    """Make one run in a fresh home and return its record; ``failed`` says why its figures do not count."""
    with _home(place.work) as home:
        files = place.task.files
        part = replace(place.task, home=home, files=files[: max(1, round(len(files) * client.share))])
        if client.first is not None:
            subprocess.run(client.first(part), env=part.environment, cwd=part.temp, check=True, capture_output=True)
        load, before = os.getloadavg()[0], place.counters()
        done = run_measured(
            client.command(part),
            environment=part.environment,
            temp=part.temp,
            limit_s=LIMIT_S,
            wanted=_is_telling if client.kind == ENGINE else None,
            log=home / "client.log",
        )
        after = place.counters()
        record = _figures(place, client, done) | {key: after[key] - before[key] for key in after}
        record |= phases(done.lines)
        record |= {"load": round(load, 2)} | _judge(place, client, part, done)
    return record


@contextmanager
def _home(work: Path) -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="client-", dir=work))
    try:
        (home / "tmp").mkdir()
        (home / "out").mkdir()
        yield home
    finally:
        _empty(home)


def _empty(folder: Path) -> None:
    """Free the space of a run and keep its names: some file systems go round freshly deleted inodes for a minute or
    more, one by one, so that whoever runs next would pay for the removal. The folder above goes at the very end."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if not os.path.islink(path) and os.path.getsize(path):
                os.truncate(path, 0)


def _figures(place: Place, client: Client, done: Measured) -> dict[str, Any]:
    scale = 1 / client.share
    return {
        "kind": client.kind,
        "scaled_from": client.share,
        "verifies": client.verifies,
        "payload_mb": round(place.payload_bytes / 1e6, 1),
        "payload_files": place.payload_files,
        "wall_s": round(done.wall_s * scale, 3),
        "client_cpu_s": round(done.cpu_s * scale, 3),
        "tree_rss_mb": round(done.tree_rss_mb, 1),
        "process_rss_mb": round(done.process_rss_mb, 1),
        "temp_mb": round(done.temp_mb, 1),
        "note": client.note,
    }


def _is_telling(said: str) -> bool:
    return any(f'"event":"{name}"' in said for name in _MARKS)


def phases(lines: list[tuple[float, str]]) -> dict[str, float]:
    """Return when the engine had started, had its plan, moved first and last, in seconds since its start."""
    when: dict[str, list[float]] = {}
    for at_s, said in lines:
        when.setdefault(json.loads(said)["event"], []).append(at_s)
    found = {"started_s": when.get("job-started"), "planned_s": when.get("plan-ready"),
             "moving_s": when.get("unit-started")}  # fmt: skip
    first = {key: times[0] for key, times in found.items() if times}
    moved = [*when.get("files-done", []), *when.get("unit-done", [])]
    return {key: round(at_s, 3) for key, at_s in (first | ({"moved_s": max(moved)} if moved else {})).items()}


def _judge(place: Place, client: Client, task: Task, done: Measured) -> dict[str, Any]:
    if done.exit_code not in client.exit_codes:
        return {"failed": f"exit code {done.exit_code}", "errors": done.errors}
    if client.kind == ENGINE and not any('"state":"done"' in said for _, said in done.lines[-1:]):
        return {"failed": "not everything was verified", "errors": done.lines[-1][1] if done.lines else done.errors}
    wrong = place.check(task, client.share) if client.keeps else ""
    return {"failed": wrong, "errors": done.errors if wrong else ""}


def part_of(content: Counter[str], names: list[str], md5_by_name: dict[str, str], share: float) -> Counter[str]:
    """Return what a client that was given a share of the files must have brought."""
    return content if share == 1 else Counter(md5_by_name[name] for name in names)


def line(record: dict[str, Any]) -> str:
    """Say a record in one line."""
    parts = (
        f"{record['scenario']:>18} {record['client']:<22}",
        f"wall {record['wall_s']:7.2f} s",
        f"cpu {record['client_cpu_s']:6.2f}",
        f"server {record['cpu_s']:6.2f}",
        f"rss {record['tree_rss_mb']:5.0f} MB",
        f"temp {record['temp_mb']:5.0f} MB",
        f"{record['requests']:6.0f} requests",
        f"load {record['load']}",
        f"made {record['made']:.0f}" if record.get("made") else "",
        f"FAILED: {record['failed']} {record['errors'][-300:]}" if record["failed"] else "",
    )
    return "  ".join(part for part in parts if part)
