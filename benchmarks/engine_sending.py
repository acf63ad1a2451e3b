"""Runs an upload with the engine and prints what sending took of this process: from the plan to the last answer.

    python benchmarks/engine_sending.py URL FOLDER STATE_DIR

``cpu_s_per_gb`` is everything the process does meanwhile; ``manifest_s_per_gb`` the part of it that the manifest's
writer takes in its own thread. Against a sink the sessions end as failed: nothing was kept. Only the sending is looked
at.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from servers import PASSWORD, PROJECT, USER

from xferengine.cli.main import start_loop
from xferengine.jobs.runner import run_job
from xferengine.jobs.spec import JobReport, UploadSpec
from xferengine.manifest.writer import Writer
from xferengine.model.events import Event, PlanReady, UnitDone
from xferengine.settings.slices import Credentials, RetryConfig, ServerConfig, Settings


class Meter:
    """Notes time and CPU of the plan and of each answer."""

    def __init__(self) -> None:
        self.begin = self.end = (0.0, 0.0, 0.0)
        self.bytes = self.bundles = 0
        self.manifest_s = 0.0

    def emit(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, PlanReady):
            self.begin = _now()
            self.manifest_s = 0.0
        elif isinstance(event, UnitDone):
            self.end = _now()
            self.bytes += event.bytes
            self.bundles += 1

    def watch_writer(self) -> None:
        """Add up the CPU seconds of every commit, in the thread that makes it."""
        commit = Writer._commit

        def timed(writer: Writer, group: list[Any]) -> None:
            began = time.thread_time()
            commit(writer, group)
            self.manifest_s += time.thread_time() - began

        Writer._commit = timed  # type: ignore[method-assign]


def _now() -> tuple[float, float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.monotonic(), used.ru_utime, used.ru_stime


def main() -> None:
    """Run and print one JSON line."""
    url, folder, state = sys.argv[1:]
    meter = Meter()
    meter.watch_writer()
    settings = Settings(
        server=ServerConfig(url=url),
        state_dir=Path(state),
        credentials=Credentials(USER, PASSWORD),
        retry=RetryConfig(attempts=1, give_up_after_s=0.1, settle_s=0.01, poll_s=0.01),
    )
    spec = UploadSpec(paths=(folder,), project=PROJECT, server_url=url)

    async def work() -> JobReport:
        return await run_job(spec, settings, emit=meter.emit)

    start_loop(work)
    wall_s, user_s, system_s = (end - begin for begin, end in zip(meter.begin, meter.end, strict=True))
    print(
        json.dumps(
            {
                "sent_mb": round(meter.bytes / 1e6, 1),
                "bundles": meter.bundles,
                "wall_s": round(wall_s, 3),
                "user_s": round(user_s, 3),
                "system_s": round(system_s, 3),
                "cpu_s_per_gb": round((user_s + system_s) / (meter.bytes / 1e9), 3),
                "manifest_s_per_gb": round(meter.manifest_s / (meter.bytes / 1e9), 3),
                "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }
        )
    )


if __name__ == "__main__":
    main()
