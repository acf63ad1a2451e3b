"""demo and emulator, for real: they are what a new user sees first."""

import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import click
import pytest

from xferengine.cli.commands.demo import INSTANCES, NOTES, SERIES, SESSIONS, next_steps
from xferengine.cli.commands.emulator import build_config
from xferengine.cli.main import cli
from xferengine.errors import SettingsError


def test_demo_verifies_every_instance(xferengine, tmp_path):
    ran = xferengine("demo", "--keep", tmp_path / "kept", "--json")
    assert ran.code == 0, ran.err
    last = json.loads(ran.out.splitlines()[-1])
    assert last["event"] == "summary"
    assert last["totals"]["verified"] == SESSIONS * SERIES * INSTANCES + len(NOTES)
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {
        "dicom", "download", "emulator", "notes", "state",
    }  # fmt: skip
    assert "The same command again: 0 B sent" in ran.err


def test_the_three_commands_are_ones_that_exist(tmp_path):
    steps = next_steps(tmp_path, 8080, "ab12")
    assert len(steps) == 3
    (tmp_path / "dicom").mkdir()
    for step in steps:
        words = [word for word in shlex.split(step) if "XNAT_" not in word and word != "&"]
        assert words[0] == "xferengine"
        command = cli.get_command(click.Context(cli), words[1])
        assert command is not None
        command.make_context(words[1], words[2:])


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_emulator_runs_until_it_is_told_to_stop(tmp_path):
    command = [sys.executable, "-m", "xferengine", "emulator", "--port", "0", "--data", str(tmp_path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{url}/data/projects?format=json", timeout=10)
        caught.value.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_emulator_says_when_its_port_is_taken(xferengine):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = xferengine("emulator", "--port", taken.getsockname()[1])
    assert ran.code == 2
    assert "cannot listen" in ran.err
    assert xferengine("emulator", "--port", "0", "--fault", "no-such-kind").code == 2


OPTIONS = {
    "data": None, "host": "127.0.0.1", "port": 0, "projects": ("A",), "prearchive_code": "5", "request_ms": 1.0,
    "instance_ms": 2.0, "instance_lock_ms": 0.1, "bandwidth": "10M", "max_body": "1Mi", "faults": (), "seed": 3,
    "no_checksums": True, "reject_every": 4, "remap_uids": "import", "anonymize": True,
}  # fmt: skip


def test_switches_reach_the_emulator():
    config = build_config(OPTIONS)
    assert (config.bandwidth_bps, config.max_body_bytes, config.default_prearchive_code) == (10e6, 1 << 20, 5)
    assert (config.checksums, config.script.reject_every, config.script.remap_uids) == (False, 4, "import")
    assert config.script.rewrite
    with pytest.raises(SettingsError, match="--bandwidth"):
        build_config(OPTIONS | {"bandwidth": "fast"})
