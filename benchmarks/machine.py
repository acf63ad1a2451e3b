"""Facts about the machine and the code, for every result."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path


def facts() -> dict[str, object]:
    """Return cores, processor, kernel, Python, commit and date."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def command_line() -> str:
    """Return how this program was called; folders of this machine say nothing to others, but for a RAM disk."""
    shown = [
        word if not word.startswith("/") else "/dev/shm" if word.startswith("/dev/shm") else "…" for word in sys.argv
    ]
    return " ".join([Path(sys.argv[0]).name, *shown[1:]])


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    folder = Path(__file__).resolve().parent
    try:
        name = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", "../xferengine"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip() + ("+changes" if changed.stdout.strip() else "")
