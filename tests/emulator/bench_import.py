"""Prints what importing one 200 kB instance costs the emulator's core, without HTTP: ``python bench_import.py``."""

import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from emulator.core_kit import Client, dicom, open_client, zipped

from xferengine.emulator.clock import SystemClock

COUNT, PIXELS, CHUNK = 1000, 200_000, 256 << 10


def cpu_s() -> float:
    """Return the CPU time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measured(client: Client, label: str, body: bytes, query: str) -> None:
    """Import a body and print the cost per instance."""
    wall, cpu = time.perf_counter(), cpu_s()
    await client.send(body, query, chunk=CHUNK)
    wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
    print(f"{label}: {wall * 1000 / COUNT:.3f} ms wall, {cpu * 1000 / COUNT:.3f} ms CPU per instance")


async def main() -> None:
    """Measure stored and deflated zips, then build and archive."""
    members = [(f"{n}.dcm", dicom(n, pixels=PIXELS)) for n in range(COUNT)]
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        async with open_client(Path(folder), clock=SystemClock()) as client:
            await measured(client, "stored  ", zipped(members), "project=P&subject=S&session=A")
            await measured(client, "deflated", zipped(members, deflate=True), "project=P&subject=S&session=B")
            row = next(row for row in client.core.world.rows.values() if row.name == "A")
            for name, call in (
                ("build  ", f"/data{row.url}?action=build"),
                ("archive", f"/data/services/archive?src={row.url}"),
            ):
                wall, cpu = time.perf_counter(), cpu_s()
                await client.call("POST", call)
                wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
                print(f"{name} : {wall * 1000 / COUNT:.3f} ms wall, {cpu * 1000 / COUNT:.3f} ms CPU per instance")


if __name__ == "__main__":
    asyncio.run(main())
