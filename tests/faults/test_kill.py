"""``kill -9`` in short; ``tests/proofs/kill.py`` is the long form."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import pytest
from process_kit import Engine, Moment, Server, wrong_on_disk

from xferengine.emulator.cohort import CohortFile, CohortShape, make_cohort
from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.server import open_emulator
from xferengine.jobs.admin import list_jobs
from xferengine.manifest.store import read_only

SHAPE = CohortShape(sessions=4, series=2, instances=4, instance_bytes=6000)


def finish(engine: Engine, server: Server, tmp_path: Path) -> None:
    """Let the engine end, resuming it when it gave up."""
    for _ in range(4):
        if engine.end() == 0:
            return
        engine = Engine.small(server, tmp_path / "state", tmp_path / "in", resume=True)
    pytest.fail(f"exit {engine.end()}: {engine.summary}")


def check(server: Server, tmp_path: Path, cohort: list[CohortFile]) -> None:
    assert wrong_on_disk(tmp_path / "data", cohort, sample=3) == []
    assert server.rows() == []


@pytest.mark.parametrize(
    "moment",
    [Moment(event="unit-done", number=3, delay_s=0.002), Moment(event="study-changed", state="gated", number=2)],
    ids=["sending", "archiving"],
)
def test_a_killed_engine_goes_on_where_it_was(tmp_path: Path, moment: Moment) -> None:
    cohort = make_cohort(tmp_path / "in", SHAPE)
    server = Server(tmp_path / "data", "--request-ms", "3", "--instance-ms", "1")
    server.start()
    try:
        engine = Engine.small(server, tmp_path / "state", tmp_path / "in")
        struck = engine.wait_for(moment)
        engine.kill()
        assert struck
        finish(Engine.small(server, tmp_path / "state", tmp_path / "in", resume=True), server, tmp_path)
        check(server, tmp_path, cohort)
    finally:
        server.stop()


def test_a_killed_server_is_waited_for(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "in", SHAPE)
    server = Server(tmp_path / "data", "--request-ms", "3", "--instance-ms", "1")
    server.start()
    try:
        engine = Engine.small(server, tmp_path / "state", tmp_path / "in")
        assert engine.wait_for(Moment(event="unit-done", number=4))
        server.kill()
        time.sleep(0.5)
        server.start()
        finish(engine, server, tmp_path)
        check(server, tmp_path, cohort)
    finally:
        server.stop()


async def test_a_killed_engine_sends_twice_at_most_what_was_in_flight(tmp_path: Path) -> None:
    """By the server's own count of bytes."""
    cohort = make_cohort(tmp_path / "in", SHAPE)
    async with open_emulator(EmulatorConfig(projects=("P",), instance_ms=5.0)) as emulator:
        engine = Engine.small(emulator, tmp_path / "state", tmp_path / "in")
        struck = await anyio.to_thread.run_sync(engine.wait_for, Moment(event="unit-done", number=4))
        engine.kill()
        assert struck
        folder = tmp_path / "state" / "jobs" / list_jobs(tmp_path / "state")[0].id
        query = "SELECT coalesce(sum(bytes), 0), coalesce(sum(files), 0) FROM unit WHERE state='leased'"
        in_flight, files = read_only(folder, lambda con: con.execute(query).fetchone())
        engine = Engine.small(emulator, tmp_path / "state", tmp_path / "in", resume=True)
        assert await anyio.to_thread.run_sync(engine.end) == 0
        framing = 400 * (len(cohort) + files)
        assert emulator.bytes_in <= sum(file.size for file in cohort) + in_flight + framing
        assert wrong_on_disk(emulator.world.data_dir, cohort, sample=3) == []
