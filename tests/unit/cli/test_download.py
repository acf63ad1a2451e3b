"""``download`` on the command line, against a stand-in for the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xferengine.jobs.plan import FilesPlan, PlanItem, PlanTotals, RunOptions
from xferengine.jobs.spec import DownloadSpec, JobReport
from xferengine.model.events import Failure, Summary, Totals

SERVER = "http://127.0.0.1:8080"
PLAN = FilesPlan(
    job="ab12cd34",
    verb="download",
    target="/out",
    totals=PlanTotals(experiments=1, files=5, bytes=1000, skipped=2),
    items=(PlanItem(item="P/S/E", files=5, bytes=1000, present=2, refused=0),),
)


class FakeRunner:
    """Stands in for ``jobs.runner``."""

    def __init__(self) -> None:
        self.calls = 0
        self.code = 0
        self.failures: tuple[Failure, ...] = ()
        self.spec: DownloadSpec
        self.settings: Any = None
        self.options: RunOptions

    async def run_job(self, spec: DownloadSpec, settings: Any, *, emit: Any, confirm: Any, options: RunOptions) -> Any:
        self.calls += 1
        self.spec, self.settings, self.options = spec, settings, options
        if confirm is not None:
            assert await confirm(PLAN)
        totals = Totals(experiments=1, files=5, bytes=1000, verified=5, skipped=2)
        state = "done" if self.code == 0 else "incomplete"
        summary = Summary(
            job="ab12cd34",
            verb="download",
            state=state,
            exit_code=self.code,
            seconds=1.0,
            totals=totals,
            failures=self.failures,
            report="/s/report.txt",
        )
        return JobReport(summary=summary)


@pytest.fixture
def runner(xferengine, monkeypatch, fake_module) -> FakeRunner:
    for name, value in {"XNAT_URL": SERVER, "XNAT_USER": "u", "XNAT_PASS": "hunter2"}.items():
        monkeypatch.setenv(name, value)
    made = FakeRunner()
    fake_module("runner", run_job=made.run_job)
    return made


def test_remotes_and_options_become_a_spec(xferengine, runner: FakeRunner, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    args = ("--verify", "read-back", "--sample", "5%", "--stale-ok", "--ask-refresh", "--since", "2024-05-01")
    more = ("--include", "scan=1", "--include", "file=*.dcm", "--exclude", "resource=SNAPSHOTS")
    ran = xferengine("download", ":P/S/E/scans/1/DICOM", ":P", ":P/", "--to", "out", *args, *more)
    assert ran.code == 0
    assert runner.spec == DownloadSpec(
        remotes=(":P/S/E/scans/1/resources/DICOM", ":P"),
        server_url=SERVER,
        target=str(tmp_path / "out"),
        verify="read-back",
        sample=5.0,
        stale_ok=True,
        ask_refresh=True,
        include=("scan=1", "file=*.dcm"),
        exclude=("resource=SNAPSHOTS",),
        since="2024-05-01",
    )
    assert (runner.options.dry_run, runner.options.yes, runner.options.handle_signals) == (False, True, True)


def test_what_is_left_out_has_its_default(xferengine, runner: FakeRunner, tmp_path: Path) -> None:
    assert xferengine("download", ":P", "--to", tmp_path / "out").code == 0
    assert runner.spec == DownloadSpec(remotes=(":P",), server_url=SERVER, target=str(tmp_path / "out"))


def test_run_limits_are_settings_not_spec(xferengine, runner: FakeRunner, tmp_path: Path) -> None:
    args = ("--bwlimit", "10M", "--until", "06:00", "--max-bytes", "5G", "--workers", "3")
    assert xferengine("download", ":P", "--to", tmp_path / "out", *args).code == 0
    pool = runner.settings.pool
    assert (pool.bwlimit, pool.until, pool.workers) == ("10M", "06:00", 3)
    assert pool.max_bytes == 5_000_000_000
    assert runner.spec == DownloadSpec(remotes=(":P",), server_url=SERVER, target=str(tmp_path / "out"))


def test_a_dry_run_says_so(xferengine, runner: FakeRunner, tmp_path: Path) -> None:
    ran = xferengine("download", ":P", "--to", tmp_path / "out", "--dry-run")
    assert runner.options.dry_run
    assert "P/S/E" in ran.out + ran.err


@pytest.mark.parametrize(
    "args",
    [
        (),
        (":P",),
        ("--to", "out"),
        ("P", "--to", "out"),
        ("/tmp/x", "--to", "out"),
        ("a:P", "b:P", "--to", "out"),
        (":P/S/E/scans", "--to", "out"),
        (":P", "--to", "out", "--sample", "0%"),
        (":P", "--to", "out", "--sample", "101%"),
        (":P", "--to", "out", "--sample", "nan"),
        (":P", "--to", "out", "--sample", "some"),
        (":P", "--to", "out", "--verify", "maybe"),
        (":P", "--to", "out", "--include", "colour=red"),
        (":P", "--to", "out", "--since", "yesterday"),
        (":P", "--to", "out", "--bwlimit", "quick"),
    ],
)
def test_wrong_usage_is_said_before_anything_runs(xferengine, runner: FakeRunner, args: tuple[str, ...]) -> None:
    ran = xferengine("download", *args)
    assert ran.code == 2
    assert runner.calls == 0
    assert "hunter2" not in ran.err


def test_a_file_is_no_target(xferengine, runner: FakeRunner, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert xferengine("download", ":P", "--to", tmp_path / "file").code == 2
    assert runner.calls == 0


def test_json_is_lines_with_the_summary_last(xferengine, runner: FakeRunner, tmp_path: Path) -> None:
    runner.code, runner.failures = 3, (Failure(ref="E/x", error="NotFound", detail="gone"),)
    ran = xferengine("download", ":P", "--to", tmp_path / "out", "--json")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == 3
    last = lines[-1]
    assert (last["event"], last["v"], last["verb"], last["exit_code"]) == ("summary", 1, "download", 3)
    assert last["failures"] == [{"ref": "E/x", "error": "NotFound", "detail": "gone"}]


def test_what_a_server_sent_does_not_reach_the_terminal_raw(xferengine, runner: FakeRunner, tmp_path: Path) -> None:
    runner.code, runner.failures = 3, (Failure(ref="E/\x1b[2Jx\u202e", error="NotFound", detail="\x1b]0;x\x07"),)
    ran = xferengine("download", ":P", "--to", tmp_path / "out")
    assert not any(c in ran.out + ran.err for c in "\x1b\x07\u202e")


def test_help_says_where_files_lie(xferengine, capsys) -> None:
    ran = xferengine("download", "--help")
    assert ran.code == 0
    assert "DIR/EXPERIMENT/scans/ID-TYPE/resources/LABEL/files/" in " ".join(
        (ran.out + capsys.readouterr().out).split()
    )
