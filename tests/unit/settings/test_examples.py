"""The examples in config/ are what the program takes."""

import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from xferengine.cli.commands.upload import upload
from xferengine.jobs.mapfile import read_map
from xferengine.settings.profiles import SOURCES, Profile, read_profiles

CONFIG = Path(__file__).parents[3] / "config"


def test_every_file_has_a_test():
    assert {path.name for path in CONFIG.iterdir()} == {"profiles.toml", "map.csv", "upload-nightly.sh"}


def test_profiles(tmp_path):
    copy = shutil.copy(CONFIG / "profiles.toml", tmp_path)
    Path(copy).chmod(0o600)
    assert set(read_profiles(Path(copy))) == {"main", "research"}


def test_commented_lines_of_the_profiles_are_right_too(tmp_path):
    lines = (CONFIG / "profiles.toml").read_text().splitlines()
    keys = []
    for line in lines:
        text = line.removeprefix("# ")
        key = text.split(" = ")[0]
        if line.startswith("# ") and key in Profile.__struct_fields__:
            keys.append(key)
            path = tmp_path / "one.toml"
            path.write_text(f"[profiles.x]\n{text}\n")
            path.chmod(0o600)
            assert getattr(read_profiles(path)["x"], key), line
    assert len(keys) > 8
    assert {"keyring", *keys} >= set(SOURCES)


def test_map():
    lines = read_map(CONFIG / "map.csv")
    assert lines.find("1.2.826.0.1.3680043.8.498.1", [], []) is not None
    assert lines.find("9", [str(CONFIG / "incoming" / "2024-03-02" / "a")], []) is not None
    assert lines.find("9", [], ["HOSP-4711"]) is not None


@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell here")
def test_nightly_script(tmp_path):
    script = CONFIG / "upload-nightly.sh"
    subprocess.run(["sh", "-n", str(script)], check=True)
    text = script.read_text().replace("\\\n", " ")
    (command,) = [line for line in text.splitlines() if line.startswith("xferengine upload")]
    table = shutil.copy(CONFIG / "map.csv", tmp_path)
    words = shlex.split(command.replace("/srv/xferengine/map.csv", table).replace("/srv/incoming", str(tmp_path)))
    with upload.make_context("upload", words[2:]) as context:
        assert isinstance(context, click.Context)
        assert context.params["yes"]
        assert context.params["project"] == "main:NEURO"
