"""Options that many commands share; they are accepted after the verb.

@click.command(cls=SectionedCommand)
@common(SERVER, LIMITS)
def verb(request: Request) -> int: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from xferengine.cli.terminal import Terminal

if TYPE_CHECKING:
    from xferengine.settings.load import Gathered
    from xferengine.settings.slices import Settings


class CommonOption(click.Option):
    """A shared option; ``section`` is its heading in ``--help``."""

    def __init__(self, *args: Any, section: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help shows its own options first, then the shared ones by section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write options under their headings."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(param, "section", "Options"), []).append(record)
        for title in sorted(sections, key=lambda name: name != "Options"):
            with formatter.section(title):
                formatter.write_dl(sections[title])


def _options(section: str, *specs: tuple[tuple[str, ...], dict[str, Any]]) -> tuple[Callable[[Any], Any], ...]:
    return tuple(click.option(*names, cls=CommonOption, section=section, **extra) for names, extra in specs)


FLAG: dict[str, Any] = {"is_flag": True, "default": False}

BASIC = _options(
    "Output and state",
    (("--state-dir",), {"metavar": "DIR", "help": "Folder of jobs (XFERENGINE_STATE_DIR)."}),
    (("--config",), {"metavar": "FILE", "help": "Profile file instead of the platform's own."}),
    (("--profile",), {"metavar": "NAME", "help": "Profile to use."}),
    (("--log-file",), {"metavar": "FILE", "help": "Write a log: ids only, no labels, no credentials."}),
    (("--debug",), FLAG | {"help": "Log more; show where an unexpected error happened."}),
    (("--no-progress",), FLAG | {"help": "No progress bars or lines."}),
    (("-q", "--quiet"), FLAG | {"help": "Only say what went wrong."}),
    (("--json",), FLAG | {"help": "JSON lines on standard output, the last one the summary."}),
)
SERVER = _options(
    "Server",
    (("--server",), {"metavar": "URL", "help": "Address of the server (XNAT_URL)."}),
    (("--user",), {"metavar": "NAME", "help": "User name (XNAT_USER)."}),
    (("--password-command",), {"metavar": "COMMAND", "help": "Program that prints the password; run without a shell."}),
    (("--proxy",), {"metavar": "URL", "help": "HTTP proxy."}),
    (("--ca-bundle",), {"metavar": "FILE", "help": "Certificates (PEM) to trust instead of the system's."}),
    (("--client-cert",), {"metavar": "FILE", "help": "Client certificate with key (PEM)."}),
    (("--insecure-http",), FLAG | {"help": "Allow plain http to another machine."}),
    (("--insecure-tls",), FLAG | {"help": "Do not check the server's certificate. Anyone on the way can listen."}),
)
SELECTION = _options(
    "Selection",
    (("--include",), {"metavar": "KEY=GLOB", "multiple": True,
                      "help": "Take only what matches: subject, modality, scan, scan-type, file. Repeatable."}),
    (("--exclude",), {"metavar": "KEY=GLOB", "multiple": True, "help": "Leave out what matches. Repeatable."}),
    (("--since",), {"metavar": "DATE", "help": "Only studies whose StudyDate is this day (YYYY-MM-DD) or later."}),
)  # fmt: skip
REMOTE_SELECTION = _options(
    "Selection",
    (("--include",), {"metavar": "KEY=GLOB", "multiple": True,
                      "help": "Take only what matches: project, subject, experiment, xsiType, scan, scan-type,"
                              " resource, file. Repeatable."}),
    (("--exclude",), {"metavar": "KEY=GLOB", "multiple": True, "help": "Leave out what matches. Repeatable."}),
    (("--since",), {"metavar": "DATE", "help": "Only experiments whose date is this day (YYYY-MM-DD) or later."}),
)  # fmt: skip
LIMITS = _options(
    "Limits",
    (("--workers",), {"metavar": "N", "type": click.IntRange(1, 256),
                      "help": "At most so many transfers side by side (default: found while running)."}),
    (("--bwlimit",), {"metavar": "RATE|TIMETABLE", "help": "Bytes per second: 10M, or '08:00,512k 18:00,off'."}),
    (("--until",), {"metavar": "HH:MM", "help": "Stop cleanly at that time; can be resumed."}),
    (("--max-bytes",), {"metavar": "SIZE", "help": "Stop cleanly after so much; can be resumed."}),
    (("--give-up-after",), {"metavar": "TIME", "help": "How long to wait for a server that is down (default 1h)."}),
    (("--grace",), {"metavar": "TIME", "help": "How long Ctrl-C waits for transfers under way (default 30s)."}),
)  # fmt: skip


class Request:
    """One call of the program: what the shared options say, and the terminal it talks to."""

    def __init__(self, options: dict[str, Any], terminal: Terminal) -> None:
        self._options = options
        self.terminal = terminal

    def gather(self, *, profile: str = "") -> Gathered:
        """Bring options, environment and profile file together.

        Args:
            profile: as in ``PROFILE:PROJECT``; wins over ``--profile``.
        """
        from xferengine.settings.load import gather

        return self._used(gather(self._settings_options(profile)))

    def gather_for(self, url: str) -> Gathered:
        """Do the same for the server of a job: options decide, then whatever knows that server."""
        from xferengine.settings.load import gather_for

        return self._used(gather_for(url, self._settings_options("")))

    def apart(self) -> Request:
        """Return the same call without what it says of a server: for the second of two."""
        options = {name: value for name, value in self._options.items() if name not in {*SERVER_NAMES, "profile"}}
        return Request(options, self.terminal)

    def _settings_options(self, profile: str) -> dict[str, Any]:
        options = {name: value for name, value in self._options.items() if name != "debug"}
        return options | ({"profile": profile} if profile else {})

    def _used(self, gathered: Gathered) -> Gathered:
        from xferengine.cli.logs import set_up_logging

        debug = bool(self._options.get("debug"))
        self.terminal.wants_json = gathered.is_on("json")
        self.terminal.debug = debug
        self.terminal.log_file = gathered.text("log_file")
        set_up_logging(self.terminal, debug=debug)
        return gathered

    def settings(self, gathered: Gathered) -> Settings:
        """Return checked settings with credentials; asks for a password when a person is there."""
        import msgspec

        from xferengine.cli.ask import ask_credentials
        from xferengine.settings.load import credentials_of, settle

        settings = settle(gathered)
        if not settings.server.verify_tls:
            self.terminal.tell(
                "WARNING: --insecure-tls: the server's certificate is not checked.",
                "         Anyone on the way can read the password and change the data.",
            )
        found = credentials_of(gathered, ask=ask_credentials if self.terminal.can_ask else None)
        server = msgspec.structs.replace(settings.server, user=found.user)
        return msgspec.structs.replace(settings, server=server, credentials=found)


def common(*groups: tuple[Callable[[Any], Any], ...]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add option groups (and always ``BASIC``) to a command; it receives them as one ``request``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        decorators = [option for group in (*groups, BASIC) for option in group]

        @functools.wraps(function)
        def wrapper(**values: Any) -> Any:
            terminal = click.get_current_context().find_object(Terminal)
            if terminal is None:
                raise click.ClickException("no terminal was handed in")
            picked = {name: values.pop(name) for name in list(values) if name in COMMON_NAMES}
            terminal.wants_json = bool(picked.get("json"))
            terminal.debug = bool(picked.get("debug"))
            return function(Request(picked, terminal), **values)

        for option in reversed(decorators):
            wrapper = option(wrapper)
        return wrapper

    return decorate


def _names(*options: Callable[[Any], Any]) -> frozenset[str]:
    @click.command()
    def probe() -> None:
        """Carry options for a moment."""

    for option in options:
        option(probe)
    return frozenset(str(param.name) for param in probe.params)


COMMON_NAMES = _names(*BASIC, *SERVER, *SELECTION, *LIMITS)
SERVER_NAMES = _names(*SERVER)


def split_project(text: str) -> tuple[str, str]:
    """Return (profile, project) of ``PROJECT``, ``PROFILE:PROJECT`` or ``:PROJECT``.

    Raises:
        click.UsageError: no project, or more than a project.
    """
    profile, colon, project = text.rpartition(":")
    if not project or "/" in project or ":" in profile:
        raise click.UsageError(f"-P takes PROJECT or PROFILE:PROJECT, not {text!r}")
    return (profile if colon else ""), project
