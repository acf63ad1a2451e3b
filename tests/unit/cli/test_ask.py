"""Questions."""

import os
import pty  # POSIX only, like the reading under test
import sys

import anyio
import pytest

from xferengine.cli import ask
from xferengine.errors import SettingsError


@pytest.fixture
def keyboard(monkeypatch):
    """A terminal's other end."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield master
    os.close(master)


@pytest.mark.parametrize(
    ("typed", "answer"), [(b"y\n", True), (b"YES\n", True), (b"\n", False), (b"no\n", False), (b"yesterday\n", False)]
)
async def test_answers(keyboard, capsys, typed, answer):
    os.write(keyboard, typed)
    assert await ask.ask_yes_no("Send?") is answer
    assert capsys.readouterr().err == "Send? [y/N] "


async def test_end_of_input_means_no(keyboard):
    os.write(keyboard, b"\x04")
    assert await ask.ask_yes_no("Send?") is False


async def test_a_question_can_be_given_up(keyboard):
    with anyio.move_on_after(0.01) as scope:
        await ask.ask_yes_no("Send?")
    assert scope.cancelled_caught


def test_empty_passwords_are_not_sent(monkeypatch):
    monkeypatch.setattr(ask.getpass, "getpass", lambda prompt: "")
    with pytest.raises(SettingsError, match="not sent"):
        ask.ask_credentials("https://h", "u")
    monkeypatch.setattr(ask.getpass, "getpass", lambda prompt: "p")
    assert ask.ask_credentials("https://h", "u").reveal() == "p"
