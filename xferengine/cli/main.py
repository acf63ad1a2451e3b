"""The program: finds the command, runs it, turns what happened into an exit code.

This is the only place that starts an event loop and that changes process-wide settings (allocator, loop); both are
left alone when ``XFERENGINE_PLAIN=1`` is set.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module

import click

from xferengine._version import VERSION
from xferengine.cli import exitcodes
from xferengine.cli.terminal import Terminal, find_terminal
from xferengine.errors import XferError

logger = logging.getLogger(__name__)

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("xferengine.cli.commands.demo:demo", "Show everything on made-up data; needs nothing but the install."),
    "upload": ("xferengine.cli.commands.upload:upload", "Send DICOM sessions from folders, files, zip and tar."),
    "upload-files": ("xferengine.cli.commands.upload_files:upload_files", "Send any files into a resource."),
    "download": ("xferengine.cli.commands.download:download", "Bring files of an archive to a folder, verified."),
    "verify": ("xferengine.cli.commands.verify:verify", "Compare a server with a folder or another server."),
    "jobs": ("xferengine.cli.commands.jobs:jobs", "List, resume, retry, cancel and report jobs."),
    "prearchive": ("xferengine.cli.commands.prearchive:prearchive", "List and handle sessions in the prearchive."),
    "api": ("xferengine.cli.commands.api:api", "Call any endpoint of the server."),
    "doctor": ("xferengine.cli.commands.doctor:doctor", "Examine a server and say what was found."),
    "emulator": ("xferengine.cli.commands.emulator:emulator", "Run the embedded XNAT emulator."),
    "login": ("xferengine.cli.commands.login:login", "Check a password and keep it in the keychain."),
    "logout": ("xferengine.cli.commands.login:logout", "Forget a password that login kept."),
    "whoami": ("xferengine.cli.commands.login:whoami", "Show who the server takes you for."),
}
"""Verb → where its command is, and its line in ``--help``: no command is imported before it is used."""


class LazyGroup(click.Group):
    """A group that imports only the command that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        return getattr(import_module(module), name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:<4} {text}" for code, text in exitcodes.MEANINGS.items())


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    invoke_without_command=False,
)
@click.version_option(VERSION, prog_name="xferengine", message="%(prog)s %(version)s")
def cli() -> None:
    """Bulk transfer for XNAT: verified, resumable, kind to the server.

    Each command has its own --help. Servers and logins: XNAT_URL, XNAT_USER and XNAT_PASS, or --server and --user,
    or a profile file; a password is never an argument.
    """


def start_loop(work: Callable[[], Awaitable[object]]) -> object:
    """Run ``work`` on a new event loop, uvloop where there is one."""
    import anyio

    plain = os.environ.get("XFERENGINE_PLAIN") == "1"
    if not plain:
        from xferengine.kit.malloc import tune_malloc

        tune_malloc()
    has_uvloop = not plain and sys.platform != "win32" and _has("uvloop")
    return anyio.run(work, backend="asyncio", backend_options={"use_uvloop": has_uvloop})


def _has(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of ``xferengine``; ends the process with the command's exit code."""
    terminal = find_terminal()
    terminal.run = start_loop
    code = call(terminal, args)
    if terminal.broken:
        # what is left in the stream's buffer has no reader any more: keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(exitcodes.DISK_FULL if terminal.lost_output and code == exitcodes.OK else code)


def call(terminal: Terminal, args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every error has become words on the terminal."""
    # a command line that cannot be parsed still owes its reader a summary
    terminal.wants_json = "--json" in (sys.argv[1:] if args is None else args)
    try:
        result = cli.main(args=args, prog_name="xferengine", standalone_mode=False, obj=terminal)
        return result if isinstance(result, int) else exitcodes.OK
    except click.exceptions.NoArgsIsHelpError as error:
        terminal.tell(error.format_message())
        return exitcodes.USAGE
    except click.ClickException as error:
        terminal.tell(*_usage_lines(error))
        return _ended(terminal, "UsageError", error.format_message(), exitcodes.USAGE)
    except (click.Abort, KeyboardInterrupt):
        terminal.tell("Interrupted.")
        return _ended(terminal, "Interrupted", "interrupted", exitcodes.INTERRUPTED)
    except XferError as error:
        return _failed(terminal, error)
    except BrokenPipeError:  # of click's own help; what a job writes goes through the terminal, which bears it
        terminal.broken = True
        return exitcodes.OK
    except Exception as error:  # noqa: BLE001 - the program's last line: a bug becomes words, a log entry and exit 1
        return _failed(terminal, known) if (known := _single(error)) else _bug(terminal, error)


def _usage_lines(error: click.ClickException) -> list[str]:
    from xferengine.kit.escape import for_terminal

    context = error.ctx if isinstance(error, click.UsageError) else None
    help_line = [f"Try  {context.command_path} --help"] if context else []
    return [f"Error: {for_terminal(error.format_message())}", *help_line]


def _failed(terminal: Terminal, error: XferError) -> int:
    from xferengine.kit.escape import for_terminal

    code = exitcodes.code_of(error)
    terminal.tell(f"Error: {for_terminal(error.message)}")
    return _ended(terminal, error.kind, error.message, code)


def _single(error: BaseException) -> XferError | None:
    """Return the error of ours that a task group wrapped, if that is all it wrapped."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, XferError) else None


def _bug(terminal: Terminal, error: Exception) -> int:
    """Say that this is our fault. Its text may hold labels: only ``--debug`` shows it, the log gets the places."""
    places = "".join(traceback.format_tb(error.__traceback__))
    logger.critical("bug %s\n%s", type(error).__name__, places)
    if terminal.debug:
        terminal.tell("".join(traceback.format_exception(error)).rstrip())
    where = f"Details are in {terminal.log_file}." if terminal.log_file else "Run it again with --debug to see where."
    terminal.tell(f"Error: a bug in xferengine ({type(error).__name__}). {where} Jobs stay resumable.")
    return _ended(terminal, type(error).__name__, "a bug in xferengine", exitcodes.BUG)


def _ended(terminal: Terminal, kind: str, detail: str, code: int) -> int:
    """With ``--json`` the last line of standard output is a summary, also when nothing could begin."""
    if terminal.wants_json:
        from xferengine.cli.render_json import failure_line

        terminal.say(failure_line(kind, detail, code))
    return code
