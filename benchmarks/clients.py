"""The clients that are compared: how each is called for the same sessions on the same server."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cohorts import Cohort
from servers import PASSWORD, PROJECT, USER

HERE = Path(__file__).resolve().parent
PACKAGES = {"xnatctl": "xnatctl==0.6.*", "xnatpy": "xnat==0.8.*"}
AT_ONCE = 4
"""How many sessions xnatctl sends side by side, and how many curl processes the floor runs."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where one run happens."""

    url: str
    home: Path
    rivals: Path
    cohort: Cohort

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


def _engine(run: Run) -> list[str]:
    return [sys.executable, "-m", "xferengine", "upload", str(run.cohort.folder), "-P", PROJECT, "--yes", "--json"]


def _xnatctl(run: Run, *extra: str) -> list[str]:
    program = str(run.rivals / "xnatctl" / "bin" / "xnatctl")
    listing = run.home / "sessions.txt"
    listing.write_text("".join(f"{s.folder}\n{s.subject}\n{s.label}\n" for s in run.cohort.sessions))
    call = f'exec "{program}" session upload "$0" -P {PROJECT} -S "$1" -E "$2" -w 4 {" ".join(extra)}'
    return ["xargs", "-a", str(listing), "-d", "\n", "-P", str(AT_ONCE), "-n", "3", "sh", "-c", call]


def _xnatctl_prearchive(run: Run) -> list[str]:
    return _xnatctl(run, "--prearchive")


def _xnatpy(run: Run) -> list[str]:
    listing = run.home / "sessions.txt"
    listing.write_text("".join(f"{s.folder}\t{s.subject}\t{s.label}\n" for s in run.cohort.sessions))
    python = str(run.rivals / "xnatpy" / "bin" / "python")
    return [python, str(HERE / "xnatpy_upload.py"), run.url, PROJECT, str(listing)]


def _curl(run: Run, at_once: int) -> list[str]:
    listing = run.home / "zips.txt"
    with listing.open("w") as out:
        for session in run.cohort.sessions:
            query = f"import-handler=DICOM-zip&inbody=true&PROJECT_ID={PROJECT}&SUBJECT_ID={session.subject}"
            query += f"&EXPT_LABEL={session.label}&prevent_auto_commit=true"
            for archive in session.zips:
                out.write(f"{archive}\n{run.url}/data/services/import?{query}\n")
    call = (
        f"exec curl -sS -f -o /dev/null -u {USER}:{PASSWORD} -H Expect: -H Content-Type:application/zip"
        ' -X POST -T "$0" "$1"'
    )
    return ["xargs", "-a", str(listing), "-d", "\n", "-P", str(at_once), "-n", "2", "sh", "-c", call]


def _curl_4(run: Run) -> list[str]:
    return _curl(run, AT_ONCE)


def _curl_16(run: Run) -> list[str]:
    return _curl(run, 4 * AT_ONCE)


CLIENTS: dict[str, Callable[[Run], list[str]]] = {
    "engine": _engine,
    "xnatctl": _xnatctl,
    "xnatctl-prearchive": _xnatctl_prearchive,
    "xnatpy": _xnatpy,
    "curl-4": _curl_4,
    "curl-16": _curl_16,
}
RIVALS = ("xnatctl", "xnatctl-prearchive", "xnatpy")
FLOORS = ("curl-4", "curl-16")


def install(rivals: Path) -> None:
    """Install the rivals into environments of their own below ``rivals``, unless they are there."""
    for name, package in PACKAGES.items():
        folder = rivals / name
        program = folder / "bin" / ("xnatctl" if name == "xnatctl" else "xnat")
        if program.exists():
            continue
        venv.create(folder, with_pip=True)
        subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", package], check=True)
