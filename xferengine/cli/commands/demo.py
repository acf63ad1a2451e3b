"""``demo``: everything that exists, on made-up data and an emulated server, without leaving this machine."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, cast

import click

from xferengine.cli import exitcodes
from xferengine.cli.options import Request, SectionedCommand, common
from xferengine.cli.terminal import Terminal, run_in

if TYPE_CHECKING:
    from xferengine.cli.views import View
    from xferengine.emulator.server import Emulator
    from xferengine.jobs.spec import AnySpec, JobReport
    from xferengine.model.events import Summary
    from xferengine.settings.slices import Settings

PROJECT = "DEMO"
NOTES = {
    "read me.txt": "Names may hold blanks,\n",
    "a+b & c#d.txt": "characters that URLs cannot carry,\n",
    "früh/日本.txt": "and any letters;\n",
    "empty": "",
}
SESSIONS, SERIES, INSTANCES, INSTANCE_BYTES = 6, 2, 12, 60_000


@click.command(cls=SectionedCommand, short_help="Show everything on made-up data.")
@click.option("--keep", metavar="DIR", type=click.Path(file_okay=False), help="Leave data, server and jobs here.")
@common()
def demo(request: Request, keep: str | None) -> int:
    """Make sessions, start an emulated XNAT on this machine, and show every verb: upload, download, verify …

    Exit code 0 means that every instance was seen in the archive and every file came back equal. Needs nothing but the
    install.
    """
    from xferengine.cli.views import find_view

    gathered = request.gather()
    with ExitStack() as stack:
        made = keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="xferengine-demo-"))
        folder = Path(made).absolute()
        (folder / "state").mkdir(parents=True, exist_ok=True, mode=0o700)
        view = find_view(request.terminal, gathered, yes=True)
        try:
            return run_in(request.terminal, lambda: _Demo(request.terminal, view, folder, kept=bool(keep)).run())
        finally:
            view.close()


class _Demo:
    """One showing."""

    def __init__(self, terminal: Terminal, view: View, folder: Path, *, kept: bool) -> None:
        self._terminal = terminal
        self._view = view
        self._folder = folder
        self._kept = kept

    def _say(self, *lines: str) -> None:
        if self._terminal.wants_json:
            self._terminal.tell(*lines)
        else:
            self._terminal.say(*lines)

    async def run(self) -> int:
        """Show it; return the exit code."""
        from xferengine.emulator.config import EmulatorConfig
        from xferengine.emulator.server import open_emulator
        from xferengine.jobs.wording import count_text, size_text

        sizes = await self._make_data()
        what = f"{count_text(SESSIONS, 'session')} with {count_text(len(sizes), 'instance')}, {size_text(sum(sizes))}"
        self._say(f"1  Made {what}, in {self._folder / 'dicom'}")
        config = EmulatorConfig(data_dir=self._folder / "emulator", projects=(PROJECT,))
        async with open_emulator(config) as emulator:
            self._say(f"2  Started an emulated XNAT at {emulator.url}", "")
            settings = self._settings(emulator)
            await self._examine(settings)
            self._say("", "4  xferengine upload", "")
            summary = self._view.finish(await self._upload(settings, self._view))
            code = self._judge(summary, len(sizes))
            steps = (self._again, self._upload_files, self._download, self._verify, self._ask)
            for step in steps:
                if code == exitcodes.OK:
                    code = await step(settings, emulator)
        self._say(*self._ending(emulator.port, summary.job))
        return code

    async def _make_data(self) -> list[int]:
        import anyio.to_thread

        from xferengine.emulator.cohort import CohortShape, make_cohort

        shape = CohortShape(sessions=SESSIONS, series=SERIES, instances=INSTANCES, instance_bytes=INSTANCE_BYTES)
        files = await anyio.to_thread.run_sync(make_cohort, self._folder / "dicom", shape)
        return [file.size for file in files]

    def _settings(self, emulator: Emulator) -> Settings:
        from xferengine.settings.slices import Credentials, ServerConfig, Settings

        return Settings(
            server=ServerConfig(url=emulator.url, user=emulator.config.user),
            state_dir=self._folder / "state",
            credentials=Credentials(emulator.config.user, emulator.config.password),
        )

    async def _examine(self, settings: Settings) -> None:
        from xferengine.cli.render_text import finding_lines
        from xferengine.jobs import doctor

        findings = await doctor.examine(settings, PROJECT)
        rows = [(finding.level, finding.what, finding.detail, finding.does) for finding in findings]
        self._say("3  xferengine doctor", "", *finding_lines(rows, self._terminal.width))

    async def _upload(self, settings: Settings, view: View | None) -> JobReport:
        from xferengine.jobs.spec import UploadSpec

        spec = UploadSpec(paths=(str(self._folder / "dicom"),), project=PROJECT, server_url=settings.server.url)
        return await self._run(spec, settings, view)

    async def _run(self, spec: AnySpec, settings: Settings, view: View | None) -> JobReport:
        from xferengine.jobs import runner
        from xferengine.jobs.plan import RunOptions
        from xferengine.model.events import ignore

        emit, confirm = (view.emit, view.confirm) if view else (ignore, None)
        options = RunOptions(yes=True, handle_signals=True)
        return await runner.run_job(spec, settings, emit=emit, confirm=confirm, options=options)

    async def _show(self, number: int, command: str, spec: AnySpec, settings: Settings) -> Summary:
        """Run one more verb under a view of its own."""
        self._say("", f"{number}  xferengine {command}", "")
        view = self._view.again()
        try:
            return view.finish(await self._run(spec, settings, view))
        finally:
            view.close()

    def _judge(self, summary: Summary, made: int) -> int:
        verified = summary.totals.verified
        if summary.exit_code != exitcodes.OK:
            return summary.exit_code
        if verified != made:
            self._terminal.tell(f"Error: {made:,} instances were made and {verified:,} verified.")
            return exitcodes.INTEGRITY
        self._say("", f"All {made:,} instances were found in the archive by their UIDs.")
        return exitcodes.OK

    async def _again(self, settings: Settings, emulator: Emulator) -> int:
        """Run the same upload once more: what is verified is not sent again."""
        from xferengine.jobs.wording import size_text

        before = emulator.bytes_in
        report = await self._upload(settings, None)
        sent = emulator.bytes_in - before
        self._say("", f"5  The same command again: {size_text(sent)} sent.")
        code = cast("Summary", report.summary).exit_code
        if code == exitcodes.OK and sent >= INSTANCE_BYTES:
            self._terminal.tell("Error: verified instances were sent again.")
            return exitcodes.PARTIAL
        return code

    async def _upload_files(self, settings: Settings, emulator: Emulator) -> int:
        """Send files with difficult names into a resource of the project."""
        import anyio.to_thread

        from xferengine.jobs.spec import FilesSpec

        folder = self._folder / "notes"
        await anyio.to_thread.run_sync(_write_notes, folder)
        remote = f":{PROJECT}/resources/NOTES"
        spec = FilesSpec(paths=(str(folder),), remote=remote, server_url=settings.server.url)
        summary = await self._show(6, f"upload-files {folder} {remote}", spec, settings)
        return self._expect(summary, len(NOTES))

    async def _download(self, settings: Settings, emulator: Emulator) -> int:
        """Bring the whole project back."""
        from xferengine.jobs.spec import DownloadSpec

        target = str(self._folder / "download")
        spec = DownloadSpec(remotes=(f":{PROJECT}",), server_url=settings.server.url, target=target)
        summary = await self._show(7, f"download :{PROJECT} --to {target}", spec, settings)
        return self._expect(summary, SESSIONS * SERIES * INSTANCES + len(NOTES))

    async def _verify(self, settings: Settings, emulator: Emulator) -> int:
        """Compare the folder with the server once more, file by file."""
        from xferengine.jobs.spec import VerifySpec

        target = str(self._folder / "download")
        spec = VerifySpec(a=f":{PROJECT}", b=target, server_url=settings.server.url)
        summary = await self._show(8, f"verify :{PROJECT} {target}", spec, settings)
        return self._expect(summary, SESSIONS * SERIES * INSTANCES + len(NOTES))

    async def _ask(self, settings: Settings, emulator: Emulator) -> int:
        """Ask the server one question."""
        from xferengine.jobs.connect import connected
        from xferengine.xnat.transport import Request as Call

        path = f"/data/projects/{PROJECT}/experiments?format=json"
        async with connected(settings) as client:
            call = Call(
                method="GET", segments=("data", "projects", PROJECT, "experiments"), query=(("format", "json"),)
            )
            answer = await client.call(call)
        self._say("", f"9  xferengine api GET '{path}'", "", f"{answer.status}, {len(answer.body):,} bytes of JSON")
        return exitcodes.OK

    def _expect(self, summary: Summary, files: int) -> int:
        """Return the step's exit code; exit 0 is only believed when every file was verified."""
        if summary.exit_code == exitcodes.OK and summary.totals.verified != files:
            self._terminal.tell(f"Error: {files:,} files were expected and {summary.totals.verified:,} verified.")
            return exitcodes.INTEGRITY
        return summary.exit_code

    def _ending(self, port: int, job: str) -> list[str]:
        if self._kept:
            return ["", "To look round:", *next_steps(self._folder, port, job)]
        return ["", "All of it was in a temporary folder and is gone now; --keep DIR leaves it to look round in."]


def _write_notes(folder: Path) -> None:
    for name, text in NOTES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def next_steps(folder: Path, port: int, job: str) -> list[str]:
    """Return three commands to try on what ``--keep`` left."""
    login = f"XNAT_URL=http://127.0.0.1:{port} XNAT_USER=admin XNAT_PASS=admin"
    state = quote(str(folder / "state"))
    return [
        f"  xferengine jobs report {job} --state-dir {state}",
        f"  xferengine emulator --port {port} --data {quote(str(folder / 'emulator'))} &",
        f"  {login} xferengine upload {quote(str(folder / 'dicom'))} -P {PROJECT} --state-dir {state}",
    ]
