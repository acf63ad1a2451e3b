"""Ending early and going on: budgets and signals leave a job that resumes to the same result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import msgspec
import pytest
from engine_kit import SMALL_POOL
from trouble_kit import job_for, once, open_site, stored, tiny_cohort, uids_of

from xferengine.emulator.server import Emulator
from xferengine.jobs import runner
from xferengine.kit.clock import SystemClock
from xferengine.model.events import UnitDone


async def test_max_bytes_stops_cleanly_and_the_job_goes_on(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in", sessions=4)
    size = sum(file.size for file in cohort)
    async with open_site() as emulator:
        pool = msgspec.structs.replace(SMALL_POOL, max_bytes=size // 3, workers=1, adaptive=False, studies_in_flight=1)
        job = job_for(emulator, tmp_path, settings={"pool": pool})
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("interrupted", 10), summary
        assert size // 3 <= emulator.bytes_in < size
        sent = emulator.bytes_in
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)
        assert summary.totals.bytes_resent == 0
        assert emulator.bytes_in - sent < size


async def test_until_stops_cleanly_and_the_job_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = tiny_cohort(tmp_path / "in", sessions=4)
    late = False

    class Clock(SystemClock):
        """The wall clock jumps past the end of the time allowed after the first bundle."""

        def now(self) -> datetime:
            return datetime(2030, 1, 1, 5, 59, tzinfo=UTC) + (timedelta(minutes=5) if late else timedelta())

        async def sleep(self, seconds: float) -> None:
            await super().sleep(min(seconds, 0.01))

    def pass_time() -> None:
        nonlocal late
        late = True

    monkeypatch.setenv("TZ", "UTC")
    async with open_site(instance_ms=20.0) as emulator:
        pool = msgspec.structs.replace(SMALL_POOL, until="06:00", workers=1, adaptive=False, studies_in_flight=1)
        job = job_for(emulator, tmp_path, settings={"pool": pool})
        with monkeypatch.context() as patched:
            patched.setattr(runner, "SystemClock", Clock)
            summary = await job.run(once(UnitDone, pass_time))
        assert (summary.state, summary.exit_code) == ("interrupted", 10), summary
        assert len(stored(emulator)) < len(cohort)
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)


class Engine:
    """The program in a process of its own, with its events."""

    def __init__(self, emulator: Emulator, tmp_path: Path) -> None:
        command = (
            f"upload {tmp_path / 'in'} -P P --yes --json --workers 1 --bwlimit 20k --state-dir {tmp_path / 'state'}"
        )
        self.events: list[dict[str, object]] = []
        self._waits: list[tuple[str, threading.Event]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "xferengine", *command.split()],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XNAT_URL": emulator.url, "XNAT_USER": "admin", "XNAT_PASS": "admin"},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                event = json.loads(line)
                self.events.append(event)
                for name, happened in self._waits:
                    if name == event["event"]:
                        happened.set()
        for _, happened in self._waits:
            happened.set()

    async def wait_for(self, name: str) -> None:
        happened = threading.Event()
        self._waits.append((name, happened))
        if any(event["event"] == name for event in self.events):
            return
        await anyio.to_thread.run_sync(happened.wait)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def end(self) -> tuple[int, dict[str, object]]:
        code = await anyio.to_thread.run_sync(self._process.wait)
        await anyio.to_thread.run_sync(self._reader.join)
        return code, self.events[-1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_the_first_signal_drains(tmp_path: Path, number: int, code: int) -> None:
    cohort = tiny_cohort(tmp_path / "in", sessions=3, instance_bytes=6000)
    async with open_site() as emulator:
        engine = Engine(emulator, tmp_path)
        await engine.wait_for("unit-started")
        engine.signal(number)
        ended, summary = await engine.end()
        assert (ended, summary["state"], summary["exit_code"]) == (code, "interrupted", code)
        assert [e for e in engine.events if e["event"] == "unit-done"], "the unit in flight was not finished"
        assert summary["totals"]["bytes_resent"] == 0  # type: ignore[index]
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)


async def test_the_second_signal_cancels_at_once(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in", sessions=3, instance_bytes=6000)
    async with open_site(faults=("stall-reading:path=services/import,delay_s=60",)) as emulator:
        engine = Engine(emulator, tmp_path)
        await engine.wait_for("unit-started")
        engine.signal(signal.SIGINT)
        await engine.wait_for("notice")
        engine.signal(signal.SIGINT)
        with anyio.fail_after(10):
            ended, summary = await engine.end()
        assert (ended, summary["state"]) == (130, "interrupted")
        emulator.faults.clear()
        summary = await job_for(emulator, tmp_path).run()
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert stored(emulator) == uids_of(cohort)
