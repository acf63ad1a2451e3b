"""``verify``: what it asks the engine for, where its settings come from, what it says."""

import json
from pathlib import Path

import pytest

from xferengine.cli.render_verify import compared_lines
from xferengine.jobs.spec import JobReport
from xferengine.model.events import Failure, PlanReady, Summary, Totals

SERVER, OTHER = "http://127.0.0.1:8080", "http://127.0.0.1:9090"
PROFILES = f"""
[profiles.here]
url = "{SERVER}"
user = "me"
password_env = "HERE_PASS"

[profiles.there]
url = "{OTHER}"
user = "them"
password_env = "THERE_PASS"
json = true
"""


def summary(state="done", code=0, failures=(), unverified=(), **totals):
    return Summary(
        job="ab12cd34", verb="verify", state=state, exit_code=code, seconds=2.0, totals=Totals(**totals),
        failures=tuple(failures), unverified=tuple(unverified), report="/s/report.txt",
    )  # fmt: skip


class FakeRunner:
    """Stands in for ``jobs.runner``."""

    def __init__(self):
        self.report = JobReport(summary=summary(files=5, verified=5), counts={"equal (digest)": 5})

    async def run_job(self, spec, settings, *, emit, confirm, options):
        self.spec, self.settings, self.options = spec, settings, options
        emit(PlanReady(experiments=1, files=5, bytes=1000, refused=0, skipped=0))
        return self.report


