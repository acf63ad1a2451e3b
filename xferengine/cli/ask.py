"""Questions to a person. Whoever calls has made sure that one is there."""

from __future__ import annotations

import getpass
import os
import sys

from xferengine.errors import SettingsError
from xferengine.kit.escape import for_terminal
from xferengine.settings.slices import Credentials


def ask_credentials(url: str, user: str) -> Credentials:
    """Ask for a user name (when none is known) and a password.

    Raises:
        SettingsError: the answer is empty.
    """
    import click

    shown = for_terminal(url)
    name = user or click.prompt(f"User name for {shown}", err=True).strip()
    secret = getpass.getpass(f"Password of {for_terminal(name)} for {shown}: ")
    if not name or not secret:
        raise SettingsError("an empty user name or password is not sent: accounts lock after wrong ones")
    return Credentials(name, secret)


async def ask_yes_no(question: str) -> bool:
    """Ask and return whether the answer begins with y; an empty answer and an end of input mean no.

    Cancellation: the question is given up at once.
    """
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    answer = await _read_line(sys.stdin.fileno())
    return answer.strip().lower() in {b"y", b"yes"}


async def _read_line(handle: int) -> bytes:
    """Read what a terminal hands over after Return.

    Not with ``input`` in a thread: a thread that still holds the standard input at the end kills the interpreter.
    """
    import anyio
    import anyio.to_thread

    if os.name == "posix":
        await anyio.wait_readable(handle)
        return os.read(handle, 4096)
    return await anyio.to_thread.run_sync(os.read, handle, 4096, abandon_on_cancel=True)
