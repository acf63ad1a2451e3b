"""``verify A B``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from xferengine.cli.options import LIMITS, REMOTE_SELECTION, SERVER, Request, SectionedCommand, common
from xferengine.model.remote import is_remote, parse_remote

if TYPE_CHECKING:
    from xferengine.jobs.spec import VerifySpec
    from xferengine.settings.load import Gathered
    from xferengine.settings.slices import Settings


@click.command(cls=SectionedCommand, short_help="Compare a server with a folder or another server.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@common(SERVER, REMOTE_SELECTION, LIMITS)
def verify(request: Request, a: str, b: str, **_: Any) -> int:
    """Compare two places without moving anything: a server with a folder, in either order, or two servers.

    A server is [PROFILE]:PROJECT[/SUBJECT[/EXPERIMENT[/scans/ID][/RESOURCE]]], as for download. A folder holds files
    where download puts them: DIR/EXPERIMENT/scans/ID-TYPE/resources/LABEL/files/… Of a folder that holds several
    projects, compare :PROJECT with DIR/PROJECT, or :* with all of it.

    Files are compared by MD5 where both sides have one, else by size; the report says which. Every run reads the local
    files anew; only one that was interrupted goes on where it was. What a server has is taken from its catalogs.

    On two servers, what A and B name is compared whatever its label; below that, experiments go together by subject and
    label, assessors by label, scans by ID. The options under "Server" are about the first server; the second is reached
    by its profile.

    Exit code 0: all equal. 4: something differs or is only on one side. 3: something could not be compared. 7: what
    was asked for is not on the server, or not for this account.
    """
    from xferengine.cli.running import run_verb
    from xferengine.jobs.plan import RunOptions

    if not is_remote(a) and not is_remote(b):
        raise click.UsageError("verify compares with a server: A or B must be a remote, like :PROJECT")
    gathered, settings = _settings(request, [text for text in (a, b) if is_remote(text)])
    spec = build_spec(a, b, gathered, settings)
    return run_verb(request, gathered, settings, spec=spec, options=RunOptions(yes=True, handle_signals=True))


def _settings(request: Request, remotes: list[str]) -> tuple[Gathered, Settings]:
    """Return settings for the first server, with those of the second where it has another profile."""
    import msgspec

    profiles = [parse_remote(text).profile for text in remotes]
    if len(set(profiles)) == 1:
        gathered = request.gather(profile=profiles[0])
        return gathered, request.settings(gathered)
    apart = request.apart()
    other = apart.gather(profile=profiles[1])
    gathered = request.gather(profile=profiles[0])  # the last one gathered decides about output and log
    settings = request.settings(gathered)
    return gathered, msgspec.structs.replace(settings, other=apart.settings(other))


def build_spec(a: str, b: str, gathered: Gathered, settings: Settings) -> VerifySpec:
    """Return the checked spec of a comparison.

    Raises:
        SettingsError: places that cannot be compared, or a filter that is none.
        click.UsageError: a folder that is none.
    """
    from xferengine.jobs.remote_selection import RemoteSelection
    from xferengine.jobs.spec import VerifySpec
    from xferengine.jobs.verify_ends import ends_of
    from xferengine.settings.load import since_of

    spec = VerifySpec(
        a=_place(a),
        b=_place(b),
        server_url=settings.server.url,
        other_url=settings.other.server.url if settings.other is not None else "",
        include=gathered.several("include"),
        exclude=gathered.several("exclude"),
        since=since_of(gathered),
    )
    ends_of(spec)
    RemoteSelection(spec.include, spec.exclude, spec.since)
    return spec


def _place(text: str) -> str:
    if is_remote(text):
        return f":{parse_remote(text).text}"
    if not os.path.isdir(text):
        raise click.UsageError(f"{text!r} is no folder; a server is written PROFILE:PROJECT or :PROJECT")
    return os.path.abspath(text)
