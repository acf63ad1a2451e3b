"""The profile file."""

import os
from pathlib import Path

import pytest

from xferengine.errors import SettingsError
from xferengine.settings.profiles import Profile, choose_profile, read_profiles


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_reads_everything_a_profile_may_say(tmp_path):
    path = write(
        tmp_path / "p.toml",
        '[profiles.main]\nurl = "https://h"\nuser = "jane"\npassword_command = ["pass", "x"]\nworkers = 8\n'
        'since = 2024-01-31\nmax_bytes = "10G"\ninclude = ["modality=MR"]\n',
    )
    profile = read_profiles(path)["main"]
    assert profile == Profile(
        url="https://h", user="jane", password_command=("pass", "x"), workers=8, since="2024-01-31", max_bytes="10G",
        include=("modality=MR",),
    )  # fmt: skip
    assert profile.source == "password_command"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[profiles.a]\nworker = 3\n", r"p\.toml: profiles\.a\.worker is not known"),
        ("[profiles.a]\nworkers = 0\n", r"p\.toml: profiles\.a\.workers: .*>= 1"),
        ("[profiles.a]\nurl = 3\n", r"profiles\.a\.url: Expected `str`"),
        ("[profiles.a]\nkeyring = true\nnetrc = true\n", "exclude each other"),
        ("[other]\n", r"p\.toml: 'other' is not known"),
        ("profiles = 3\n", "not known here"),
        ("[profiles]\na = 3\n", r"profiles\.a is no table"),
        ("[profiles.a\n", r"p\.toml: "),
    ],
)
def test_errors_name_file_and_key(tmp_path, text, words):
    with pytest.raises(SettingsError, match=words):
        read_profiles(write(tmp_path / "p.toml", text))


def test_a_password_is_refused_and_not_repeated(tmp_path):
    with pytest.raises(SettingsError, match="never stands in this file") as caught:
        read_profiles(write(tmp_path / "p.toml", '[profiles.a]\npassword = "hunter2"\n'))
    assert "hunter2" not in str(caught.value)


def test_missing_file_is_empty_unless_it_was_named(tmp_path):
    assert read_profiles(tmp_path / "no.toml") == {}
    with pytest.raises(SettingsError, match="does not exist"):
        read_profiles(tmp_path / "no.toml", must_exist=True)


def test_not_utf8(tmp_path):
    path = tmp_path / "p.toml"
    path.write_bytes(b'[profiles.a]\nurl = "\xff"\n')
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="UTF-8"):
        read_profiles(path)


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX matter")
def test_a_file_everyone_may_write_names_no_programs(tmp_path):
    path = write(tmp_path / "p.toml", "")
    path.chmod(0o666)
    with pytest.raises(SettingsError, match="chmod o-w"):
        read_profiles(path)


def test_choosing():
    a, b = Profile(url="https://a"), Profile(url="https://b")
    here = Path("p.toml")
    assert choose_profile({"a": a, "default": b}, "", here) == ("default", b)
    assert choose_profile({"a": a}, "", here) == ("a", a)
    assert choose_profile({"a": a, "b": b}, "", here) == ("", Profile())
    assert choose_profile({"a": a, "b": b}, "b", here) == ("b", b)
    with pytest.raises(SettingsError, match="known: a, b"):
        choose_profile({"a": a, "b": b}, "c", here)
