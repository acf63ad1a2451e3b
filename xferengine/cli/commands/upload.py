"""``upload PATH… -P PROJECT``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xferengine.cli.options import (
    LIMITS,
    SELECTION,
    SERVER,
    Request,
    SectionedCommand,
    common,
    split_project,
)

if TYPE_CHECKING:
    from xferengine.jobs.spec import UploadSpec
    from xferengine.settings.load import Gathered
    from xferengine.settings.slices import Settings

OVERWRITE_HELP = (
    "When the session is in the archive already. none: do not send it (default). append: add the instances it does not"
    " have, leave those it has. delete: send all and replace those it has; in spite of the name nothing is removed."
)
ROW_HELP = (
    "When somebody else has the session in the prearchive. fail: do not send it (default); join: add to it;"
    " wait: until it is gone."
)


@click.command(cls=SectionedCommand, short_help="Send DICOM sessions.")
@click.argument("paths", nargs=-1, metavar="PATH…", type=click.Path(exists=True))
@click.option("-P", "--project", metavar="[PROFILE:]PROJECT", help="Project to send to.")
@click.option("--subject", metavar="TEMPLATE", help="Subject label (default {PatientID|StudyInstanceUID}).")
@click.option(
    "--session",
    metavar="TEMPLATE",
    help="Session label (default {PatientID|unknown}_{StudyDate|undated}_{StudyHash}).",
)
@click.option(
    "--map",
    "map_file",
    metavar="FILE.csv",
    type=click.Path(exists=True, dir_okay=False),
    help="Which study goes where: path, StudyInstanceUID or PatientID; project, subject, session.",
)
@click.option(
    "--dest",
    type=click.Choice(["archive", "prearchive"]),
    default="archive",
    show_default=True,
    help="Where sessions end.",
)
@click.option("--overwrite", type=click.Choice(["none", "append", "delete"]), default="none", help=OVERWRITE_HELP)
@click.option("--existing-row", type=click.Choice(["fail", "join", "wait"]), default="fail", help=ROW_HELP)
@click.option(
    "--verify",
    type=click.Choice(["uid", "count", "none"]),
    default="uid",
    show_default=True,
    help="How the archive is checked afterwards: every instance by its UID, counts only, or not.",
)
@click.option("--extras", metavar="LABEL", default="", help="Send files that are no DICOM into this session resource.")
@click.option("--min-age", metavar="TIME", default="", help="Leave out files changed within this time (10m, 1h).")
@click.option("--no-wait", is_flag=True, help="Do not wait for the archive; nothing is verified then.")
@click.option("--dry-run", is_flag=True, help="Show the plan and send nothing.")
@click.option("--plan-out", metavar="FILE", type=click.Path(dir_okay=False), help="Write the plan.")
@click.option(
    "--plan",
    "plan_in",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Run exactly this plan (made with --plan-out); PATH and -P are taken from it.",
)
@click.option("--allow-refused", is_flag=True, help="Instances that a server filter drops are no failure.")
@click.option(
    "--accept-overwrite",
    is_flag=True,
    help="Agree that a project replaces files by itself (code 5), or that two studies share a session.",
)
@click.option("--yes", is_flag=True, help="Do not ask before sending.")
@common(SERVER, SELECTION, LIMITS)
def upload(request: Request, **options: Any) -> int:  # fmt: skip
    """Send DICOM sessions to a project: plan, ask, send, archive, verify, report.

    PATH is a folder, a DICOM file of any name, or a .zip, .tar or .tar.gz (read as it is, nothing is unpacked to disk).
    Run the same command again to continue after any interruption.
    """
    from xferengine.cli.running import run_verb
    from xferengine.jobs.plan import RunOptions

    profile, project = split_project(options["project"]) if options["project"] else ("", "")
    planned = _planned(options)
    gathered = request.gather_for(planned.server_url) if planned else request.gather(profile=profile)
    settings = request.settings(gathered)
    spec = planned or build_spec(options, project, gathered, settings)
    if spec.server_url != settings.server.url:
        raise click.UsageError(f"the plan was made for {spec.server_url}, not for {settings.server.url}")
    run_options = RunOptions(
        dry_run=options["dry_run"],
        plan_out=os.path.abspath(options["plan_out"]) if options["plan_out"] else "",
        plan_in=os.path.abspath(options["plan_in"]) if options["plan_in"] else "",
        yes=options["yes"],
        handle_signals=True,
    )
    return run_verb(request, gathered, settings, spec=spec, options=run_options)


def _planned(options: dict[str, Any]) -> UploadSpec | None:
    """Return the spec of ``--plan``; without one, PATH and -P are needed."""
    if options["plan_in"]:
        if options["paths"] or options["project"]:
            raise click.UsageError("--plan takes PATH and -P from the plan; leave them out")
        from xferengine.jobs.planfile import spec_of_plan

        return spec_of_plan(Path(options["plan_in"]))
    if not options["paths"]:
        raise click.UsageError("name at least one folder, file, zip or tar to send")
    if not options["project"]:
        raise click.UsageError("name the project: -P PROJECT")
    return None


def build_spec(options: dict[str, Any], project: str, gathered: Gathered, settings: Settings) -> UploadSpec:
    """Return the checked spec of an upload.

    Raises:
        SettingsError: a template, the map, a filter or a value is wrong; nothing was sent.
    """
    from xferengine.jobs import labels, mapfile, spec
    from xferengine.jobs.selection import Selection
    from xferengine.settings.load import since_of
    from xferengine.settings.values import parse_duration

    map_path = Path(options["map_file"]).absolute() if options["map_file"] else None
    if map_path is not None:
        mapfile.read_map(map_path)
    if options["extras"]:
        _check_resource(options["extras"])
    made = spec.UploadSpec(
        paths=tuple(sorted({os.path.abspath(path) for path in options["paths"]})),
        project=project,
        server_url=settings.server.url,
        subject=options["subject"] or spec.DEFAULT_SUBJECT,
        session=options["session"] or spec.DEFAULT_SESSION,
        map_file=str(map_path) if map_path else "",
        map_digest=mapfile.map_digest(map_path) if map_path else "",
        dest=options["dest"],
        overwrite=options["overwrite"],
        verify=options["verify"],
        wait=not options["no_wait"],
        min_age_s=parse_duration(options["min_age"], "--min-age") if options["min_age"] else 0.0,
        extras=options["extras"],
        existing_row=options["existing_row"],
        allow_refused=options["allow_refused"],
        include=gathered.several("include"),
        exclude=gathered.several("exclude"),
        since=since_of(gathered),
        accept_overwrite=options["accept_overwrite"],
    )
    labels.Template(made.subject, "subject")
    labels.Template(made.session, "session")
    Selection(made)
    return made


def _check_resource(label: str) -> None:
    from xferengine.errors import BadInput, SettingsError
    from xferengine.jobs.labels import check_label

    try:
        check_label(label, "resource")
    except BadInput as error:
        raise SettingsError(f"--extras: {error.message}") from error
