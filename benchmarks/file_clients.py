"""How each client is called to fetch or send files, and what is known of it. Nobody compresses unless it wants to."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from servers import PASSWORD, PROJECT, USER

HERE = Path(__file__).resolve().parent
PACKAGES = {
    "xnatctl": ("xnatctl==0.6.*",),
    "xnatpy": ("xnat==0.8.*",),
    # pyxnat imports nibabel and pandas when it starts, but does not declare them.
    "pyxnat": ("pyxnat==1.6.*", "nibabel", "pandas"),
    "yaxil": ("yaxil==0.17.*",),
}
ENGINE, RIVAL, FLOOR = "engine", "rival", "floor"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be fetched or sent, and where the run happens."""

    url: str
    home: Path
    rivals: Path
    sessions: list[tuple[str, str, str]]
    """Subject, label, accession id."""
    resource: str = ""
    """Label of the one resource that is meant, in scan 1; empty: all of the sessions' scans."""
    files: list[str] = field(default_factory=list)
    """Names in it, for clients that are given names."""
    folders: int = 1
    per_folder: int = 1
    file_bytes: int = 0
    source: Path = Path()
    """Folder to send."""

    @property
    def environment(self) -> dict[str, str]:
        """All a client sees: a fresh home, its own folder for temporary files, the login."""
        return {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.home),
            "TMPDIR": str(self.temp),
            "LANG": "C.UTF-8",
            "XNAT_URL": self.url,
            "XNAT_USER": USER,
            "XNAT_PASS": PASSWORD,
            "XFERENGINE_STATE_DIR": str(self.home / "state"),
            "PYTHONPATH": str(HERE.parent),
        }

    @property
    def temp(self) -> Path:
        """Folder of temporary files."""
        return self.home / "tmp"

    @property
    def out(self) -> Path:
        """Folder to fill."""
        return self.home / "out"

    @property
    def holder(self) -> str:
        """URL of the resource, or of the one session's scans."""
        accession = self.sessions[0][2]
        scan = f"{self.url}/data/experiments/{accession}/scans"
        return f"{scan}/1/resources/{self.resource}" if self.resource else f"{scan}/ALL"


@dataclass(frozen=True, kw_only=True)
class Client:
    """One way to do a task.

    ``share`` is the part of the files it is given: what would take too long is scaled and marked. ``keeps`` tells
    whether the files are there afterwards; what keeps nothing is only timed. ``first`` is run before, unmeasured.
    ``note`` says what must be known to read its figures, ``exit_codes`` how it may end.
    """

    command: Callable[[Task], list[str]]
    kind: str
    share: float = 1.0
    keeps: bool = True
    verifies: bool = False
    first: Callable[[Task], list[str]] | None = None
    note: str = ""
    exit_codes: tuple[int, ...] = (0,)


def shell(script: str, *arguments: object) -> list[str]:
    """Return a shell's command line; the arguments are ``$1`` and so on."""
    return ["bash", "-c", f"set -e -o pipefail\n{script}", "sh", *map(str, arguments)]


CURL = f"curl -sS -f -u {USER}:{PASSWORD}"


# -- the engine -----------------------------------------------------------------------------------------------------


def engine(task: Task, *options: str) -> list[str]:
    """Download as a user does."""
    remote = f":{PROJECT}"
    if task.resource:
        remote += f"/{task.sessions[0][0]}/{task.sessions[0][1]}/scans/1/{task.resource}"
        remote += f"/files/{task.files[0]}" if len(task.files) == 1 else ""
    return [
        sys.executable, "-m", "xferengine", "download", remote, "--to", str(task.out), "--json", "--no-progress",
        *options,
    ]  # fmt: skip


def engine_new_state(task: Task) -> list[str]:
    """The same, knowing nothing of an earlier run."""
    return engine(task, "--state-dir", str(task.home / "state-2"))


def engine_upload(task: Task, *options: str) -> list[str]:
    """Send a folder as a user does."""
    subject, label, _ = task.sessions[0]
    remote = f":{PROJECT}/{subject}/{label}/{task.resource}"
    return [
        sys.executable, "-m", "xferengine", "upload-files", str(task.source), remote, "--yes", "--json",
        "--no-progress", *options,
    ]  # fmt: skip


