"""No label, no name, no password and no cookie in logs, events, errors or the list of failures."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path

import anyio
import pytest
from engine_kit import Job
from trouble_kit import job_for, of_study, once, open_site, rewrite, tiny_cohort

from xferengine.cli.logs import log_event
from xferengine.cli.render_json import event_line
from xferengine.emulator.cohort import CohortFile
from xferengine.emulator.scripts import Script
from xferengine.emulator.server import Emulator
from xferengine.errors import XferError
from xferengine.jobs.admin import cancel_job, list_jobs
from xferengine.model.events import Event, UnitDone
from xferengine.settings.slices import Credentials

NAME, PATIENT, PASSWORD = "Geheimrat^Zacharias", "ZACHARIAS-4711", "pass-wort-0815"
MARKERS = ("Geheimrat", "Zacharias", "ZACHARIAS", "4711", PASSWORD, "0815")


def marked_cohort(folder: Path, **shape: int) -> list[CohortFile]:
    """A cohort whose people are unmistakable and whose paths do not name them."""
    cohort = tiny_cohort(folder, **shape)
    for number, file in enumerate(cohort):
        rewrite(file.path, PatientName=f"{NAME}{number % 2}", PatientID=f"{PATIENT}-{file.subject[-1]}")
    return cohort


class Ear:
    """Collects everything that a job says."""

    def __init__(self, emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
        self.emulator = emulator
        self.said: list[str] = []
        self._caplog = caplog
        caplog.set_level(logging.DEBUG)

    def hear(self, event: Event) -> None:
        self.said.append(event_line(event))
        log_event(event)

    def logins(self) -> list[str]:
        return [login.id for login in self.emulator.auth.logins._live.values()]

    def check(self) -> None:
        log = [record.getMessage() for record in self._caplog.records]
        log += [repr(record.args) for record in self._caplog.records if record.args]
        log += ["".join(traceback.format_exception(*r.exc_info)) for r in self._caplog.records if r.exc_info]
        assert any(r.name.startswith("xferengine") for r in self._caplog.records), "no log was captured"
        for text in (*self.said, *log):
            for marker in (*MARKERS, "JSESSIONID", *self.logins()):
                assert marker not in text, text


def engine_records(caplog: pytest.LogCaptureFixture) -> None:
    """The emulator's own log is not the engine's."""
    caplog.set_level(logging.CRITICAL, logger="xferengine.emulator")
    caplog.set_level(logging.DEBUG, logger="xferengine")


async def run_heard(job: Job, ear: Ear, hook: object = None, **options: object) -> None:
    def both(event: Event) -> None:
        ear.hear(event)
        if callable(hook):
            hook(event)

    try:
        summary = await job.run(both, **options)
    except XferError as error:
        ear.said += [error.message, repr(error), "".join(traceback.format_exception(error))]
    else:
        ear.said.append(event_line(summary))


def secret_job(emulator: Emulator, tmp_path: Path, **spec: object) -> Job:
    emulator.world.add_user("sender", PASSWORD, P="owner")
    return job_for(emulator, tmp_path, settings={"credentials": Credentials("sender", PASSWORD)}, **spec)


FAULTS = [
    "drop-login:path=services/import,nth=2,times=1",
    "login-page:path=services/import,nth=2,times=1",
    "early-error:path=services/import,nth=1,times=1,status=500",
    "early-error:path=services/import,nth=2,times=0,status=409",
    "early-error:path=services/import,nth=2,times=0,status=403",
    "early-error:path=action=build,nth=1,times=0,status=404",
    "reset-after-body:path=services/archive,nth=1,times=1",
    "disk-full:nth=2,times=0",
    "torn-entry:nth=2,times=1",
    "instance-lost:nth=2,times=1",
    "foreign-row:nth=1,times=1",
    "bad-gateway:path=prearchive/projects,nth=3,times=1",
    "unavailable:path=experiments,nth=2,times=1,retry_after_s=0",
    "too-large:path=services/import,limit_bytes=1000",
]


@pytest.mark.parametrize("fault", ["", *FAULTS])
async def test_nothing_private_is_said_whatever_goes_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    engine_records(caplog)
    marked_cohort(tmp_path / "in")
    async with open_site(faults=(fault,) if fault else ()) as emulator:
        ear = Ear(emulator, caplog)
        await run_heard(secret_job(emulator, tmp_path), ear)
        assert not fault or emulator.faults.hits
        ear.check()


@pytest.mark.parametrize(
    "trouble",
    ["exists", "foreign", "label-clash", "patients", "too-long", "no-project", "read-only", "password", "rejected"],
)
async def test_nothing_private_is_said_about_what_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    engine_records(caplog)
    cohort = marked_cohort(tmp_path / "in")
    script = Script(reject_every=2) if trouble == "rejected" else Script()
    async with open_site(projects=("P", "Q"), script=script) as emulator:
        ear = Ear(emulator, caplog)
        template = "{PatientID}" if trouble == "label-clash" else "{PatientID}_{StudyDate}"
        job = secret_job(emulator, tmp_path, session=template)
        sender = emulator.world.users["sender"]
        match trouble:
            case "exists":
                subject = emulator.world.add_subject("P", f"{PATIENT}-1")
                emulator.world.add_experiment("P", subject.id, f"{PATIENT}-1_20230105", "xnat:mrSessionData")
            case "foreign":
                emulator.core.inject_foreign_row("P", "1.2.3", f"{PATIENT}-1_20230105")
            case "label-clash":
                for file in of_study(cohort, 1):
                    rewrite(file.path, PatientID=f"{PATIENT}-1")
            case "patients":
                rewrite(cohort[0].path, PatientID=f"{PATIENT}-9")
            case "too-long":
                for file in of_study(cohort, 0):
                    rewrite(file.path, PatientID=f"{PATIENT}-{'x' * 45}")
            case "no-project":
                sender.project_roles = {"Q": "owner"}
            case "read-only":
                sender.project_roles = {"P": "collaborator"}
            case "password":
                sender.password = "another"
        await run_heard(job, ear)
        last = json.loads(ear.said[-1])
        assert last["exit_code"] in {3, 7}, last
        assert last["failures"]
        ear.check()


async def test_nothing_private_is_said_by_cancel_and_by_errors_of_a_job_that_was_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine_records(caplog)
    marked_cohort(tmp_path / "in", instances=6)
    async with open_site() as emulator:
        ear = Ear(emulator, caplog)
        job = secret_job(emulator, tmp_path)
        async with anyio.create_task_group() as tg:
            await run_heard(job, ear, once(UnitDone, tg.cancel_scope.cancel))
        await cancel_job(job.settings, list_jobs(tmp_path / "state")[0].id, True)
        ear.said += [repr(job.settings), repr(job.settings.credentials), str(job.settings)]
        ear.check()


async def test_files_that_carry_labels_are_for_their_owner_only(tmp_path: Path) -> None:
    marked_cohort(tmp_path / "in")
    async with open_site() as emulator:
        await secret_job(emulator, tmp_path).run()
    state = tmp_path / "state"
    private = [path for path in state.rglob("*") if path.is_file()]
    assert {path.name for path in private} >= {"manifest.db", "report.txt", "report.json", "report.csv", "catalogue.db"}
    assert [path for path in (state, *state.rglob("*")) if path.stat().st_mode & 0o077] == []
    assert not any(PASSWORD.encode() in path.read_bytes() for path in private)
