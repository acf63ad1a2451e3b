"""``emulator --port N --data DIR``: a stand-in XNAT for rehearsals and tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xferengine.cli import exitcodes
from xferengine.cli.options import Request, SectionedCommand, common
from xferengine.cli.terminal import Terminal, run_in

if TYPE_CHECKING:
    from xferengine.emulator.config import EmulatorConfig


@click.command(cls=SectionedCommand, short_help="Run the embedded XNAT emulator.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--data", metavar="DIR", type=click.Path(file_okay=False), help="Keep state here (default: nowhere).")
@click.option("--project", "projects", multiple=True, metavar="ID", help="Project to make. Repeatable.")
@click.option(
    "--prearchive-code",
    type=click.Choice(["0", "4", "5"]),
    default="4",
    show_default=True,
    help="Of new projects: 0 stay in the prearchive, 4 archive by themselves, 5 archive and replace.",
)
@click.option("--request-ms", type=click.FloatRange(0), default=0.0, help="Time each request takes.")
@click.option("--instance-ms", type=click.FloatRange(0), default=0.0, help="Time each instance takes, in parallel.")
@click.option("--instance-lock-ms", type=click.FloatRange(0), default=0.0, help="The same, one after another.")
@click.option("--bandwidth", metavar="RATE", default="", help="Bytes per second, such as 10M.")
@click.option("--max-body", metavar="SIZE", default="", help="Answer 413 to larger bodies.")
@click.option("--fault", "faults", multiple=True, metavar="KIND:key=value,…", help="Trouble to make. Repeatable.")
@click.option("--seed", type=int, default=0, help="Decides faults that happen by chance.")
@click.option("--no-checksums", is_flag=True, help="Catalogs without MD5.")
@click.option("--reject-every", type=click.IntRange(0), default=0, help="A filter that drops one instance in N.")
@click.option("--remap-uids", type=click.Choice(["import", "archive"]), help="A script that changes SOP Instance UIDs.")
@click.option("--anonymize", is_flag=True, help="A script that replaces patient fields.")
@common()
def emulator(request: Request, **options: Any) -> int:  # fmt: skip
    """Run the embedded XNAT emulator until it is interrupted. User and password are both `admin`."""
    request.gather()
    config = build_config(options)
    run_in(request.terminal, lambda: serve(request.terminal, config))
    return exitcodes.OK


def build_config(options: dict[str, Any]) -> EmulatorConfig:
    """Return the emulator's settings.

    Raises:
        SettingsError: a rate or size cannot be read.
    """
    from xferengine.emulator.config import EmulatorConfig
    from xferengine.emulator.scripts import Script
    from xferengine.settings.values import parse_size

    return EmulatorConfig(
        data_dir=Path(options["data"]).absolute() if options["data"] else None,
        host=options["host"],
        port=options["port"],
        projects=options["projects"],
        default_prearchive_code=int(options["prearchive_code"]),
        request_ms=options["request_ms"],
        instance_ms=options["instance_ms"],
        instance_lock_ms=options["instance_lock_ms"],
        bandwidth_bps=float(parse_size(options["bandwidth"], "--bandwidth")) if options["bandwidth"] else 0.0,
        max_body_bytes=parse_size(options["max_body"], "--max-body") if options["max_body"] else 0,
        faults=options["faults"],
        seed=options["seed"],
        checksums=not options["no_checksums"],
        script=Script(
            rewrite=options["anonymize"],
            reject_every=options["reject_every"],
            remap_uids=options["remap_uids"] or "",
        ),
    )


async def serve(terminal: Terminal, config: EmulatorConfig) -> None:
    """Run an emulator until INT or TERM.

    Raises:
        SettingsError: the port is taken, or a fault line is wrong.
    """
    import signal

    import anyio

    from xferengine.emulator.server import open_emulator
    from xferengine.errors import SettingsError

    try:
        async with open_emulator(config) as running:
            if terminal.wants_json:
                from xferengine.cli.render_json import record_line

                terminal.say(record_line("listening", {"url": running.url, "port": running.port}))
            else:
                terminal.say(f"XNAT emulator at {running.url} (user admin, password admin); Ctrl-C ends it.")
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    return
    except OSError as error:
        raise SettingsError(f"cannot listen on {config.host} port {config.port}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"--fault: {error}") from error
