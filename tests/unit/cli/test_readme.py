"""What the README says works."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from xferengine.cli import exitcodes
from xferengine.cli.main import COMMANDS, cli
from xferengine.emulator.cohort import CohortShape, make_cohort

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


def test_opens_with_two_lines_to_paste():
    assert README.startswith("```sh\n")
    first = blocks("sh")[0].splitlines()
    assert len(first) == 2
    assert all(line.startswith("python3.11 -m venv .venv && .venv/bin/pip install ") for line in first)


def test_commands_in_code_parse(tmp_path):
    lines = [line.split("#")[0].strip() for line in blocks("sh")[1].splitlines() if line.startswith("xferengine")]
    assert len(lines) == 6
    for line in lines:
        for place in ("/data/incoming", "notes/", "/data/neuro"):
            line = line.replace(place, str(tmp_path))
        words = shlex.split(line)
        command = cli.get_command(click.Context(cli), words[1])
        assert command is not None
        command.make_context(words[1], words[2:])


def test_every_option_named_exists():
    known = {"--help"}
    for verb in COMMANDS:
        command = cli.get_command(click.Context(cli), verb)
        commands = command.commands.values() if isinstance(command, click.Group) else [command]
        for one in commands:
            assert one is not None
            known |= {name for param in one.params for name in param.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) <= known


def test_exit_codes_are_all_named():
    section = README.split("## Exit codes")[1].split("##")[0]
    assert {int(number) for number in re.findall(r"\b\d+\b", section)} == set(exitcodes.MEANINGS)


@pytest.mark.skipif(os.name != "posix", reason="starts the emulator as a process")
def test_python_example_runs(tmp_path):
    made = make_cohort(tmp_path / "in", CohortShape(sessions=1, series=1, instances=3))
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    code = code.replace("/data/incoming", str(tmp_path / "in"))
    command = [sys.executable, "-m", "xferengine", "emulator", "--port", "0", "--project", "NEURO", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as emulator:
        assert emulator.stdout is not None
        url = json.loads(emulator.stdout.readline())["url"]
        env = os.environ | {
            "XNAT_URL": url,
            "XNAT_USER": "admin",
            "XNAT_PASS": "admin",
            "XFERENGINE_STATE_DIR": str(tmp_path / "state"),
        }
        try:
            done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
        finally:
            emulator.terminate()
    assert done.stdout.splitlines()[0] == f"done {len(made)}", done.stderr
