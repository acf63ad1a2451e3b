"""Run a command and measure its whole process tree: wall, CPU, memory, temporary disk."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_S = 0.05
DISK_EVERY = 2
MB = 1e6


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one command took. ``lines`` are the wanted lines of its standard output with their seconds since start."""

    exit_code: int
    wall_s: float
    cpu_s: float
    tree_rss_mb: float
    process_rss_mb: float
    temp_mb: float
    lines: list[tuple[float, str]] = field(default_factory=list)
    errors: str = ""


class Tree:
    """Samples a process and its descendants."""

    def __init__(self, pid: int, temp: Path) -> None:
        self._pid = pid
        self._temp = temp
        self.rss_bytes = 0
        self.peak_bytes = 0
        self.temp_bytes = 0

    def sample(self, *, disk: bool) -> None:
        """Look once; processes that end meanwhile do not count."""
        pids = self._pids()
        usage = [_memory(pid) for pid in pids]
        self.rss_bytes = max(self.rss_bytes, sum(now for now, _ in usage))
        self.peak_bytes = max(self.peak_bytes, *(peak for _, peak in usage))
        if disk:
            self.temp_bytes = max(self.temp_bytes, _folder_bytes(self._temp) + self._unlinked(pids))

    def _pids(self) -> list[int]:
        found, todo = [], [self._pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            with suppress(OSError):
                for thread in os.listdir(f"/proc/{pid}/task"):
                    with suppress(OSError):
                        todo += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
        return found

    def _unlinked(self, pids: list[int]) -> int:
        """Return the bytes of open temporary files that have no name (any more)."""
        seen: dict[int, int] = {}
        for pid in pids:
            with suppress(OSError):
                for number in os.listdir(f"/proc/{pid}/fd"):
                    path = f"/proc/{pid}/fd/{number}"
                    with suppress(OSError):
                        target = os.readlink(path)
                        if target.startswith(str(self._temp)) and target.endswith(" (deleted)"):
                            status = os.stat(path)
                            seen[status.st_ino] = status.st_blocks * 512
        return sum(seen.values())


def run_measured(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    temp: Path,
    limit_s: float,
    wanted: Callable[[str], bool] | None = None,
    log: Path,
) -> Measured:
    """Run a command to its end.

    Args:
        command: program and arguments.
        environment: all of it; TMPDIR should be ``temp``.
        temp: folder of temporary files, sampled.
        limit_s: after so long the process group is killed.
        wanted: which lines of standard output to keep with their time; None keeps none.
        log: takes standard error, and standard output unless lines are wanted.
    """
    lines: list[tuple[float, str]] = []
    ended = threading.Event()
    with log.open("wb") as out:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=temp,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if wanted else out,
            stderr=out,
            start_new_session=True,
        )
        tree = Tree(process.pid, temp)
        threads = [threading.Thread(target=_watch, args=(tree, ended, limit_s))]
        if wanted is not None:
            threads.append(threading.Thread(target=_read, args=(process, wanted, lines, began)))
        for thread in threads:
            thread.start()
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        for thread in threads:
            thread.join()
    if process.stdout is not None:
        process.stdout.close()
    return Measured(
        exit_code=process.returncode,
        wall_s=wall_s,
        cpu_s=used.ru_utime + used.ru_stime,
        tree_rss_mb=max(tree.rss_bytes, tree.peak_bytes) / MB,
        process_rss_mb=tree.peak_bytes / MB,
        temp_mb=tree.temp_bytes / MB,
        lines=lines,
        errors=log.read_text(errors="replace")[-2000:],
    )


def _watch(tree: Tree, ended: threading.Event, limit_s: float) -> None:
    stop, round_ = time.monotonic() + limit_s, 0
    while not ended.wait(SAMPLE_S):
        tree.sample(disk=round_ % DISK_EVERY == 0)
        round_ += 1
        if time.monotonic() > stop:
            with suppress(ProcessLookupError):
                os.killpg(tree._pid, 9)
            return


def _read(
    process: subprocess.Popen[bytes], wanted: Callable[[str], bool], lines: list[tuple[float, str]], began: float
) -> None:
    assert process.stdout is not None, "stdout was piped"
    for raw in process.stdout:
        line = raw.decode(errors="replace")
        if wanted(line):
            lines.append((time.monotonic() - began, line))


def _memory(pid: int) -> tuple[int, int]:
    """Return resident bytes now and at their highest (ru_maxrss would count the parent's memory before exec)."""
    found = {"VmRSS": 0, "VmHWM": 0}
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0]) * 1024
    return found["VmRSS"], found["VmHWM"]


def _folder_bytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total
