"""``login``, ``logout``, ``whoami``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from xferengine.cli import exitcodes
from xferengine.cli.options import SERVER, Request, SectionedCommand, common
from xferengine.cli.terminal import run_in
from xferengine.errors import SettingsError

if TYPE_CHECKING:
    from xferengine.settings.slices import Credentials


@click.command(cls=SectionedCommand, short_help="Check a password and keep it.")
@common(SERVER)
def login(request: Request) -> int:
    """Ask for a password, try it once, and keep it in the keychain of this machine.

    Later commands for the same server find it there. Where there is no keychain, use XNAT_PASS, ~/.netrc (mode 600)
    or --password-command instead.
    """
    import msgspec

    from xferengine.cli.ask import ask_credentials
    from xferengine.jobs import whoami as question
    from xferengine.settings.load import settle

    gathered = request.gather()
    settings = settle(gathered)
    keychain = _keychain()
    if not request.terminal.can_ask:
        raise SettingsError("login asks for a password and needs a terminal; scripts use XNAT_PASS or ~/.netrc")
    found = ask_credentials(gathered.url, gathered.user)
    tried = msgspec.structs.replace(settings, credentials=found)
    answer = run_in(request.terminal, lambda: question.whoami(tried))
    _store(keychain, gathered.url, found)
    if not request.terminal.wants_json:
        request.terminal.say(f"Logged in to {gathered.url} as {_safe(answer.user)}; the keychain holds the password.")
    return exitcodes.OK


@click.command(cls=SectionedCommand, short_help="Forget a password.")
@common(SERVER)
def logout(request: Request) -> int:
    """Remove the password that login kept for a server."""
    from xferengine.settings.credentials import Sources, from_keyring, keyring_service

    gathered = request.gather()
    if not gathered.url:
        raise SettingsError("no server is named: set XNAT_URL, give --server URL or --profile NAME")
    keychain = _keychain()
    found = from_keyring(Sources(url=gathered.url, user=gathered.user, profile=gathered.profile), must=True)
    if found is None:
        request.terminal.tell(f"The keychain holds no password for {gathered.url}.")
        return exitcodes.OK
    try:
        keychain.delete_password(keyring_service(gathered.url), found.user)
    except keychain.errors.KeyringError as error:
        raise SettingsError(f"the keychain did not let go of it ({type(error).__name__})") from error
    if not request.terminal.wants_json:
        request.terminal.say(f"The password for {gathered.url} is forgotten.")
    return exitcodes.OK


@click.command(cls=SectionedCommand, short_help="Show who the server takes you for.")
@common(SERVER)
def whoami(request: Request) -> int:
    """Log in and show who the server takes you for."""
    from xferengine.jobs import whoami as question

    settings = request.settings(request.gather())
    answer = run_in(request.terminal, lambda: question.whoami(settings))
    facts = {name: getattr(answer, name) for name in answer.__struct_fields__}
    if request.terminal.wants_json:
        from xferengine.cli.render_json import record_line

        request.terminal.say(record_line("whoami", facts))
    else:
        width = max(len(name) for name in facts)
        request.terminal.say(*(f"{name:<{width}}  {_safe(str(value))}" for name, value in facts.items() if value != ""))
    return exitcodes.OK


def _safe(text: str) -> str:
    from xferengine.kit.escape import for_terminal

    return for_terminal(text)


def _keychain() -> Any:
    """Return the keychain.

    Raises:
        SettingsError: there is none; the message tells the other ways.
    """
    from xferengine.settings.credentials import open_keyring

    keychain = open_keyring()
    if keychain is None:
        raise SettingsError(
            "no keychain here: pip install 'xferengine[keyring]', or use XNAT_PASS, ~/.netrc or --password-command"
        )
    return keychain


def _store(keychain: Any, url: str, found: Credentials) -> None:
    from xferengine.settings.credentials import keyring_service

    service = keyring_service(url)
    try:
        keychain.set_password(service, found.user, found.reveal())
        if keychain.get_password(service, found.user) != found.reveal():  # some keychains take all and keep nothing
            raise keychain.errors.PasswordSetError
    except keychain.errors.KeyringError as error:
        raise SettingsError(
            f"the password is right, but the keychain did not take it ({type(error).__name__}):"
            " use XNAT_PASS, ~/.netrc (mode 600) or --password-command"
        ) from error
