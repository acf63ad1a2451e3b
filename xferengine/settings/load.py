"""Where settings come from: defaults → profile file → environment → options; checked once, then frozen.

    gathered = gather(options, env=os.environ, config_path=None)   # which server, which values; no secret yet
    settings = settle(gathered)                                    # checked slices
    settings = load_settings(options)                              # both, and the credentials

The empty profile is ``XNAT_URL`` (or ``XNAT_HOST``) with ``XNAT_USER`` and ``XNAT_PASS`` or ``XNAT_TOKEN``; without
them ``[profiles.default]`` of the file, or its only profile. What a profile says about its server is used for that
server alone: naming another address drops it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import platformdirs

from xferengine.errors import SettingsError
from xferengine.settings.credentials import Ask, Sources, find_credentials
from xferengine.settings.profiles import SERVER_KEYS, Profile, choose_profile, read_profiles
from xferengine.settings.slices import Credentials, PoolConfig, RetryConfig, ServerConfig, Settings
from xferengine.settings.statefolder import open_state_folder
from xferengine.settings.values import (
    is_loopback,
    origin,
    parse_date,
    parse_duration,
    parse_server,
    parse_size,
    parse_time_of_day,
)

OPTION_NAMES = frozenset(Profile.__struct_fields__) - {"url", "password_env", "keyring", "netrc", "token_env"} | {
    "server",
    "profile",
    "config",
}
"""Keys that ``options`` may have."""


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """Values from all places, the last one winning; not yet checked against ranges."""

    profile_name: str
    profile: Profile
    """As it stands in the file, without what belongs to another server than ``url``."""
    url: str
    user: str
    values: dict[str, Any]
    """Common options by their profile key; only those that something says."""
    environment_fits: bool
    """``XNAT_PASS`` and ``XNAT_TOKEN`` are meant for this server."""
    password_command: tuple[str, ...] = ()
    """Of ``--password-command``."""
    said: dict[str, str] = {}
    """``state_dir`` and ``config``, when options named them: a command that goes on needs them again."""

    def text(self, name: str) -> str:
        """Return an option's value as text, empty when nothing says it."""
        return str(self.values.get(name) or "")

    def is_on(self, name: str) -> bool:
        """Return a switch."""
        return bool(self.values.get(name))

    def several(self, name: str) -> tuple[str, ...]:
        """Return the values of a repeatable option."""
        return tuple(self.values.get(name) or ())


def default_config_path() -> Path:
    """Return where the profile file is expected on this platform."""
    return platformdirs.user_config_path("xferengine", appauthor=False) / "profiles.toml"


def gather(
    options: Mapping[str, Any] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    config_path: Path | None = None,
) -> Gathered:
    """Bring together what options, environment and profile file say.

    Args:
        options: keys of ``OPTION_NAMES``; None, empty and False mean "not said".
        env: environment; ``os.environ`` by default.
        config_path: profile file; by default ``options["config"]``, else the platform's place.

    Raises:
        SettingsError: an unknown key or profile, a broken file, an address that is none.
    """
    env = os.environ if env is None else env
    said = _said(options or {})
    named = config_path or (Path(said["config"]) if "config" in said else None)
    path = named or default_config_path()
    profiles = read_profiles(path, must_exist=named is not None)
    name, profile = choose_profile(profiles, said.get("profile", ""), path)
    env_url = "" if "profile" in said else env.get("XNAT_URL") or env.get("XNAT_HOST") or ""
    url = (
        parse_server(_first(said.get("server"), env_url, profile.url))
        if (said.get("server") or env_url or profile.url)
        else ""
    )
    name, profile = _for_server(name, profile, url)
    values = {key: value for key, value in msgspec.structs.asdict(profile).items() if value and key in OPTION_NAMES}
    if env.get("XFERENGINE_STATE_DIR"):
        values["state_dir"] = env["XFERENGINE_STATE_DIR"]
    values |= {key: value for key, value in said.items() if key in Profile.__struct_fields__}
    fits = "profile" not in said and (not env_url or (bool(url) and origin(parse_server(env_url)) == origin(url)))
    command = said.get("password_command", ())
    return Gathered(
        profile_name=name,
        profile=profile,
        url=url,
        user=_first(said.get("user"), env.get("XNAT_USER") if fits else "", profile.user),
        values=values,
        environment_fits=fits,
        password_command=tuple(shlex.split(command)) if isinstance(command, str) else tuple(command),
        said={key: str(said[key]) for key in ("state_dir", "config") if key in said},
    )


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(options) - OPTION_NAMES)
    if unknown:
        raise SettingsError(f"there is no option {unknown[0]!r}")
    return {name: value for name, value in options.items() if value not in (None, "", (), [], False)}


