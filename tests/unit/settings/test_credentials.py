"""How a password is found, and that it never shows."""

import os
import sys
from types import SimpleNamespace

import pytest

from xferengine.errors import SettingsError
from xferengine.settings import credentials
from xferengine.settings.credentials import Sources, find_credentials, from_command
from xferengine.settings.profiles import Profile
from xferengine.settings.slices import Credentials

URL = "https://xnat.example.org:8443/xnat"


class FakeKeyring:
    class errors:
        class KeyringError(Exception):
            pass

    def __init__(self, passwords=None, broken=False):
        self.passwords = passwords or {}
        self.broken = broken

    def get_credential(self, service, user):
        if self.broken:
            raise self.errors.KeyringError("locked: hunter2")
        for (known, name), secret in self.passwords.items():
            if known == service and user in (None, name):
                return SimpleNamespace(username=name, password=secret)
        return None


@pytest.fixture(autouse=True)
def keyring(monkeypatch):
    holder = SimpleNamespace(value=None)
    monkeypatch.setattr(credentials, "open_keyring", lambda: holder.value)
    return holder


@pytest.fixture
def env(tmp_path):
    return {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}


def sources(**changes) -> Sources:
    return Sources(**{"url": URL, "user": "", "profile": Profile(), **changes})


def netrc(env, text, mode=0o600):
    from pathlib import Path

    path = Path(env["HOME"]) / ".netrc"
    path.write_text(text)
    path.chmod(mode)


def both(found: Credentials):
    return found.user, found.reveal()


def test_environment(env):
    assert both(find_credentials(sources(user="u"), env=env | {"XNAT_PASS": "p"})) == ("u", "p")
    assert both(find_credentials(sources(), env=env | {"XNAT_PASS": "p", "XNAT_TOKEN": "a:b:c"})) == ("a", "b:c")


def test_password_without_user(env):
    with pytest.raises(SettingsError, match="no user is named"):
        find_credentials(sources(), env=env | {"XNAT_PASS": "hunter2"})


def test_bad_token_is_not_repeated(env):
    with pytest.raises(SettingsError, match="alias:secret") as caught:
        find_credentials(sources(), env=env | {"XNAT_TOKEN": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_environment_of_another_server_is_not_used(env):
    with pytest.raises(SettingsError, match="no password"):
        find_credentials(sources(user="u", environment_fits=False), env=env | {"XNAT_PASS": "p"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("machine xnat.example.org:8443 login a password b\nmachine xnat.example.org login c password d", ("a", "b")),
        ("machine xnat.example.org login c password d", ("c", "d")),
    ],
)
def test_netrc_prefers_host_with_port(env, text, found):
    netrc(env, text)
    assert both(find_credentials(sources(), env=env)) == found


def test_netrc_of_another_user_or_for_everyone_is_not_used(env):
    netrc(env, "machine xnat.example.org login c password d\ndefault login x password y")
    with pytest.raises(SettingsError, match="no password"):
        find_credentials(sources(user="jane"), env=env)
    netrc(env, "default login x password y")
    with pytest.raises(SettingsError, match="no password"):
        find_credentials(sources(), env=env)


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX matter")
def test_open_netrc_is_refused(env):
    netrc(env, "machine xnat.example.org login c password d", mode=0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        find_credentials(sources(), env=env)


def test_broken_netrc_names_the_line_only(env, tmp_path):
    path = tmp_path / "other"
    path.write_text("machine h login a password b\nhunter2\n")
    path.chmod(0o600)
    with pytest.raises(SettingsError, match=r"line \d") as caught:
        find_credentials(sources(), env=env | {"NETRC": str(path)})
    assert "hunter2" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_keychain(env, keyring):
    keyring.value = FakeKeyring({(f"xferengine:{URL}", "jane"): "p"})
    assert both(find_credentials(sources(), env=env)) == ("jane", "p")
    with pytest.raises(SettingsError, match="no password"):
        find_credentials(sources(user="joe"), env=env)


def test_a_broken_keychain_is_passed_over_unless_it_was_named(env, keyring):
    keyring.value = FakeKeyring(broken=True)
    asked = find_credentials(sources(), env=env, ask=lambda url, user: Credentials("u", url))
    assert both(asked) == ("u", URL)
    with pytest.raises(SettingsError, match="keychain cannot be used") as caught:
        find_credentials(sources(profile=Profile(keyring=True)), env=env)
    assert "hunter2" not in str(caught.value)
    keyring.value = None
    with pytest.raises(SettingsError, match="not installed"):
        find_credentials(sources(profile=Profile(keyring=True)), env=env)


@pytest.mark.parametrize(
    "profile", [Profile(netrc=True), Profile(password_env="NOT_SET"), Profile(token_env="NOT_SET")]
)
def test_a_named_place_that_holds_nothing_is_an_error(env, profile):
    with pytest.raises(SettingsError, match=profile.source):
        find_credentials(sources(user="u", profile=profile), env=env, ask=lambda url, user: Credentials("a", "b"))


def test_the_profiles_variable(env):
    profile = Profile(password_env="MINE")
    assert both(find_credentials(sources(user="u", profile=profile), env=env | {"MINE": "p"})) == ("u", "p")


def test_nothing_tells_the_ways(env):
    with pytest.raises(SettingsError, match=r"XNAT_PASS.*netrc.*login.*--password-command"):
        find_credentials(sources(), env=env)


class TestCommand:
    def run(self, code, env, profile=None):
        return from_command((sys.executable, "-c", code), env, profile or Profile())

    def test_first_line(self, env):
        assert self.run("print('se cret \\nurl: x')", env) == "se cret "

    def test_gets_none_of_our_secrets_and_no_shell(self, env):
        env |= {"XNAT_PASS": "a", "XNAT_TOKEN": "b", "MINE": "c", "OTHER": "d"}
        code = "import os; print(sorted(set(os.environ) & {'XNAT_PASS','XNAT_TOKEN','MINE','OTHER'}))"
        assert self.run(code, env, Profile(password_env="MINE")) == "['OTHER']"

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            ("raise SystemExit(3)", "exit status 3"),
            ("pass", "printed nothing"),
            ("print('x' * 70000)", "more than a password"),
            ("import sys\nwhile True: sys.stdout.write('x' * 65536)", "more than a password"),
        ],
    )
    def test_failures(self, env, code, words):
        with pytest.raises(SettingsError, match=words):
            self.run(code, env)

    def test_a_hanging_command_is_ended(self, env, monkeypatch):
        monkeypatch.setattr(credentials, "COMMAND_TIME_S", 0.05)
        with pytest.raises(SettingsError, match="failed"):
            self.run("import time; time.sleep(30)", env)

    def test_missing_program(self, env):
        with pytest.raises(SettingsError, match="'no-such'"):
            from_command(("/bin/no-such", "secret-argument"), env, Profile())

    def test_option_beats_environment(self, env):
        command = (sys.executable, "-c", "print('cmd')")
        found = find_credentials(sources(user="u", command=command), env=env | {"XNAT_PASS": "p"})
        assert both(found) == ("u", "cmd")
