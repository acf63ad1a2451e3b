"""login, logout, whoami."""

import json
from types import SimpleNamespace

import msgspec
import pytest

from xferengine.errors import LoginRefused
from xferengine.settings.slices import Credentials

URL = "https://xnat.example.org"


class Identity(msgspec.Struct):
    user: str = "jane"
    server: str = URL
    version: str = ""
    projects: int = 3


class Keyring:
    class errors:
        class KeyringError(Exception):
            pass

        class PasswordSetError(KeyringError):
            pass

    def __init__(self, keeps=True):
        self.keeps = keeps
        self.kept: dict[tuple[str, str], str] = {}

    def set_password(self, service, user, secret):
        if self.keeps:
            self.kept[service, user] = secret

    def get_password(self, service, user):
        return self.kept.get((service, user))

    def get_credential(self, service, user):
        for (known, name), secret in self.kept.items():
            if known == service and user in (None, name):
                return SimpleNamespace(username=name, password=secret)
        return None

    def delete_password(self, service, user):
        del self.kept[service, user]


@pytest.fixture
def keyring(xferengine, monkeypatch):
    made = Keyring()
    monkeypatch.setattr("xferengine.settings.credentials.open_keyring", lambda: made)
    return made


@pytest.fixture
def server(fake_module, monkeypatch):
    seen = SimpleNamespace(tried=[], error=None)

    async def whoami(settings):
        seen.tried.append((settings.server.url, settings.credentials.user, settings.credentials.reveal()))
        if seen.error:
            raise seen.error
        return Identity()

    fake_module("whoami", whoami=whoami)
    monkeypatch.setattr("xferengine.cli.ask.ask_credentials", lambda url, user: Credentials(user or "jane", "hunter2"))
    return seen


def test_login_tries_once_and_keeps_the_password(xferengine, keyring, server):
    ran = xferengine("login", "--server", URL, can_ask=True)
    assert ran.code == 0
    assert server.tried == [(URL, "jane", "hunter2")]
    assert keyring.kept == {(f"xferengine:{URL}", "jane"): "hunter2"}
    assert "hunter2" not in ran.out + ran.err
    assert xferengine("whoami", "--server", URL).code == 0
    assert server.tried[-1] == (URL, "jane", "hunter2")


def test_a_wrong_password_is_not_kept(xferengine, keyring, server):
    server.error = LoginRefused("wrong user name or password")
    assert xferengine("login", "--server", URL, can_ask=True).code == 7
    assert len(server.tried) == 1
    assert keyring.kept == {}


def test_login_needs_a_person_and_a_keychain(xferengine, keyring, server, monkeypatch):
    assert xferengine("login", "--server", URL).code == 2
    keyring.keeps = False
    ran = xferengine("login", "--server", URL, can_ask=True)
    assert ran.code == 2
    assert "did not take it" in ran.err
    monkeypatch.setattr("xferengine.settings.credentials.open_keyring", lambda: None)
    assert "no keychain here" in xferengine("login", "--server", URL, can_ask=True).err


def test_logout(xferengine, keyring, server):
    xferengine("login", "--server", URL, can_ask=True)
    assert "is forgotten" in xferengine("logout", "--server", URL).out
    assert keyring.kept == {}
    assert xferengine("logout", "--server", URL).code == 0
    assert xferengine("logout").code == 2


def test_whoami(xferengine, keyring, server):
    keyring.kept[f"xferengine:{URL}", "jane"] = "p"
    assert xferengine("whoami", "--server", URL).out.splitlines()[0] == "user      jane"
    assert json.loads(xferengine("whoami", "--server", URL, "--json").out)["projects"] == 3


def test_a_person_is_asked_where_nothing_is_known(xferengine, server):
    assert xferengine("whoami", "--server", URL).code == 2
    assert xferengine("whoami", "--server", URL, can_ask=True).code == 0
    assert server.tried == [(URL, "jane", "hunter2")]
