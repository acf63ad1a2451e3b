"""The profile file: servers by name, how to log in to each, and its defaults for common options.

    [profiles.main]
    url = "https://xnat.example.org"
    user = "jane"
    password_command = ["pass", "show", "xnat"]   # or password_env, keyring, netrc, token_env
    workers = 8

Passwords never stand in it; a key named like one is refused with a hint.
"""

from __future__ import annotations

import datetime
import os
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from xferengine.errors import SettingsError

SOURCES = ("password_command", "password_env", "keyring", "netrc", "token_env")
"""Keys that say where the password comes from; a profile has at most one."""
_SECRET_KEYS = frozenset({"password", "pass", "secret", "token"})
_MAX_BYTES = 1 << 20


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[profiles.NAME]`` table; an empty value means that the profile does not say."""

    url: str = ""
    user: str = ""
    password_command: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    """Program and arguments; no shell."""
    password_env: str = ""
    """Name of an environment variable."""
    keyring: bool = False
    netrc: bool = False
    token_env: str = ""
    """Name of an environment variable that holds ``alias:secret``."""

    ca_bundle: str = ""
    client_cert: str = ""
    proxy: str = ""
    insecure_http: bool = False
    insecure_tls: bool = False

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    since: str = ""
    bwlimit: str = ""
    until: str = ""
    max_bytes: int | str = 0
    workers: Annotated[int, Meta(ge=1, le=256)] | None = None
    give_up_after: Annotated[float, Meta(gt=0)] | str = ""
    grace: Annotated[float, Meta(ge=0)] | str = ""
    state_dir: str = ""
    log_file: str = ""
    no_progress: bool = False
    quiet: bool = False
    json: bool = False

    @property
    def source(self) -> str:
        """The key that says where the password comes from, or an empty string."""
        return next((name for name in SOURCES if getattr(self, name)), "")


SERVER_KEYS = frozenset({"url", "user", *SOURCES, "ca_bundle", "client_cert", "proxy", "insecure_http", "insecure_tls"})
"""What belongs to one server and must not be carried to another one."""


def read_profiles(path: Path, *, must_exist: bool = False) -> dict[str, Profile]:
    """Read and check a profile file.

    Args:
        must_exist: the person named the file; otherwise a missing one is empty.

    Raises:
        SettingsError: naming the file, and the profile and key that are wrong.
    """
    document = _read_toml(path, must_exist)
    unknown = sorted(set(document) - {"profiles"})
    if unknown or not isinstance(document.get("profiles", {}), dict):
        named = unknown[0] if unknown else "profiles"
        raise SettingsError(f"{path}: {named!r} is not known here; only [profiles.NAME] tables are", path=str(path))
    return {name: _profile(name, table, path) for name, table in document.get("profiles", {}).items()}


def choose_profile(profiles: dict[str, Profile], name: str, path: Path) -> tuple[str, Profile]:
    """Return the name and the profile a person asked for; without a name ``default``, or the only one there is.

    Raises:
        SettingsError: no profile has that name.
    """
    if name:
        if name not in profiles:
            known = ", ".join(sorted(profiles)) or "none"
            raise SettingsError(f"there is no profile {name!r} in {path} (known: {known})", path=str(path))
        return name, profiles[name]
    if "default" in profiles:
        return "default", profiles["default"]
    if len(profiles) == 1:
        return next(iter(profiles.items()))
    return "", Profile()


def _read_toml(path: Path, must_exist: bool) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            _check_writers(os.fstat(file.fileno()), path)
            return tomllib.loads(file.read(_MAX_BYTES).decode("utf-8"))
    except FileNotFoundError as error:
        if must_exist:
            raise SettingsError(f"the profile file does not exist: {path}", path=str(path)) from error
        return {}
    except OSError as error:
        raise SettingsError(f"the profile file cannot be read: {path}: {error.strerror}", path=str(path)) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 text (byte {error.start})", path=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: {error}", path=str(path)) from error


def _check_writers(status: os.stat_result, path: Path) -> None:
    """A file that names programs to run must not be writable by everyone."""
    if os.name == "posix" and status.st_mode & stat.S_IWOTH:
        raise SettingsError(f"everyone may write to {path}: run  chmod o-w {path}", path=str(path))


def _profile(name: str, table: Any, path: Path) -> Profile:
    where = f"{path}: profiles.{name}"
    if not isinstance(table, dict):
        raise SettingsError(f"{where} is no table", path=str(path))
    secrets = sorted(_SECRET_KEYS & {str(key).lower() for key in table})
    if secrets:
        raise SettingsError(
            f"{where}.{secrets[0]}: a password never stands in this file; use one of {', '.join(SOURCES)}",
            path=str(path),
        )
    plain = {key: value.isoformat() if isinstance(value, datetime.date) else value for key, value in table.items()}
    unknown = sorted(set(plain) - set(Profile.__struct_fields__))
    if unknown:
        raise SettingsError(f"{where}.{unknown[0]} is not known", path=str(path))
    try:
        profile = msgspec.convert(plain, Profile)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$.")
        key = f".{place.rstrip('`')}" if place else ""
        raise SettingsError(f"{where}{key}: {text}", path=str(path)) from error
    sources = [key for key in SOURCES if getattr(profile, key)]
    if len(sources) > 1:
        raise SettingsError(f"{where}: {' and '.join(sources)} exclude each other; keep one", path=str(path))
    return profile
