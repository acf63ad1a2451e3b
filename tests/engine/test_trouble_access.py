"""Accounts and projects: what may not be is found before anything is sent, and a password is tried once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trouble_kit import imports, job_for, once, open_site, stored, tiny_cohort, uids_of

from xferengine.model.events import UnitDone
from xferengine.settings.slices import Credentials


@pytest.mark.parametrize(
    ("project", "roles"),
    [("NOSUCH", {}), ("P", {"Q": "owner"}), ("P", {"P": "collaborator"})],
    ids=["unknown", "unreadable", "read-only"],
)
async def test_a_project_that_cannot_be_written_stops_the_job_before_anything_is_sent(
    tmp_path: Path, project: str, roles: dict[str, str]
) -> None:
    tiny_cohort(tmp_path / "in")
    async with open_site(projects=("P", "Q")) as emulator:
        emulator.world.add_user("reader", "secret", **roles)
        job = job_for(emulator, tmp_path, project=project, settings={"credentials": Credentials("reader", "secret")})
        summary = await job.run()
        assert (summary.state, summary.exit_code) == ("incomplete", 7), summary
        assert repr(project) in summary.failures[0].detail
        assert imports(emulator) == 0
        assert not emulator.world.rows


async def test_a_wrong_password_is_tried_once(tmp_path: Path) -> None:
    tiny_cohort(tmp_path / "in")
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path, settings={"credentials": Credentials("admin", "wrong")})
        summary = await job.run()
        assert summary.exit_code == 7
        assert summary.failures[0].error == "LoginRefused"
        assert emulator.requests.count == 1


async def test_an_account_that_is_closed_during_the_run_is_asked_once_more_and_the_job_can_go_on(
    tmp_path: Path,
) -> None:
    cohort = tiny_cohort(tmp_path / "in", sessions=4)
    async with open_site() as emulator:
        admin = emulator.world.users["admin"]

        def close() -> None:
            admin.password = "changed"
            emulator.auth.logins.end_all()

        job = job_for(emulator, tmp_path, settings={"scan_workers": 1})
        summary = await job.run(once(UnitDone, close))
        assert (summary.state, summary.exit_code) == ("incomplete", 7)
        assert len(emulator.requests.matching("JSESSION", "GET")) == 2
        admin.password = "admin"
        summary = await job.run(resume_job=summary.job)
        assert (summary.state, summary.exit_code) == ("done", 0)
        assert stored(emulator) == uids_of(cohort)


@pytest.mark.parametrize("number", [1, 2, 5])
async def test_an_expired_login_is_renewed_once_for_all(tmp_path: Path, number: int) -> None:
    cohort = tiny_cohort(tmp_path / "in", sessions=3)
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)
        summary = await job.run(once(UnitDone, emulator.auth.logins.end_all, number))
        assert (summary.state, summary.exit_code) == ("done", 0), summary
        assert len(emulator.requests.matching("JSESSION", "GET")) == 2
        assert stored(emulator) == uids_of(cohort)


async def test_a_server_that_is_not_there_is_exit_5_and_nothing_is_lost(tmp_path: Path) -> None:
    cohort = tiny_cohort(tmp_path / "in")
    async with open_site() as emulator:
        job = job_for(emulator, tmp_path)
        port = emulator.port
    summary = await job.run()
    assert (summary.state, summary.exit_code) == ("failed", 5), summary
    assert summary.failures[0].error == "ConnectFailed"
    async with open_site(port=port) as emulator:
        changed: dict[str, Any] = {"resume_job": summary.job}
        summary = await job.run(**changed)
        assert (summary.state, summary.exit_code) == ("done", 0)
        assert stored(emulator) == uids_of(cohort)