@pytest.fixture
def runner(xferengine, monkeypatch, fake_module, tmp_path):
    for name, value in {"XNAT_URL": SERVER, "XNAT_USER": "u", "XNAT_PASS": "p"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HERE_PASS", "secret-here")
    monkeypatch.setenv("THERE_PASS", "secret-there")
    (tmp_path / "profiles.toml").write_text(PROFILES)
    (tmp_path / "profiles.toml").chmod(0o600)
    (tmp_path / "out").mkdir()
    made = FakeRunner()
    fake_module("runner", run_job=made.run_job)
    return made


def test_a_server_and_a_folder_in_either_order(xferengine, runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = xferengine("verify", ":P/S", "out", "--include", "resource=DICOM", "--since", "2020-01-02")
    assert ran.code == 0, ran.err
    spec = runner.spec
    assert (spec.a, spec.b, spec.server_url, spec.other_url) == (":P/S", str(tmp_path / "out"), SERVER, "")
    assert (spec.include, spec.since) == (("resource=DICOM",), "2020-01-02")
    assert runner.settings.other is None
    assert runner.options.handle_signals
    assert "Equal: 5 files on both sides." in ran.out
    xferengine("verify", "out", ":P/S")
    assert (runner.spec.a, runner.spec.b) == (str(tmp_path / "out"), ":P/S")
    assert runner.spec.ends == (str(tmp_path / "out"), f":P/S on {SERVER}")


def test_two_servers_each_with_its_own_login(xferengine, runner):
    ran = xferengine("verify", "here:P", "there:Q")
    assert ran.code == 0, ran.err
    assert (runner.spec.a, runner.spec.b) == (":P", ":Q")
    assert (runner.spec.server_url, runner.spec.other_url) == (SERVER, OTHER)
    settings = runner.settings
    assert (settings.server.user, settings.credentials.reveal()) == ("me", "secret-here")
    assert (settings.other.server.user, settings.other.credentials.reveal()) == ("them", "secret-there")
    assert not ran.out.startswith("{"), "the first server's profile decides about the output"
    assert "secret" not in ran.out + ran.err + repr(settings)


def test_options_about_a_server_are_about_the_first(xferengine, runner):
    xferengine(
        "verify", ":P", "there:Q", "--server", "http://127.0.0.1:7070", "--user", "x", "--password-command", "echo y"
    )
    assert (runner.spec.server_url, runner.spec.other_url) == ("http://127.0.0.1:7070", OTHER)
    assert (runner.settings.server.user, runner.settings.other.server.user) == ("x", "them")
    xferengine("verify", "there:Q", ":P")
    assert (runner.spec.server_url, runner.spec.other_url) == (OTHER, SERVER)
    assert runner.settings.other.server.user == "u"


def test_two_places_of_one_server_need_one_login(xferengine, runner):
    xferengine("verify", "there:P/S/E", "there:Q/T/F")
    assert (runner.spec.server_url, runner.spec.other_url) == (OTHER, "")
    assert runner.settings.other is None


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("out", "out"), "must be a remote"),
        ((":P", "nowhere"), "is no folder"),
        ((":P", ":P/S"), "different kinds of things"),
        ((":", "out"), "has no project"),
        ((":P", "out", "--include", "colour=red"), "keys are"),
        ((":P",), "Missing argument"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_begins(
    xferengine, runner, tmp_path, monkeypatch, args, words
):
    monkeypatch.chdir(tmp_path)
    ran = xferengine("verify", *args)
    assert ran.code == 2
    assert words in ran.err
    assert not hasattr(runner, "spec")


def test_the_last_line_of_json_is_the_summary(xferengine, runner, tmp_path):
    ran = xferengine("verify", ":P", tmp_path / "out", "--json")
    last = json.loads(ran.out.splitlines()[-1])
    assert (last["event"], last["verb"], last["totals"]["verified"]) == ("summary", "verify", 5)


def test_the_exit_code_is_the_job_s(xferengine, runner, tmp_path):
    differs = Failure(ref="E/a\x1b[2J", error="Differs", detail="the MD5 differs")
    runner.report = JobReport(summary=summary("incomplete", 4, [differs], files=5, failed=1), counts={"differs": 1})
    ran = xferengine("verify", ":P", tmp_path / "out")
    assert ran.code == 4
    assert "\x1b" not in ran.out
    assert "Differs: 1 file\n  E/a\\x1b[2J  (the MD5 differs)\n" in ran.out
    assert "xferengine jobs retry ab12cd34" in ran.out


def test_quiet_says_nothing_when_all_is_equal(xferengine, runner, tmp_path):
    assert xferengine("verify", ":P", tmp_path / "out", "-q").out == ""


def test_the_rest_is_counted_though_the_summary_names_only_some():
    named = [Failure(ref=f"f{n}", error="UnsafePath", detail="a backslash") for n in range(200)]
    text = text_of(summary("incomplete", 3, named, files=5, verified=5, refused=1500))
    assert "f19" in text
    assert "f20" not in text
    assert "… and 1,480 more (all of them are in the report)" in text


def text_of(made: Summary) -> str:
    return "\n".join(compared_lines(JobReport(summary=made), 80))


def test_the_means_of_comparing_are_counted_apart():
    text = text_of(summary(files=5, verified=5, by_size=2))
    assert "equal by MD5       3 files" in text
    assert "equal by size      2 files" in text
    assert "equal by MD5" not in text_of(summary(files=5, verified=5, by_size=5))


def test_it_says_what_a_and_b_are():
    report = JobReport(summary=summary(files=1, verified=1), ends=(":P on http://s", "/d/\x1b"))
    text = "\n".join(compared_lines(report, 80))
    assert "\n  A is :P on http://s\n  B is /d/\\x1b\n" in text


def test_nothing_compared_is_never_called_equal():
    missing = Failure(ref=":P/S/E/scans/9", error="NotFound", detail="there is no such scan")
    text = text_of(summary("failed", 7, [missing]))
    assert "could be compared" in text
    assert "Equal" not in text
    assert ":P/S/E/scans/9" in text
    assert "0 files: neither side has any" in text_of(summary())


def test_at_most_twenty_files_of_a_kind_are_named():
    failures = [Failure(ref=f"f{n}", error="OnlyInA", detail="") for n in range(25)]
    failures += [
        Failure(ref="g", error="OnlyInB", detail=""),
        Failure(ref="h", error="UnsafePath", detail="a backslash"),
    ]
    report = JobReport(
        summary=summary("incomplete", 4, failures, ["X"], files=5, verified=5, by_size=1, failed=301, refused=1),
        counts={"only in A": 300, "only in B": 1},
    )
    text = "\n".join(compared_lines(report, 80))
    assert "Only in A: 300 files" in text
    assert "f19" in text
    assert "f20" not in text
    assert "… and 280 more (all of them are in the report)" in text
    assert "Only in B: 1 file\n  g" in text
    assert "What could not be compared\n  h\n      UnsafePath: a backslash" in text
    assert "by size only, in 1 item" in text
    assert text.index("Only in A") < text.index("Only in B") < text.index("What could not")


def test_a_resumed_job_finds_both_its_servers(xferengine, runner, tmp_path, monkeypatch):
    from xferengine.jobs import admin
    from xferengine.jobs.spec import VerifySpec

    spec = VerifySpec(a=":P", b=":Q", server_url=SERVER, other_url=OTHER)
    row = type("Row", (), {"id": "ab12cd34"})()
    monkeypatch.setattr(admin, "job_row", lambda *_: row)
    monkeypatch.setattr(admin, "spec_of", lambda *_: spec)
    ran = xferengine("jobs", "resume", "ab12cd34", "--state-dir", Path(tmp_path / "state"))
    assert ran.code == 0, ran.err
    assert runner.options.resume_job == "ab12cd34"
    assert runner.settings.other.server.url == OTHER
    assert runner.settings.other.credentials.reveal() == "secret-there"
