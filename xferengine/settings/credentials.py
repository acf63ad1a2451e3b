"""How a password is found without ever being an argument.

Order: ``--password-command`` → environment (``XNAT_TOKEN``, ``XNAT_PASS``; default profile only) → the source that the
profile names → ``.netrc`` → the keychain of the operating system → a question, when a person is there.
What a profile names and cannot be had is an error, never a reason to try the next place.
"""

from __future__ import annotations

import importlib
import netrc
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from xferengine.errors import SettingsError
from xferengine.settings.profiles import Profile
from xferengine.settings.slices import Credentials

Ask = Callable[[str, str], Credentials]
"""Asks a person: address of the server and user name (may be empty) in, credentials out."""

COMMAND_OUTPUT_BYTES = 64 << 10
COMMAND_TIME_S = 120.0
_OWN_SECRETS = ("XNAT_PASS", "XNAT_TOKEN")


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where to look, and for whom."""

    url: str
    user: str
    profile: Profile
    command: tuple[str, ...] = ()
    environment_fits: bool = True


def find_credentials(sources: Sources, *, env: Mapping[str, str], ask: Ask | None = None) -> Credentials:
    """Return the first credentials that the places give.

    Raises:
        SettingsError: nothing gives any, or a place that was named does not; the message tells the ways.
    """
    found = _named(sources, env)
    if found is None:
        found = from_netrc(sources, env) or from_keyring(sources)
    if found is None and ask is not None:
        found = ask(sources.url, sources.user)
    if found is None:
        raise SettingsError(
            f"no password for {sources.url} is known: set XNAT_USER and XNAT_PASS (or XNAT_TOKEN=alias:secret),"
            " write a line into ~/.netrc, run  xferengine login, or give --password-command"
        )
    return found


def _named(sources: Sources, env: Mapping[str, str]) -> Credentials | None:
    """Places that somebody named: what they hold is taken, and what they lack is an error."""
    if sources.command:
        return _owned(sources, from_command(sources.command, env, sources.profile), "--password-command")
    if sources.environment_fits and env.get("XNAT_TOKEN"):
        return _token(env["XNAT_TOKEN"], "XNAT_TOKEN")
    if sources.environment_fits and env.get("XNAT_PASS"):
        return _owned(sources, env["XNAT_PASS"], "XNAT_PASS")
    return _of_profile(sources, env)


def _of_profile(sources: Sources, env: Mapping[str, str]) -> Credentials | None:
    profile = sources.profile
    found: Credentials | None = None
    match profile.source:
        case "":
            return None
        case "password_command":
            found = _owned(sources, from_command(profile.password_command, env, profile), "password_command")
        case "password_env":
            secret = env.get(profile.password_env, "")
            found = _owned(sources, secret, profile.password_env) if secret else None
        case "token_env":
            token = env.get(profile.token_env, "")
            found = _token(token, profile.token_env) if token else None
        case "keyring":
            found = from_keyring(sources, must=True)
        case "netrc":
            found = from_netrc(sources, env)
    if found is None:
        raise SettingsError(f"the profile names {profile.source} for the password of {sources.url}; it holds none")
    return found


def _owned(sources: Sources, secret: str, place: str) -> Credentials:
    if not sources.user:
        raise SettingsError(f"{place} gives a password but no user is named: set XNAT_USER or give --user")
    return Credentials(sources.user, secret)


def _token(text: str, place: str) -> Credentials:
    alias, colon, secret = text.strip().partition(":")
    if not (alias and colon and secret):
        raise SettingsError(f"{place} is not of the form alias:secret")
    return Credentials(alias, secret)


def from_netrc(sources: Sources, env: Mapping[str, str]) -> Credentials | None:
    """Look up ``host:port``, then the host, in ``$NETRC`` or ``~/.netrc``.

    A ``default`` entry is not used: it is meant for any server, and wrong passwords lock accounts.

    Raises:
        SettingsError: the file is open to others, or broken (its line is named, its text is not).
    """
    path = Path(env["NETRC"]) if env.get("NETRC") else _home(env) / (".netrc" if os.name == "posix" else "_netrc")
    try:
        status = path.stat()
        if os.name == "posix" and status.st_mode & 0o077:
            raise SettingsError(f"others may read {path}: run  chmod 600 {path}", path=str(path))
        hosts = netrc.netrc(str(path)).hosts
    except FileNotFoundError:
        return None
    except netrc.NetrcParseError as error:
        # the parser's own text may quote a password
        raise SettingsError(f"{path} cannot be read at line {error.lineno}", path=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read", path=str(path)) from error
    parts = urlsplit(sources.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    for name in (f"{parts.hostname}:{port}", parts.hostname or ""):
        login, _, password = hosts.get(name, ("", "", ""))
        if login and password and sources.user in ("", login):
            return Credentials(login, password)
    return None


def _home(env: Mapping[str, str]) -> Path:
    return Path(env["HOME"]) if env.get("HOME") else Path.home()


def keyring_service(url: str) -> str:
    """Return the name under which the keychain holds a server's password."""
    return f"xferengine:{url}"


def open_keyring() -> Any | None:
    """Return the ``keyring`` package when it is installed, else None."""
    try:
        return importlib.import_module("keyring")
    except ImportError:
        return None


def from_keyring(sources: Sources, *, must: bool = False) -> Credentials | None:
    """Ask the keychain of the operating system.

    Args:
        must: a missing or locked keychain is an error instead of nothing found.

    Raises:
        SettingsError: only with ``must``.
    """
    keyring = open_keyring()
    if keyring is None:
        if must:
            raise SettingsError("the profile says keyring, which is not installed: pip install 'xferengine[keyring]'")
        return None
    try:
        found = keyring.get_credential(keyring_service(sources.url), sources.user or None)
    except keyring.errors.KeyringError as error:
        if must:
            raise SettingsError(f"the keychain cannot be used ({type(error).__name__})") from error
        return None
    if found is None or not found.password or not (found.username or sources.user):
        return None
    return Credentials(found.username or sources.user, found.password)


def from_command(command: tuple[str, ...], env: Mapping[str, str], profile: Profile) -> str:
    """Run a password command and return the first line it prints.

    No shell is used; the command gets the environment without our own secrets, at most 64 KiB of its output are read
    and it has two minutes.

    Raises:
        SettingsError: it cannot be run, fails, prints nothing or too much; only its name is in the message.
    """
    hidden = {*_OWN_SECRETS, profile.password_env, profile.token_env}
    clean = {name: value for name, value in env.items() if name not in hidden}
    name = os.path.basename(command[0])
    try:
        process = subprocess.Popen(list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=clean)
    except (OSError, ValueError) as error:
        raise SettingsError(f"the password command {name!r} cannot be run ({type(error).__name__})") from error
    timer = threading.Timer(COMMAND_TIME_S, process.kill)
    timer.start()
    try:
        output = process.stdout.read(COMMAND_OUTPUT_BYTES + 1) if process.stdout else b""
        if len(output) > COMMAND_OUTPUT_BYTES:
            raise SettingsError(f"the password command {name!r} prints more than a password")
        status = process.wait()
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
    if status != 0:
        raise SettingsError(f"the password command {name!r} failed (exit status {status})")
    secret = output.decode("utf-8", "surrogateescape").split("\n", 1)[0].rstrip("\r")
    if not secret:
        raise SettingsError(f"the password command {name!r} printed nothing")
    return secret