# -- rivals ---------------------------------------------------------------------------------------------------------


def library(client: str, action: str) -> Callable[[Task], list[str]]:
    """Call a rival's library."""

    def command(task: Task) -> list[str]:
        place = {
            "project": PROJECT, "sessions": task.sessions, "scan": "1", "resource": task.resource, "files": task.files
        }  # fmt: skip
        folder = task.source if action.startswith("upload") else task.out
        python = str(task.rivals / client / "bin" / "python")
        listing = task.home / "place.json"
        listing.write_text(json.dumps(place))
        return [python, str(HERE / "rival_files.py"), client, action, task.url, str(folder), str(listing)]

    return command


def xnatctl(task: Task, *extra: str, at_once: int = 1) -> list[str]:
    """Download sessions with xnatctl, so many side by side."""
    program = shlex.quote(str(task.rivals / "xnatctl" / "bin" / "xnatctl"))
    call = f'exec {program} session download -E "$0" -P {PROJECT} --out "$1/$0" --extract {" ".join(extra)}'
    listing = task.home / "sessions.txt"
    listing.write_text("".join(f"{label}\n{task.out}\n" for _, label, _ in task.sessions))
    return ["xargs", "-a", str(listing), "-d", "\n", "-P", str(at_once), "-n", "2", "sh", "-c", call]


def xnatctl_resource(task: Task) -> list[str]:
    """Download a resource with xnatctl, which never unpacks it, and unpack it."""
    program = task.rivals / "xnatctl" / "bin" / "xnatctl"
    script = '"$1" resource download "$2" "$3" --scan 1 -f "$4/r.zip"; bsdtar -x -f "$4/r.zip" -C "$5"; rm "$4/r.zip"'
    return shell(script, program, task.sessions[0][2], task.resource, task.temp, task.out)


def xnatctl_upload(task: Task) -> list[str]:
    """Send a folder, or its only file, with xnatctl."""
    program = str(task.rivals / "xnatctl" / "bin" / "xnatctl")
    what = task.source / task.files[0] if len(task.files) == 1 else task.source
    return [program, "resource", "upload", task.sessions[0][2], task.resource, str(what)]


# -- floors ---------------------------------------------------------------------------------------------------------


def curl_null(task: Task) -> list[str]:
    """The archive, thrown away."""
    return shell(f'{CURL} -o /dev/null "$1/files?format=zip"', task.holder)


def curl_bsdtar(task: Task) -> list[str]:
    """The archive, unpacked while it comes, nothing checked but its CRCs."""
    return shell(f'{CURL} "$1/files?format=zip" | bsdtar -x -f - -C "$2"', task.holder, task.out)


def curl_bsdtar_md5(task: Task, after: str = "") -> list[str]:
    """The same, then md5sum of every file, then another command."""
    script = f'{CURL} "$1/files?format=zip" | bsdtar -x -f - -C "$2"; find "$2" -type f -print0 | xargs -0 md5sum >"$3"'
    return shell(f"{script}; {after}", task.holder, task.out, task.home / "sums")


def curl_bsdtar_md5_sync(task: Task) -> list[str]:
    """The same with everything safely on disk, as the engine has it before it calls a file done."""
    return curl_bsdtar_md5(task, 'sync -f "$2"')


def curl_bsdtar_many(task: Task) -> list[str]:
    """An archive of each session, sixteen side by side, unpacked while they come."""
    listing = task.home / "sessions.txt"
    listing.write_text("".join(f"{accession}\n{task.out}\n" for _, _, accession in task.sessions))
    scans = f"{task.url}/data/experiments/$0/scans/ALL/files?format=zip"
    call = f'{CURL} "{scans}" | bsdtar -x -f - -C "$1"'
    return ["xargs", "-a", str(listing), "-d", "\n", "-P", "16", "-n", "2", "sh", "-c", call]


