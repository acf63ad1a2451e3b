"""The program as a whole: quick start, exit codes, words for every kind of error."""

import json
import subprocess
import sys

import anyio
import click
import pytest

from xferengine._version import VERSION
from xferengine.cli import exitcodes, main
from xferengine.cli.logs import close_logging
from xferengine.errors import ConnectFailed, DiskFull, GuardStopped, LockedByOther, LoginRefused, SettingsError

HEAVY = {"aiohttp", "pydicom", "tqdm", "keyring", "anyio", "asyncio", "sqlite3", "uvloop"}


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_start_imports_nothing_heavy(argument):
    code = (
        "import sys\nfrom xferengine.cli.main import main\n"
        f"try:\n    main([{argument!r}])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print(','.join({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.splitlines()[-1].split(","))


def test_python_dash_m():
    done = subprocess.run([sys.executable, "-m", "xferengine", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"xferengine {VERSION}\n"


def test_every_verb_exists_and_explains_itself(xferengine):
    for verb in main.COMMANDS:
        command = main.cli.get_command(click.Context(main.cli), verb)
        assert command is not None
        assert command.help
        groups = [command] if not isinstance(command, click.Group) else list(command.commands.values())
        for one in groups:
            for param in one.params:
                assert isinstance(param, click.Argument) or param.help, f"{verb}: {param.name} has no help"
                assert "password" not in param.opts[0].replace("--password-command", "")


def test_the_verbs_are_those_of_this_version():
    assert set(main.COMMANDS) == {
        "demo", "upload", "upload-files", "download", "verify", "api", "jobs", "prearchive", "doctor", "emulator",
        "login", "logout", "whoami",
    }  # fmt: skip


def test_help_tells_the_exit_codes(xferengine, capsys):
    assert xferengine("--help").code == 0
    text = capsys.readouterr().out
    for code, words in exitcodes.MEANINGS.items():
        assert f"{code:<4} {words}" in text


@pytest.mark.parametrize("args", [["no-such"], ["upload", "--no-such"], ["upload", "--workers", "0", "."], []])
def test_usage_errors(xferengine, args):
    assert xferengine(*args).code == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("x"), 2),
        (ConnectFailed("x"), 5),
        (LockedByOther("x"), 6),
        (LoginRefused("x"), 7),
        (GuardStopped("x"), 8),
        (DiskFull("x"), 11),
        (ExceptionGroup("g", [LoginRefused("x")]), 7),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (ValueError("x"), 1),
        (ExceptionGroup("g", [LoginRefused("x"), ValueError("y")]), 1),
    ],
)
def test_errors_become_exit_codes(xferengine, fake_module, error, code):
    def fail(state_dir):
        raise error

    fake_module("admin", list_jobs=fail)
    ran = xferengine("jobs", "list", "--json")
    assert ran.code == code
    assert json.loads(ran.out.splitlines()[-1])["exit_code"] == code


def test_json_ends_with_a_summary_even_when_the_command_line_is_wrong(xferengine):
    ran = xferengine("upload", "--json", "/no/such/folder")
    assert ran.code == 2
    assert json.loads(ran.out)["failures"][0]["error"] == "UsageError"


def test_error_words_are_harmless(xferengine, fake_module):
    def fail(state_dir):
        raise SettingsError("a \x1b[2J b")

    fake_module("admin", list_jobs=fail)
    ran = xferengine("jobs", "list")
    assert ran.err == "Error: a \\x1b[2J b\n"
    assert ran.out == ""


def test_a_bug_shows_its_text_only_with_debug(xferengine, fake_module, tmp_path):
    def fail(state_dir):
        raise ValueError("tneitap"[::-1].upper())

    fake_module("admin", list_jobs=fail)
    log = tmp_path / "log"
    ran = xferengine("jobs", "list", "--log-file", log)
    assert ran.code == 1
    assert "PATIENT" not in ran.err
    assert "Traceback" not in ran.err
    assert str(log) in ran.err
    close_logging()
    assert "PATIENT" not in log.read_text()
    assert "in fail" in log.read_text()
    assert "PATIENT" in xferengine("jobs", "list", "--debug").err


def test_a_reader_that_went_away_is_no_error(xferengine, fake_module):
    class Gone:
        encoding = "utf-8"

        def write(self, text):
            raise BrokenPipeError

        def getvalue(self):
            return ""

    fake_module("admin", list_jobs=lambda state_dir: [])
    assert xferengine("jobs", "list", out=Gone()).code == 0


def test_rank_is_the_designs():
    order = [130, 1, 9, 8, 7, 11, 4, 3, 5, 10, 0]
    for place, code in enumerate(order):
        assert exitcodes.rank(order[place:]) == code
        assert exitcodes.rank(reversed(order[place:])) == code
    assert exitcodes.rank([143, 3]) == 143
    assert exitcodes.rank([]) == 0


@pytest.mark.parametrize("plain", ["", "1"])
def test_the_switch_leaves_the_process_alone(monkeypatch, plain):
    seen = {}

    def run(work, *, backend, backend_options):
        seen["uvloop"] = backend_options["use_uvloop"]

    monkeypatch.setattr(anyio, "run", run)
    monkeypatch.setattr("xferengine.kit.malloc.tune_malloc", lambda: seen.setdefault("malloc", True))
    monkeypatch.setenv("XFERENGINE_PLAIN", plain)
    main.start_loop(lambda: None)  # type: ignore[arg-type, return-value]
    assert ("malloc" in seen) == (plain == "")
    assert not (plain and seen["uvloop"])