def gather_for(
    url: str,
    options: Mapping[str, Any] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    config_path: Path | None = None,
) -> Gathered:
    """Do as ``gather`` does, for a server that is known already (of a job, of a plan).

    What options name is taken as it is. Else the default profile when it is that server's, else the profile of the
    file that has its address, else just the address.
    """
    gathered = gather(options, env=env, config_path=config_path)
    said = {name: value for name, value in (options or {}).items() if value}
    if "server" in said or "profile" in said or gathered.url == url:
        return gathered
    path = config_path or (Path(said["config"]) if "config" in said else default_config_path())
    known = [name for name, profile in read_profiles(path).items() if profile.url and parse_server(profile.url) == url]
    extra = {"profile": known[0]} if known else {"server": url}
    return gather({**said, **extra}, env=env, config_path=config_path)


def _first(*values: str | None) -> str:
    return next((value for value in values if value), "")


def _for_server(name: str, profile: Profile, url: str) -> tuple[str, Profile]:
    """Drop what the profile says about its own server when the job goes to another one."""
    if not url or not profile.url or origin(parse_server(profile.url)) == origin(url):
        return name, profile
    empty = Profile()
    return "", msgspec.structs.replace(profile, **{key: getattr(empty, key) for key in SERVER_KEYS})


def settle(gathered: Gathered) -> Settings:
    """Return checked settings without credentials.

    Raises:
        SettingsError: a value is out of range, no server is named, or plain http would leave this machine.
    """
    if not gathered.url:
        raise SettingsError(
            "no server is named: set XNAT_URL, give --server URL, or write a profile (see --config and README)"
        )
    scheme, host, _ = origin(gathered.url)
    if scheme == "http" and not is_loopback(host) and not gathered.is_on("insecure_http"):
        raise SettingsError(
            f"{gathered.url} is plain http: the password and all data could be read on the way."
            " Use https, or --insecure-http if the way is trusted"
        )
    return Settings(
        server=ServerConfig(
            url=gathered.url,
            user=gathered.user,
            profile=gathered.profile_name,
            ca_bundle=_file(gathered, "ca_bundle"),
            client_cert=_file(gathered, "client_cert"),
            proxy=gathered.text("proxy"),
            verify_tls=not gathered.is_on("insecure_tls"),
            insecure_http=gathered.is_on("insecure_http"),
        ),
        state_dir=open_state_folder(gathered.text("state_dir")),
        retry=_retry(gathered),
        pool=_pool(gathered),
    )


def _file(gathered: Gathered, name: str) -> str:
    text = gathered.text(name)
    if not text:
        return ""
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise SettingsError(f"--{name.replace('_', '-')}: there is no file {path}", path=str(path))
    return str(path)


def _retry(gathered: Gathered) -> RetryConfig:
    text = gathered.text("give_up_after")
    if not text:
        return RetryConfig()
    return _checked({"give_up_after_s": parse_duration(text, "--give-up-after")}, RetryConfig, "--give-up-after")


def _pool(gathered: Gathered) -> PoolConfig:
    wanted: dict[str, Any] = {"bwlimit": gathered.text("bwlimit")}
    if gathered.text("workers"):
        wanted |= {"workers": gathered.values["workers"], "workers_max": gathered.values["workers"]}
    if gathered.text("until"):
        wanted["until"] = parse_time_of_day(gathered.text("until"), "--until")
    if gathered.text("max_bytes"):
        wanted["max_bytes"] = parse_size(gathered.values["max_bytes"], "--max-bytes")
    if gathered.text("grace"):
        wanted["grace_s"] = parse_duration(gathered.values["grace"], "--grace")
    return _checked(wanted, PoolConfig, "--workers, --grace or --max-bytes")


def _checked(wanted: dict[str, Any], kind: type[Any], named: str) -> Any:
    try:
        return msgspec.convert(wanted, kind)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{named}: {error}") from error


def since_of(gathered: Gathered) -> str:
    """Return ``--since`` as ``YYYY-MM-DD``, or an empty string.

    Raises:
        SettingsError: not a date.
    """
    text = gathered.text("since")
    return parse_date(text, "--since") if text else ""


def load_settings(
    options: Mapping[str, Any] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    config_path: Path | None = None,
    ask: Ask | None = None,
) -> Settings:
    """Return everything a job needs: checked values and credentials.

    Args:
        options: as the command line's, with underscores: ``server``, ``user``, ``profile``, ``workers``, …
        env: environment; ``os.environ`` by default.
        config_path: profile file; by default the platform's place.
        ask: asks a person for what is missing; None never asks.

    Raises:
        SettingsError: naming the option, file or key that is wrong, or the ways to give a password.
    """
    gathered = gather(options, env=env, config_path=config_path)
    settings = settle(gathered)
    found = credentials_of(gathered, env=env, ask=ask)
    server = msgspec.structs.replace(settings.server, user=found.user)
    return msgspec.structs.replace(settings, server=server, credentials=found)


def credentials_of(gathered: Gathered, *, env: Mapping[str, str] | None = None, ask: Ask | None = None) -> Credentials:
    """Return the credentials for the gathered server.

    Raises:
        SettingsError: none are found; the message tells the ways.
    """
    sources = Sources(
        url=gathered.url,
        user=gathered.user,
        profile=gathered.profile,
        command=gathered.password_command,
        environment_fits=gathered.environment_fits,
    )
    return find_credentials(sources, env=os.environ if env is None else env, ask=ask)