def curl_many(task: Task, at_once: int = 16) -> list[str]:
    """Every file by a request of its own; names may be ``SCAN/RESOURCE/NAME``."""
    config = task.home / "urls.txt"
    scans = f"{task.url}/data/experiments/{task.sessions[0][2]}/scans"
    with config.open("w") as out:
        for name in task.files:
            scan, _, rest = name.partition("/")
            label, _, base = rest.partition("/")
            url = f"{scans}/{scan}/resources/{label}/files/{base}" if base else f"{task.holder}/files/{name}"
            out.write(f'url = "{url}"\noutput = "{task.out / name.replace("/", "-")}"\n')
    return [*CURL.split(), "-Z", "--parallel-max", str(at_once), "-K", str(config)]


def md5sum_only(task: Task) -> list[str]:
    """md5sum of files that are there."""
    return shell('find "$1" -type f -print0 | xargs -0 md5sum >"$2"', task.out, task.home / "sums")


def written(*options: str) -> Callable[[Task], list[str]]:
    """The same files, written from memory."""

    def command(task: Task) -> list[str]:
        shape = [str(number) for number in (task.folders, task.per_folder, task.file_bytes)]
        return [sys.executable, str(HERE / "write_files.py"), str(task.out), *shape, *options]

    return command


def one_file(script: str) -> Callable[[Task], list[str]]:
    """Run a script: ``$1`` is the file's URL, ``$2`` where it goes, ``$3`` the folder for that, ``$4`` its name."""

    def command(task: Task) -> list[str]:
        name = task.files[0]
        return shell(script, f"{task.holder}/files/{name}", task.out / name, task.out, name)

    return command


def curl_put(task: Task) -> list[str]:
    """The only file by PUT, raw."""
    accession = task.sessions[0][2]
    url = f"{task.url}/data/experiments/{accession}/resources/{task.resource}/files/{task.files[0]}?inbody=true"
    return [*CURL.split(), "-H", "Expect:", "-o", "/dev/null", "-T", str(task.source / task.files[0]), url]


def curl_put_many(task: Task, at_once: int = 1) -> list[str]:
    """Every file by a PUT of its own: as many curls side by side, each into a resource of its own.

    XNAT fails PUTs into one resource that come side by side, so one resource has one writer.
    """
    base = f"{task.url}/data/experiments/{task.sessions[0][2]}/resources/{task.resource}"
    for number in range(at_once):
        with (task.home / f"puts-{number}.txt").open("w") as out:
            for name in task.files[number::at_once]:
                path, url = task.source / name, f"{base}-{number}/files/{name}?inbody=true"
                out.write(f'url = "{url}"\nupload-file = "{path}"\noutput = "/dev/null"\n')
    script = (
        f'for list in "$1"/puts-*.txt; do {CURL} -H Expect: -K "$list" & pids+=($!); done;'
        ' for pid in "${pids[@]}"; do wait $pid; done'
    )
    return shell(script, task.home)


_ZIP = """
import os, sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    for name in sorted(os.listdir(sys.argv[2])):
        archive.write(os.path.join(sys.argv[2], name), name)
"""


def zip_then_curl(task: Task) -> list[str]:
    """The folder as one STORED zip, made first, which the server unpacks."""
    url = f"{task.url}/data/experiments/{task.sessions[0][2]}/resources/{task.resource}/files/all.zip"
    script = (
        f'"$4" -c "$5" "$1/all.zip" "$2"; {CURL} -H Expect: -o /dev/null -T "$1/all.zip" "$3?inbody=true&extract=true"'
    )
    return shell(script, task.temp, task.source, url, sys.executable, _ZIP)


def part_only(command: Callable[[Task], list[str]]) -> Callable[[Task], list[str]]:
    """Give a client that takes a folder only the part of the files that it is meant to send."""

    def with_part(task: Task) -> list[str]:
        folder = task.home / "part"
        folder.mkdir()
        for name in task.files:
            shutil.copyfile(task.source / name, folder / name)
        return command(replace(task, source=folder))

    return with_part


def install(rivals: Path, clients: list[str]) -> None:
    """Install rivals into environments of their own below ``rivals``, unless they are there."""
    for name in clients:
        python = rivals / name / "bin" / "python"
        if python.exists():
            continue
        venv.create(rivals / name, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES[name]], check=True)
