"""When does a lock count as left behind?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from engine_kit import Job, archived, make_cohort, settings_for, spec_for

from xferengine.emulator.cohort import CohortShape
from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.server import open_emulator
from xferengine.jobs.locks import LockJudge, note_login
from xferengine.manifest.store import open_manifest
from xferengine.settings.slices import ServerConfig, Settings
from xferengine.xnat.faults import SessionLocked


def judge(began_anew: bool) -> tuple[LockJudge, Any]:
    client = SimpleNamespace(stats=SimpleNamespace(logins=1))
    settings = Settings(server=ServerConfig(url="http://localhost"), state_dir=Path("/nowhere"))
    return LockJudge(client, settings, began_anew=began_anew), client  # type: ignore[arg-type]


LONG, SHORT = 900.0, 10.0


@pytest.mark.parametrize(("began_anew", "patience"), [(True, SHORT), (False, LONG)])
def test_a_lock_of_an_earlier_run_is_judged_by_whether_the_server_began_anew(began_anew: bool, patience: float) -> None:
    locks, _ = judge(began_anew)
    assert locks.patience_s(1) == patience
    with pytest.raises(SessionLocked), locks.order(1):
        raise SessionLocked("not ours")
    assert locks.patience_s(1) == patience


def test_a_lock_of_our_own_order_is_judged_by_the_logins_since() -> None:
    locks, client = judge(began_anew=True)
    with locks.order(1):
        pass
    assert locks.patience_s(1) == LONG
    client.stats.logins = 2
    assert locks.patience_s(1) == SHORT
    with pytest.raises(SessionLocked), locks.order(1):
        raise SessionLocked("made by the order before")
    assert locks.patience_s(1) == SHORT
    with locks.order(1, renew=True):
        pass
    assert locks.patience_s(1) == LONG


async def test_both_sides_died_while_archiving_and_the_resumed_run_frees_the_row(tmp_path: Path) -> None:
    make_cohort(tmp_path / "in", CohortShape(sessions=1, series=1, instances=3, instance_bytes=4000))
    config = EmulatorConfig(projects=("P",), data_dir=tmp_path / "site")
    async with open_emulator(config) as emulator:
        job = Job(emulator, spec_for(emulator, tmp_path / "in"), settings_for(emulator, tmp_path / "state"))
        emulator.faults.add("reset-before-body", match="services/archive", times=0)
        first = await job.run()
        assert first.exit_code == 3, first
        (row,) = emulator.world.rows.values()
        # A killed server: whoever held the lock is gone, the state in its database stays.
        assert emulator.core.table.set_status(row, "_ARCHIVING")
        port = emulator.port
    async with open_manifest(tmp_path / "state" / "jobs" / first.job) as manifest:
        # A killed client: it said no goodbye either.
        await note_login(manifest, "A" * 32)
        await manifest.write(lambda con: con.execute("UPDATE study SET state='archiving', ordered=1"))
    async with open_emulator(on_port(config, port)) as emulator:
        job.emulator = emulator
        summary = await job.run(resume_job=first.job)
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert sum(map(len, archived(emulator).values())) == 3


def on_port(config: EmulatorConfig, port: int) -> EmulatorConfig:
    """The same site on a given port."""
    return dataclasses.replace(config, port=port)
