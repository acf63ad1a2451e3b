"""``upload-files`` on the command line, against a stand-in for the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xferengine.jobs.plan import FilesPlan, PlanItem, PlanTotals, RunOptions
from xferengine.jobs.spec import FilesSpec, JobReport
from xferengine.model.events import Failure, Summary, Totals

SERVER = "http://127.0.0.1:8080"
PLAN = FilesPlan(
    job="ab12cd34",
    verb="upload-files",
    target="P/S/E/NOTES",
    totals=PlanTotals(experiments=1, files=5, bytes=1000, skipped=2),
    items=(PlanItem(item="P/S/E/NOTES", files=5, bytes=1000, present=2, refused=1),),
    problems=(Failure(ref="/in/x_catalog.xml", error="BadInput", detail="XNAT keeps this name"),),
    problem_count=1,
    asks=True,
)


class FakeRunner:
    """Stands in for ``jobs.runner``."""

    def __init__(self) -> None:
        self.calls = 0
        self.answer: bool | None = None
        self.spec: FilesSpec
        self.options: RunOptions

    async def run_job(self, spec: FilesSpec, settings: Any, *, emit: Any, confirm: Any, options: RunOptions) -> Any:
        self.calls += 1
        self.spec, self.options = spec, options
        self.answer = await confirm(PLAN)
        totals = Totals(experiments=1, files=5, bytes=1000, verified=5, failed=1)
        summary = Summary(
            job="ab12cd34", verb="upload-files", state="incomplete", exit_code=3, seconds=1.0, totals=totals,
            failures=PLAN.problems, report="/s/report.txt",
        )  # fmt: skip
        return JobReport(summary=summary)


@pytest.fixture
def runner(xferengine, monkeypatch, fake_module) -> FakeRunner:
    for name, value in {"XNAT_URL": SERVER, "XNAT_USER": "u", "XNAT_PASS": "hunter2"}.items():
        monkeypatch.setenv(name, value)
    made = FakeRunner()
    fake_module("runner", run_job=made.run_job)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").touch()
    return tmp_path / "in"


def test_paths_and_remote_become_a_spec(xferengine, runner: FakeRunner, folder: Path) -> None:
    args = ("--include", "file=*.txt", "--exclude", "file=tmp/*", "--content", "C", "--format", "F", "--tags", "a,b")
    ran = xferengine("upload-files", folder, folder / "a", folder, ":P/S/E/scans/1/NOTES", "--yes", *args)
    assert ran.code == 3
    assert runner.spec == FilesSpec(
        paths=(str(folder), str(folder / "a")),
        remote=":P/S/E/scans/1/resources/NOTES",
        server_url=SERVER,
        content="C",
        format="F",
        tags="a,b",
        include=("file=*.txt",),
        exclude=("file=tmp/*",),
    )
    assert runner.options == RunOptions(yes=True, handle_signals=True)


def test_a_spec_is_one_job_however_it_is_written(xferengine, runner: FakeRunner, folder: Path, monkeypatch) -> None:
    xferengine("upload-files", folder, ":P/S/E/NOTES", "--yes")
    first = runner.spec.identity()
    monkeypatch.chdir(folder.parent)
    xferengine("upload-files", "in", ":P/S/E/resources/NOTES", "--dry-run")
    assert runner.spec.identity() == first
    assert runner.options.dry_run


def test_the_plan_is_shown_with_what_will_not_go(xferengine, runner: FakeRunner, folder: Path) -> None:
    ran = xferengine("upload-files", folder, ":P/S/E/NOTES", "--yes")
    assert runner.answer is True
    assert "P/S/E/NOTES" in ran.out
    assert "x_catalog.xml" in ran.out
    assert "1 file will not be moved" in ran.out


def test_json_ends_with_the_summary(xferengine, runner: FakeRunner, folder: Path) -> None:
    ran = xferengine("upload-files", folder, ":P/S/E/NOTES", "--json")
    last = json.loads(ran.out.splitlines()[-1])
    assert (last["event"], last["verb"], last["exit_code"]) == ("summary", "upload-files", 3)


@pytest.mark.parametrize(
    "remote", [":P", ":P/S", ":P/S/E", "P/S/E/R", ":P/S/E/scans/1", ":*/resources/R", ":P/S/E/R/files/a", ":"]
)
def test_a_remote_that_names_no_resource_is_a_usage_error(
    xferengine, runner: FakeRunner, folder: Path, remote: str
) -> None:
    ran = xferengine("upload-files", folder, remote)
    assert (ran.code, runner.calls) == (2, 0)
    assert "Error" in ran.err


@pytest.mark.parametrize(
    "args",
    [(":P/S/E/R",), ("/no/such/path", ":P/S/E/R"), ("FOLDER", ":P/S/E/R", "--include", "scan=1"), ()],
)
def test_other_usage_errors(xferengine, runner: FakeRunner, folder: Path, args: tuple[str, ...]) -> None:
    ran = xferengine("upload-files", *(str(folder) if arg == "FOLDER" else arg for arg in args))
    assert (ran.code, runner.calls) == (2, 0)


def test_help_says_what_becomes_of_a_folders_name(xferengine, capsys) -> None:
    assert xferengine("upload-files", "--help").code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "the folder's own name is not part of it" in text
    assert "out/maps/t1.nii as maps/t1.nii" in text
