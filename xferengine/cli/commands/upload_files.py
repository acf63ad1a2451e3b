"""``upload-files PATH… REMOTE``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from xferengine.cli.options import LIMITS, SERVER, CommonOption, Request, SectionedCommand, common

if TYPE_CHECKING:
    from xferengine.jobs.spec import FilesSpec
    from xferengine.settings.load import Gathered
    from xferengine.settings.slices import Settings


@click.command("upload-files", cls=SectionedCommand, short_help="Send any files into a resource.")
@click.argument("paths", nargs=-1, metavar="PATH…", type=click.Path(exists=True))
@click.argument("remote", metavar="REMOTE")
@click.option("--content", metavar="TEXT", default="", help="Content of the resource, if it is made.")
@click.option("--format", "form", metavar="TEXT", default="", help="Format of the resource, if it is made.")
@click.option("--tags", metavar="TAG,…", default="", help="Tags of the resource, if it is made.")
@click.option("--dry-run", is_flag=True, help="Show the plan and send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before sending.")
@click.option(
    "--include",
    cls=CommonOption,
    section="Selection",
    metavar="file=GLOB",
    multiple=True,
    help="Take only files whose name, or path in the resource, matches. Repeatable.",
)
@click.option(
    "--exclude",
    cls=CommonOption,
    section="Selection",
    metavar="file=GLOB",
    multiple=True,
    help="Leave out files that match. Repeatable.",
)
@common(SERVER, LIMITS)
def upload_files(request: Request, **options: Any) -> int:
    """Send files of any kind into a resource of a project, subject, session, scan or assessor.

    REMOTE is [PROFILE]:PROJECT/SUBJECT/SESSION/RESOURCE, with scans/ID, assessors/ID or reconstructions/ID before
    RESOURCE for what lies below a session. An assessor or reconstruction has resources that went in and that came
    out: write assessors/ID/in/RESOURCE or assessors/ID/out/RESOURCE; without either, out is meant. Resources of the
    assessor itself are written with its own label or id in the place of SESSION. For the resources of a project or
    subject write [PROFILE]:PROJECT/resources/RESOURCE or [PROFILE]:PROJECT/SUBJECT/resources/RESOURCE. A resource that
    does not exist is made.

    \b
    Files below a folder keep their path inside it; the folder's own name is not part of it:
      xferengine upload-files out notes.txt :P/S1/S1_MR/RESULTS
    sends out/maps/t1.nii as maps/t1.nii, and notes.txt as notes.txt.

    Files that are there already, with the same size and digest, are not sent; others of the same name are replaced.
    Nothing in the resource is ever removed. Every file is looked up afterwards. Run the same command again to continue
    after any interruption.
    """
    from xferengine.cli.running import run_verb
    from xferengine.jobs.plan import RunOptions
    from xferengine.model.remote import parse_remote

    if not options["paths"]:
        raise click.UsageError("name at least one file or folder to send, then the resource")
    gathered = request.gather(profile=parse_remote(options["remote"]).profile)
    settings = request.settings(gathered)
    spec = build_spec(options, gathered, settings)
    run_options = RunOptions(dry_run=options["dry_run"], yes=options["yes"], handle_signals=True)
    return run_verb(request, gathered, settings, spec=spec, options=run_options)


def build_spec(options: dict[str, Any], gathered: Gathered, settings: Settings) -> FilesSpec:
    """Return the checked spec.

    Raises:
        SettingsError: the remote names no resource, or a filter is wrong; nothing was sent.
    """
    from xferengine.jobs.files_target import parse_target
    from xferengine.jobs.files_walk import file_selection
    from xferengine.jobs.spec import FilesSpec

    spec = FilesSpec(
        paths=tuple(dict.fromkeys(os.path.abspath(path) for path in options["paths"])),
        remote=":" + parse_target(options["remote"]).text,
        server_url=settings.server.url,
        content=options["content"],
        format=options["form"],
        tags=options["tags"],
        include=gathered.several("include"),
        exclude=gathered.several("exclude"),
    )
    file_selection(spec)
    return spec
