"""What every check needs: where the server is, how a client is run, and trees of files to compare."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from site_state import SiteState

HERE = Path(__file__).resolve().parent
PROJECT = "FOREIGN"
CLIENT_TIMEOUT_S = 60

Tree = dict[str, bytes]


class CheckFailed(Exception):
    """A client did not do what it should; the text says what was seen."""


@dataclass(frozen=True)
class Bench:
    """What every check needs; `site` is the server's folder, read to compare bytes."""

    url: str
    folder: Path
    home: Path
    site: Path
    environments: dict[str, Path]
    state: SiteState

    def python(self, client: str, script: str, *arguments: object) -> str:
        """Run a script in a client's environment; it must end with 0."""
        return self.run([self.environments[client] / "bin" / "python", HERE / script, self.url, PROJECT, *arguments])

    def tool(self, client: str, name: str, *arguments: object) -> str:
        """Run a command that a client installs."""
        return self.run([self.environments[client] / "bin" / name, *arguments])

    def xnatctl(self, *arguments: object) -> str:
        """Run the command-line client."""
        return self.tool("xnatctl", "xnatctl", *arguments)

    def run(self, command: list[object]) -> str:
        """Run a command and return what it printed."""
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.home),
            "XNAT_URL": self.url,
            "XNAT_USER": "admin",
            "XNAT_PASS": "admin",
        }
        words = [str(word) for word in command]
        done = subprocess.run(
            words, capture_output=True, text=True, env=environment, timeout=CLIENT_TIMEOUT_S, check=False, cwd=self.home
        )
        if done.returncode:
            raise CheckFailed(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def new_folder(self, name: str) -> Path:
        """Return an empty folder for a client's results."""
        folder = self.folder / "out" / name
        folder.mkdir(parents=True)
        return folder

    def stored(self, session: str, *below: str) -> Tree:
        """Return the files the server has on its disk below a session's folder."""
        return tree(self.site.joinpath("archive", PROJECT, "arc001", session, *below))


def tree(folder: Path) -> Tree:
    """Return every file below a folder by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def by_name(files: Tree) -> Tree:
    """Return files by their last name alone, for clients and layouts that add folders of their own."""
    return {path.rpartition("/")[2]: data for path, data in files.items()}


def expect(found: Tree, wanted: Tree, what: str) -> None:
    """Compare two trees byte by byte."""
    if found == wanted:
        return
    differing = sorted(path for path in found.keys() & wanted.keys() if found[path] != wanted[path])
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    raise CheckFailed(f"{what}: missing {missing}, extra {extra}, other bytes in {differing}")


def expect_text(printed: str, wanted: str, what: str) -> None:
    """Look for a text in what a client printed."""
    if wanted not in printed:
        raise CheckFailed(f"{what}: {printed!r} without {wanted!r}")
