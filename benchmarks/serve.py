"""The emulator as its own process, with counters for benchmarks.

    python benchmarks/serve.py COUNTERS.json [switches of the emulator]

SIGUSR1 writes what came in and went out so far (requests, body bytes, CPU seconds of this process) to COUNTERS.json.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from xferengine.emulator.server import Emulator, open_emulator
from xferengine.emulator.switches import parse_switches


def write_counters(emulator: Emulator, path: Path) -> None:
    """Write the counters in one step, so that a reader never sees half of them."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    imports = emulator.requests.matching(r"^/data/services/import", "POST")
    counters = {
        "requests": emulator.requests.count,
        "bytes_in": emulator.requests.bytes_in,
        "bytes_out": emulator.requests.bytes_out,
        "import_bodies": [[served.status, served.bytes_in] for served in imports],
        "cpu_s": used.ru_utime + used.ru_stime,
        "rss_max_mb": used.ru_maxrss / 1024,
    }
    part = path.with_suffix(".part")
    part.write_text(json.dumps(counters))
    os.replace(part, path)


async def serve(counters: Path, switches: Sequence[str]) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with open_emulator(parse_switches(switches)) as emulator:
        loop.add_signal_handler(signal.SIGUSR1, write_counters, emulator, counters)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        print(f"listening on {emulator.url}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2:]))
