"""``download REMOTE… --to DIR``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from xferengine.cli.options import LIMITS, REMOTE_SELECTION, SERVER, Request, SectionedCommand, common

if TYPE_CHECKING:
    from xferengine.settings.load import Gathered
    from xferengine.settings.slices import Settings


@click.command(cls=SectionedCommand, short_help="Bring files of an archive to a folder.")
@click.argument("remotes", nargs=-1, metavar="REMOTE…", required=True)
@click.option("--to", "target", metavar="DIR", required=True, type=click.Path(file_okay=False), help="Folder to fill.")
@click.option(
    "--verify",
    type=click.Choice(["digest", "read-back", "none"]),
    default="digest",
    show_default=True,
    help="digest: every file by the server's MD5, by size where it has none. read-back: what has none is read twice;"
    " that proves the way, not the server's disk. none: sizes only.",
)
@click.option(
    "--sample",
    metavar="N%",
    default="100%",
    show_default=True,
    help="With --verify read-back: share of the files without MD5 that is read twice.",
)
@click.option("--stale-ok", is_flag=True, help="Files whose MD5 in the catalog is out of date are no failure.")
@click.option("--ask-refresh", is_flag=True, help="Have the server compute missing MD5s first, where you may.")
@click.option("--dry-run", is_flag=True, help="Show the plan and move nothing.")
@common(SERVER, REMOTE_SELECTION, LIMITS)
def download(request: Request, **options: Any) -> int:
    """Bring scans, sessions, resources, files or whole projects to a folder, each file verified.

    REMOTE is [PROFILE]:PROJECT[/SUBJECT[/EXPERIMENT[/scans/ID][/RESOURCE]]], by labels or accession ids; resources/NAME
    names one of a project or subject, /files/PATH after a resource one file. Files lie where XNAT's own archives put
    them: DIR/EXPERIMENT/scans/ID-TYPE/resources/LABEL/files/…

    A file that is there and equal is not fetched again, one that differs is replaced. Run the same command again to
    continue after any interruption.
    """
    from xferengine.cli.remotes import common_profile
    from xferengine.cli.running import run_verb
    from xferengine.jobs.plan import RunOptions

    profile, remotes = common_profile(options["remotes"])
    gathered = request.gather(profile=profile)
    settings = request.settings(gathered)
    spec = build_spec(options, remotes, gathered, settings)
    run_options = RunOptions(dry_run=options["dry_run"], yes=True, handle_signals=True)
    return run_verb(request, gathered, settings, spec=spec, options=run_options)


def build_spec(options: dict[str, Any], remotes: tuple[str, ...], gathered: Gathered, settings: Settings) -> Any:
    """Return the checked spec of a download.

    Raises:
        SettingsError: a filter or a value is wrong.
    """
    from xferengine.jobs.remote_selection import RemoteSelection
    from xferengine.jobs.spec import DownloadSpec
    from xferengine.settings.load import since_of

    made = DownloadSpec(
        remotes=remotes,
        server_url=settings.server.url,
        target=os.path.abspath(options["target"]),
        verify=options["verify"],
        sample=_percentage(options["sample"]),
        stale_ok=options["stale_ok"],
        ask_refresh=options["ask_refresh"],
        include=gathered.several("include"),
        exclude=gathered.several("exclude"),
        since=since_of(gathered),
    )
    RemoteSelection(made.include, made.exclude, made.since)
    return made


def _percentage(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 < value <= 100:
        raise click.UsageError(f"--sample takes a percentage above 0, like 5%, not {text!r}")
    return value
