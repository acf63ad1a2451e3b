"""Every way a connection or a proxy can fail: the job ends verified, and the server holds each instance once."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_kit import SMALL, Job, all_uids, archived, make_cohort, settings_for, spec_for

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.server import open_emulator

IMPORT = "path=services/import"

HEALING = [
    f"reset-before-body:{IMPORT},nth=2,times=2",
    f"reset-in-body:{IMPORT},nth=2,times=2,after_bytes=9000",
    f"reset-after-body:{IMPORT},nth=1,times=1",
    f"reset-after-body:{IMPORT},nth=3,times=3",
    f"reset-in-answer:{IMPORT},nth=2,times=2",
    f"early-error:{IMPORT},nth=2,times=1,status=503",
    "drop-login:path=.,nth=9,times=1",
    "drop-login:path=services/import,nth=3,times=2",
    f"too-many:{IMPORT},nth=2,times=2,retry_after_s=0",
    f"unavailable:{IMPORT},nth=2,times=2,retry_after_s=0",
    f"bad-gateway:{IMPORT},nth=2,times=2",
    f"gateway-timeout:{IMPORT},nth=2,times=2",
    f"login-page:{IMPORT},nth=2,times=1",
    "bad-gateway:path=action=build,nth=1,times=2",
    "gateway-timeout:path=services/archive,nth=1,times=2",
    "bad-gateway:path=services/archive,nth=2,times=1",
    "reset-after-body:path=services/archive,nth=1,times=1",
    "login-page:path=prearchive/projects,nth=2,times=1",
    "unavailable:path=experiments,nth=2,times=2,retry_after_s=0",
    "archive-timeout:nth=1,times=2",
    "instance-lost:nth=3,times=2",
    "torn-entry:nth=4,times=1",
    "concurrent-file:nth=3,times=2",
    "lock-leaked:nth=1,times=1",
]


@pytest.mark.parametrize("fault", HEALING)
async def test_a_passing_fault_costs_time_and_no_data(tmp_path: Path, fault: str) -> None:
    cohort = make_cohort(tmp_path / "in", SMALL)
    async with open_emulator(EmulatorConfig(projects=("P",), faults=(fault,), archive_timeout_s=0.2)) as emulator:
        job = Job(emulator, spec_for(emulator, tmp_path / "in"), settings_for(emulator, tmp_path / "state"))
        summary = await job.run()
        assert emulator.faults.hits, "the fault never struck"
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert sorted(uid for uids in archived(emulator).values() for uid in uids) == all_uids(cohort)
        assert summary.totals.verified == len(cohort)
