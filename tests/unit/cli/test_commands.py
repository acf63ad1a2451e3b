"""Every command against stand-ins for the engine: what it asks for, what it says, how it ends."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from xferengine.jobs.plan import PlanStudy, PlanTotals, PlanView, RunOptions
from xferengine.jobs.spec import DEFAULT_SESSION, JobReport, StudyReport, UploadSpec
from xferengine.model.events import Failure, JobStarted, Notice, PlanReady, Summary, Totals
from xferengine.settings.slices import Settings

SERVER = "http://127.0.0.1:8080"
PLAN = PlanView(
    job="ab12cd34",
    totals=PlanTotals(experiments=1, files=5, bytes=1000),
    studies=(
        PlanStudy(
            study_uid="1.2",
            project="P",
            subject="S",
            session="S_1",
            files=5,
            bytes=1000,
            series=1,
            paths=("/i",),
            verdict="send",
        ),
    ),
)


def study(**changes):
    values = {
        "paths": ("/i",), "study_uid": "1.2", "project": "P", "subject": "S", "session": "S_1", "state": "verified",
        "url": "", "files": 5, "bytes": 1000, "sent": 5, "verified": 5, "present": 0, "refused": 0, "failed": 0,
        "verified_by": "uid",
    }  # fmt: skip
    return StudyReport(**values | changes)


def summary(**changes):
    totals = Totals(experiments=1, files=5, bytes=1000, verified=5)
    values = {"job": "ab12cd34", "verb": "upload", "state": "done", "exit_code": 0, "seconds": 2.0, "totals": totals}
    return Summary(**values | {"report": "/s/report.txt"} | changes)


class FakeRunner:
    """Stands in for ``jobs.runner``: emits a little, shows the plan, ends as told."""

    def __init__(self, ending: Summary):
        self.ending = ending
        self.answers: list[bool] = []
        self.spec: UploadSpec
        self.settings: Settings
        self.options: RunOptions

    async def run_job(self, spec, settings, *, emit, confirm, options):
        self.spec, self.settings, self.options = spec, settings, options
        emit(JobStarted(job="ab12cd34", verb="upload", resumed=False))
        emit(PlanReady(experiments=1, files=5, bytes=1000, refused=0, skipped=0))
        self.answers.append(await confirm(PLAN))
        emit(Notice(level="warning", text="the disk is \x1b[1mslow"))
        return JobReport(summary=self.ending, studies=(study(),))


@pytest.fixture
def login(monkeypatch):
    """Say the login by environment; call it after ``xferengine`` has cleaned the environment."""
    for name, value in {"XNAT_URL": SERVER, "XNAT_USER": "u", "XNAT_PASS": "hunter2"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def runner(xferengine, login, fake_module):
    made = FakeRunner(summary())
    fake_module("runner", run_job=made.run_job)
    return made


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    return made


class TestUpload:
    def test_shows_the_plan_and_the_outcome(self, xferengine, runner, folder):
        ran = xferengine("upload", folder, "-P", "P")
        assert ran.code == 0
        assert ran.out.index("SESSION") < ran.out.index("To send: 1 session") < ran.out.index("Done: 1 session")
        assert "Report   /s/report.txt" in ran.out
        assert "warning: the disk is \\x1b[1mslow" in ran.err
        assert "hunter2" not in ran.out + ran.err

    def test_what_is_asked_for_reaches_the_engine(self, xferengine, runner, folder, tmp_path):
        table = tmp_path / "m.csv"
        table.write_text("PatientID,subject\nA,B\n")
        ran = xferengine(
            "upload", folder, folder, "-P", ":P", "--subject", "{PatientID}", "--map", table, "--dest", "prearchive",
            "--overwrite", "append", "--verify", "count", "--min-age", "10m", "--extras", "NOTES", "--existing-row",
            "wait", "--no-wait", "--allow-refused", "--accept-overwrite", "--include", "modality=MR", "--exclude",
            "file=*.tmp", "--since", "20240131", "--workers", "3", "--max-bytes", "1G", "--yes",
        )  # fmt: skip
        assert ran.code == 0, ran.err
        spec = runner.spec
        assert spec.paths == (str(folder),)
        assert (spec.project, spec.server_url, spec.subject, spec.session) == (
            "P",
            SERVER,
            "{PatientID}",
            DEFAULT_SESSION,
        )
        assert (spec.dest, spec.overwrite, spec.verify, spec.wait) == ("prearchive", "append", "count", False)
        assert (spec.min_age_s, spec.extras, spec.existing_row) == (600, "NOTES", "wait")
        assert (spec.include, spec.exclude, spec.since) == (("modality=MR",), ("file=*.tmp",), "2024-01-31")
        assert spec.allow_refused
        assert spec.accept_overwrite
        assert spec.map_file == str(table)
        assert len(spec.map_digest) == 64
        assert (runner.settings.pool.workers_max, runner.settings.pool.max_bytes) == (3, 10**9)
        assert runner.options == RunOptions(yes=True, handle_signals=True)

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            (["-P", "P"], "name at least one folder"),
            (["IN"], "name the project"),
            (["IN", "-P", "a/b"], "PROFILE:PROJECT"),
            (["IN", "-P", "no:P"], "there is no profile 'no'"),
            (["IN", "-P", "P", "--session", "{"], "session template"),
            (["IN", "-P", "P", "--min-age", "soon"], "--min-age"),
            (["IN", "-P", "P", "--extras", "a b"], "--extras"),
            (["IN", "-P", "P", "--since", "yesterday"], "--since"),
            (["IN", "-P", "P", "--bwlimit", "fast"], "not a rate"),
            (["IN", "-P", "P", "--include", "MR"], "--include"),
            (["IN", "-P", "P", "--plan", "IN/x"], "--plan"),
            (["/no/such/folder", "-P", "P"], "does not exist"),
        ],
    )
    def test_wrong_usage_ends_before_anything_begins(self, xferengine, runner, folder, args, words):
        ran = xferengine("upload", *(str(folder) if arg == "IN" else arg for arg in args))
        assert ran.code == 2
        assert words in ran.err
        assert not hasattr(runner, "spec")

    def test_a_bad_map_names_its_line(self, xferengine, runner, folder, tmp_path):
        table = tmp_path / "m.csv"
        table.write_text("PatientID,subject\nA,B\nC,b'd\n")
        ran = xferengine("upload", folder, "-P", "P", "--map", table)
        assert ran.code == 2
        assert "map line 3" in ran.err

    def test_a_person_is_asked(self, xferengine, runner, folder, monkeypatch):
        asked = []

        async def ask(question):
            asked.append(question)
            return False

        monkeypatch.setattr("xferengine.cli.views.ask_yes_no", ask)
        xferengine("upload", folder, "-P", "P", can_ask=True)
        assert runner.answers == [False]
        assert asked == ["Send 1 session (1.0 kB)?"]
        for extra in (["--yes"], ["--json"]):
            xferengine("upload", folder, "-P", "P", *extra, can_ask=True)
        xferengine("upload", folder, "-P", "P", can_ask=False)
        assert runner.answers == [False, True, True, True]
        assert len(asked) == 1

    def test_dry_run_sends_nothing(self, xferengine, runner, folder):
        ran = xferengine("upload", folder, "-P", "P", "--dry-run")
        assert runner.options.dry_run
        assert runner.answers == [False]
        assert "Nothing is sent" in ran.out

    def test_json_is_only_json(self, xferengine, runner, folder):
        ran = xferengine("upload", folder, "-P", "P", "--json")
        events = [json.loads(line) for line in ran.out.splitlines()]
        assert [event["event"] for event in events] == ["job-started", "plan-ready", "notice", "summary"]
        assert events[-1]["exit_code"] == 0
        assert "S_1" not in ran.out

    def test_quiet_says_only_what_went_wrong(self, xferengine, runner, folder):
        assert xferengine("upload", folder, "-P", "P", "-q").out == ""
        runner.ending = summary(state="incomplete", exit_code=3, failures=(Failure(ref="1.2", error="E", detail="d"),))
        ran = xferengine("upload", folder, "-P", "P", "-q")
        assert ran.code == 3
        assert "S_1  (1.2)" in ran.out
        assert "jobs retry ab12cd34" in ran.out

    def test_how_to_go_on_repeats_what_was_said(self, xferengine, runner, folder, tmp_path):
        runner.ending = summary(state="interrupted", exit_code=130)
        assert xferengine("upload", folder, "-P", "P").out.endswith("jobs resume ab12cd34\n")
        there = tmp_path / "my state"
        ran = xferengine("upload", folder, "-P", "P", "--state-dir", there)
        assert ran.code == 130
        assert ran.out.endswith(f"jobs resume ab12cd34 --state-dir '{there}'\n")

    def test_the_log_has_ids_only(self, xferengine, runner, folder, tmp_path):
        log = tmp_path / "x.log"
        xferengine("upload", folder, "-P", "P", "--log-file", log)
        text = log.read_text()
        assert "job-started job=ab12cd34" in text
        assert "S_1" not in text
        assert "hunter2" not in text
        assert log.stat().st_mode & 0o077 == 0

    def test_insecure_tls_is_loud(self, xferengine, runner, folder):
        assert "WARNING: --insecure-tls" in xferengine("upload", folder, "-P", "P", "--insecure-tls").err

    def test_a_plan_brings_paths_and_project(self, xferengine, runner, fake_module, folder, tmp_path):
        planned = UploadSpec(paths=("/x",), project="Q", server_url=SERVER)
        fake_module("planfile", spec_of_plan=lambda path: planned)
        plan = tmp_path / "plan"
        plan.touch()
        assert xferengine("upload", "--plan", plan).code == 0
        assert runner.spec == planned
        assert runner.options.plan_in == str(plan)
        assert xferengine("upload", folder, "--plan", plan).code == 2
        assert xferengine("upload", "--plan", plan, "--server", "http://localhost:1").code == 2


def job(**changes):
    values = {
        "id": "ab12cd34", "verb": "upload", "state": "incomplete", "project": "P", "server": SERVER,
        "created": "2026-01-01T00:00:00+00:00", "updated": "2026-01-01T00:00:00+00:00", "experiments": 3, "done": 2,
        "failed": 1,
    }  # fmt: skip
    return SimpleNamespace(**values | changes)


class Admin:
    """Stands in for ``jobs.admin``."""

    def __init__(self):
        self.job = job()
        self.left: list[str] = []
        self.calls: list[tuple] = []
        self.spec = UploadSpec(paths=("/in",), project="P", server_url=SERVER)

    def members(self):
        async def cancel(settings, job_id, discard):
            self.calls.append(("cancel", settings.server.url, job_id, discard))
            return self.left

        shown = SimpleNamespace(job=self.job, spec=self.spec, plan=PLAN, states={"verified": 2, "failed": 1})
        return {
            "list_jobs": lambda state_dir: [self.job],
            "job_row": lambda state_dir, job_id: self.job,
            "show_job": lambda state_dir, job_id: shown,
            "spec_of": lambda state_dir, job_id: self.spec,
            "leaves_on_server": lambda row: True,
            "report_of": lambda state_dir, job_id, limit: JobReport(summary=summary()),
            "iter_reports": lambda state_dir, job_id: iter([study(), study(study_uid="1.3", state="failed")]),
            "remove_job": lambda state_dir, job_id: self.calls.append(("remove", job_id)),
            "cancel_job": cancel,
        }


@pytest.fixture
def admin(fake_module):
    made = Admin()
    fake_module("admin", **made.members())
    return made


class TestJobs:
    def test_list(self, xferengine, admin):
        ran = xferengine("jobs", "list")
        assert "ab12cd34  upload  incomplete  P" in ran.out
        assert "2/3" in ran.out
        line = json.loads(xferengine("jobs", "list", "--json").out)
        assert (line["event"], line["id"], line["experiments"]) == ("job", "ab12cd34", 3)

    def test_show(self, xferengine, admin):
        ran = xferengine("jobs", "show", "ab12")
        assert "to        P on http://127.0.0.1:8080 (archive)" in ran.out
        assert "2 verified · 1 failed" in ran.out
        assert json.loads(xferengine("jobs", "show", "ab12", "--json").out)["spec"]["project"] == "P"

    @pytest.mark.parametrize(("verb", "retry"), [("resume", False), ("retry", True)])
    def test_going_on(self, xferengine, admin, runner, verb, retry):
        ran = xferengine("jobs", verb, "ab12", "--bwlimit", "1M")
        assert ran.code == 0, ran.err
        assert runner.spec == admin.spec
        assert runner.options == RunOptions(resume_job="ab12cd34", retry=retry, yes=True, handle_signals=True)
        assert runner.settings.pool.bwlimit == "1M"

    def test_the_login_of_another_server_is_not_used(self, xferengine, admin, runner):
        admin.spec = UploadSpec(paths=("/in",), project="P", server_url="https://other.example.org")
        ran = xferengine("jobs", "resume", "ab12")
        assert ran.code == 2
        assert "no password for https://other.example.org" in ran.err
        assert xferengine("jobs", "resume", "ab12", "--server", SERVER).code == 2

    def test_cancel_lists_what_is_left(self, xferengine, login, admin):
        admin.left = ["/prearchive/projects/P/1/S\x1b"]
        ran = xferengine("jobs", "cancel", "ab12")
        assert ran.code == 0
        assert "/prearchive/projects/P/1/S\\x1b" in ran.out
        assert "--discard-remote" in ran.out
        assert xferengine("jobs", "cancel", "ab12", "--discard-remote").code == 3
        admin.left.clear()
        assert "nothing of it is left" in xferengine("jobs", "cancel", "ab12", "--discard-remote").out

    def test_rm_does_not_forget_what_is_left(self, xferengine, login, admin):
        admin.left = ["/prearchive/projects/P/1/S"]
        ran = xferengine("jobs", "rm", "ab12")
        assert ran.code == 8
        assert ("remove", "ab12cd34") not in admin.calls
        assert xferengine("jobs", "rm", "ab12", "--keep-remote").code == 0
        assert ("remove", "ab12cd34") in admin.calls

    def test_rm_of_a_finished_job_needs_no_server(self, xferengine, admin, fake_module):
        admin.job = job(state="done")
        fake_module("admin", **admin.members())
        assert xferengine("jobs", "rm", "ab12").code == 0
        assert admin.calls == [("remove", "ab12cd34")]

    def test_report(self, xferengine, admin, tmp_path):
        out = tmp_path / "r.csv"
        assert xferengine("jobs", "report", "ab12", "--format", "csv", "-o", out).code == 0
        assert out.read_text().count("\n") == 3
        assert "job ab12cd34" in xferengine("jobs", "report", "ab12").out
        lines = [json.loads(line) for line in xferengine("jobs", "report", "ab12", "--json").out.splitlines()]
        assert [line["event"] for line in lines] == ["session", "session", "summary"]


class TestPrearchive:
    row = SimpleNamespace(
        ref=SimpleNamespace(uri="/prearchive/projects/P/2026/S1"), project="P", subject="S", name="S1", status="READY",
        tag="1.2", source="", lastmod="2026-01-01 10:00:00.0",
    )  # fmt: skip

    def test_list(self, xferengine, login, fake_module):
        async def list_rows(settings, project):
            assert project == "P"
            return [self.row]

        fake_module("prearchive_ops", list_rows=list_rows)
        assert "/prearchive/projects/P/2026/S1" in xferengine("prearchive", "list", "-P", ":P").out
        assert xferengine("prearchive", "list", "-P", "P", "--status", "conflict").out == "Nothing waits there.\n"
        line = json.loads(xferengine("prearchive", "list", "-P", "P", "--json").out)
        assert (line["status"], line["place"]) == ("READY", "/prearchive/projects/P/2026/S1")

    @pytest.mark.parametrize(
        ("args", "wanted"),
        [
            (["archive", "S1", "--overwrite", "delete"], {"overwrite": "delete"}),
            (["rebuild", "S1", "--override-lock"], {"override_lock": True}),
            (["move", "S1", "--to", "Q"], {}),
            (["delete", "S1", "--yes"], {}),
            (["wait", "S1", "--timeout", "2m"], {"limit_s": 120}),
        ],
    )
    def test_each_verb(self, xferengine, login, fake_module, args, wanted):
        seen = []

        async def work(settings, project, names, *to, **extra):
            seen.append((project, names, to, extra))
            fine = SimpleNamespace(uri="/p", session="S1", is_done=True, detail="")
            other = SimpleNamespace(uri="/q", session="S2", is_done=len(seen) < 2, detail="locked\x1b")
            return [fine, other]

        fake_module("prearchive_ops", **{args[0]: work})
        assert xferengine("prearchive", *args, "-P", "P").code == 0
        assert seen == [("P", ("S1",), ("Q",) if args[0] == "move" else (), wanted)]
        ran = xferengine("prearchive", *args, "-P", "P")
        assert ran.code == 3
        assert "S2: locked\\x1b" in ran.err
        lines = [json.loads(line) for line in xferengine("prearchive", *args, "-P", "P", "--json").out.splitlines()]
        assert [line["ok"] for line in lines] == [True, False]

    def test_delete_is_never_silent(self, xferengine, login, fake_module):
        fake_module("prearchive_ops")
        assert xferengine("prearchive", "delete", "S1", "-P", "P").code == 2


def test_doctor(xferengine, login, fake_module):
    findings = [SimpleNamespace(level="ok", what="version", detail="1.8.10", does="")]

    async def examine(settings, project):
        assert project == "P"
        return findings

    fake_module("doctor", examine=examine)
    assert xferengine("doctor", "-P", "P").out == "ok  version: 1.8.10\n"
    assert json.loads(xferengine("doctor", "-P", "P", "--json").out)["what"] == "version"
    findings.append(SimpleNamespace(level="error", what="project", detail="read only", does="refuses"))
    assert xferengine("doctor", "-P", "P").code == 3
