"""Where settings come from, and which place wins."""

import os
from pathlib import Path

import pytest

from xferengine.errors import SettingsError
from xferengine.settings import load
from xferengine.settings.load import gather, gather_for, load_settings, settle, since_of
from xferengine.settings.statefolder import open_state_folder

FILE = """
[profiles.main]
url = "https://main.example.org"
user = "jane"
token_env = "MAIN_TOKEN"
workers = 8
grace = "10s"
proxy = "http://proxy:3128"
[profiles.default]
url = "https://default.example.org"
user = "joe"
bwlimit = "5M"
"""


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "profiles.toml"
    path.write_text(FILE)
    path.chmod(0o600)
    return path


@pytest.fixture
def env(tmp_path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XFERENGINE_STATE_DIR": str(tmp_path / "state")}


def test_options_beat_environment_beat_profile_beat_defaults(config, env):
    gathered = gather({"user": "cli"}, env=env | {"XNAT_USER": "env"}, config_path=config)
    assert (gathered.url, gathered.user) == ("https://default.example.org", "cli")
    gathered = gather({}, env=env | {"XNAT_USER": "env"}, config_path=config)
    assert gathered.user == "env"
    gathered = gather({"bwlimit": "1M"}, env=env, config_path=config)
    assert settle(gathered).pool.bwlimit == "1M"
    assert settle(gather({}, env=env, config_path=config)).pool.bwlimit == "5M"
    assert settle(gather({"server": "https://x"}, env=env)).pool.bwlimit == ""


def test_a_named_profile_ignores_the_environments_login(config, env):
    env |= {"XNAT_URL": "https://env.example.org", "XNAT_USER": "env", "XNAT_PASS": "secret"}
    gathered = gather({"profile": "main"}, env=env, config_path=config)
    assert (gathered.url, gathered.user, gathered.environment_fits) == ("https://main.example.org", "jane", False)
    settings = load_settings({"profile": "main"}, env=env | {"MAIN_TOKEN": "al:ias"}, config_path=config)
    assert settings.credentials is not None
    assert (settings.credentials.user, settings.credentials.reveal()) == ("al", "ias")
    assert settings.server.user == "al"
    assert (settings.pool.workers, settings.pool.workers_max, settings.pool.grace_s) == (8, 8, 10)


def test_xnat_host_may_be_a_host(env):
    assert gather({}, env=env | {"XNAT_HOST": "h.example.org"}).url == "https://h.example.org"
    assert gather({}, env=env | {"XNAT_HOST": "b", "XNAT_URL": "https://a"}).url == "https://a"


def test_what_a_profile_says_about_its_server_stays_there(config, env):
    gathered = gather({"server": "https://other.example.org"}, env=env, config_path=config)
    assert (gathered.user, gathered.profile_name, gathered.profile.user) == ("", "", "")
    assert gathered.text("bwlimit") == "5M"  # is not about the server
    gathered = gather({}, env=env | {"XNAT_URL": "https://main.example.org"}, config_path=config)
    assert gathered.user == ""


def test_environment_password_is_only_for_the_environments_server(env):
    env |= {"XNAT_URL": "https://a", "XNAT_USER": "u", "XNAT_PASS": "secret"}
    assert gather({"server": "https://a/"}, env=env).environment_fits
    assert not gather({"server": "https://b"}, env=env).environment_fits
    assert not gather({"server": "https://a:444"}, env=env).environment_fits
    with pytest.raises(SettingsError, match="no password"):
        load_settings({"server": "https://b", "user": "u"}, env=env)


def test_password_without_address_goes_to_the_server_named(env):
    settings = load_settings({"server": "https://b"}, env=env | {"XNAT_USER": "u", "XNAT_PASS": "secret"})
    assert settings.credentials is not None
    assert settings.credentials.reveal() == "secret"
    assert "secret" not in repr(settings)


def test_the_server_of_a_job_is_found_in_the_file(config, env):
    main = "https://main.example.org"
    assert gather_for(main, env=env, config_path=config).profile_name == "main"
    assert gather_for("https://default.example.org", env=env, config_path=config).profile_name == "default"
    unknown = gather_for("https://new.example.org", env=env, config_path=config)
    assert (unknown.url, unknown.user) == ("https://new.example.org", "")
    said = gather_for(main, {"profile": "default"}, env=env, config_path=config)
    assert said.url == "https://default.example.org"


def test_plain_http_stays_on_this_machine(env):
    assert settle(gather({"server": "http://127.0.0.1:8080"}, env=env)).server.url == "http://127.0.0.1:8080"
    with pytest.raises(SettingsError, match="--insecure-http"):
        settle(gather({"server": "http://xnat.example.org"}, env=env))
    allowed = settle(gather({"server": "http://xnat.example.org", "insecure_http": True}, env=env))
    assert allowed.server.insecure_http


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0.5}, "workers"),
        ({"grace": "soon"}, "--grace"),
        ({"give_up_after": "0"}, "--give-up-after"),
        ({"until": "25:00"}, "--until"),
        ({"max_bytes": "lots"}, "--max-bytes"),
        ({"ca_bundle": "/no/such.pem"}, "--ca-bundle: there is no file"),
        ({"password": "x"}, "no option 'password'"),
    ],
)
def test_bad_values_name_the_option(env, options, words):
    with pytest.raises(SettingsError, match=words):
        settle(gather({"server": "https://h", **options}, env=env))


def test_no_server(env):
    with pytest.raises(SettingsError, match="no server is named"):
        settle(gather({}, env=env, config_path=None))


def test_limits_reach_their_slices(env):
    options = {"server": "https://h", "until": "6:30", "max_bytes": "1G", "give_up_after": "2h", "insecure_tls": True}
    settings = settle(gather(options, env=env))
    assert (settings.pool.until, settings.pool.max_bytes) == ("06:30", 10**9)
    assert settings.retry.give_up_after_s == 7200
    assert not settings.server.verify_tls


def test_since(env):
    assert since_of(gather({"since": "20240131"}, env=env)) == "2024-01-31"
    assert since_of(gather({}, env=env)) == ""


@pytest.fixture(autouse=True)
def no_real_places(monkeypatch, tmp_path):
    monkeypatch.setattr(load, "default_config_path", lambda: tmp_path / "nowhere.toml")
    monkeypatch.setattr("xferengine.settings.credentials.open_keyring", lambda: None)


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX matter")
class TestStateFolder:
    def test_is_made_for_the_owner_alone(self, tmp_path):
        made = open_state_folder(str(tmp_path / "a" / "b"))
        assert made.stat().st_mode & 0o777 == 0o700

    def test_ours_is_closed(self, tmp_path):
        folder = tmp_path / "state"
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
        (folder / "catalogue.db").touch()
        assert open_state_folder(str(folder)).stat().st_mode & 0o777 == 0o700

    def test_somebody_elses_is_refused_unchanged(self, tmp_path):
        folder = tmp_path / "shared"
        folder.mkdir()
        folder.chmod(0o755)
        (folder / "thesis.txt").touch()
        with pytest.raises(SettingsError, match="open to other users"):
            open_state_folder(str(folder))
        assert folder.stat().st_mode & 0o777 == 0o755

    def test_a_file_in_its_place(self, tmp_path):
        (tmp_path / "f").touch()
        with pytest.raises(SettingsError, match="cannot be used"):
            open_state_folder(str(tmp_path / "f"))
