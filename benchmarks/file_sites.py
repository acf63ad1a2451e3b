"""Servers that hold files: seeded once into a folder of state, then served as often as wanted.

A site is seeded by a process of its own, so that the server that is measured starts with nothing but its state. What
was seeded is kept beside the state as a listing of sizes and MD5s, by which whatever a client brought is judged.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from servers import PASSWORD, PROJECT, USER, Server, start_server

if TYPE_CHECKING:
    from xferengine.emulator.seed import SeededFile
    from xferengine.emulator.server import Emulator

HERE = Path(__file__).resolve().parent
CHUNK_BYTES = 1 << 20
BIG_BYTES = 64 << 20
"""From this size on a file is made of one block over and over."""
OWN_FOLDER = ".xferengine"


@dataclass(frozen=True, kw_only=True)
class SiteShape:
    """What a site holds: ``sessions`` × ``scans`` × ``resources`` × ``files`` of ``file_bytes`` bytes in one project.

    ``dicom`` fills them with DICOM-like images, which deflate to about 0.43, instead of random bytes.
    """

    sessions: int = 1
    scans: int = 1
    resources: tuple[str, ...] = ("DICOM",)
    files: int = 1
    file_bytes: int = 200_000
    dicom: bool = False

    @property
    def count(self) -> int:
        """Number of files."""
        return self.sessions * self.scans * len(self.resources) * self.files


@dataclass(frozen=True, kw_only=True)
class Site:
    """A seeded site."""

    folder: Path
    shape: SiteShape
    sessions: list[tuple[str, str, str]]
    """Subject, label and accession id of each session."""
    content: Counter[str]
    """How often each MD5 occurs."""
    bytes: int

    @property
    def data(self) -> Path:
        """The server's folder."""
        return self.folder / "data"


def open_site(folder: Path, shape: SiteShape) -> Site:
    """Seed a site below ``folder``, unless the same one lies there already."""
    listing = folder / "listing.json"
    if not listing.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(HERE / "file_sites.py"), str(folder), json.dumps(asdict(shape))]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": str(HERE.parent)}, check=True)
    held = json.loads(listing.read_text())
    return Site(
        folder=folder,
        shape=shape,
        sessions=[tuple(names) for names in held["sessions"]],
        content=Counter(held["md5"]),
        bytes=held["bytes"],
    )


@contextmanager
def serving(site: Site, *switches: str) -> Iterator[Server]:
    """Serve a site by an emulator of its own process, with more switches of it if given."""
    with start_server(site.folder, switches) as server:
        yield server


def missing_or_wrong(folder: Path, wanted: Counter[str]) -> str:
    """Compare what lies below a folder, by content alone: clients name and nest files differently.

    Returns:
        What is wrong; empty when every file is there, whole, exactly once.
    """
    found = Counter(md5_of(path) for path in files_below(folder))
    if found == wanted:
        return ""
    missing, extra = (wanted - found).total(), (found - wanted).total()
    return f"{missing} of {wanted.total()} files missing or wrong, {extra} others there"


def files_below(folder: Path) -> Iterator[Path]:
    """Yield regular files, without what the engine keeps for itself."""
    for parent, folders, names in os.walk(folder):
        if OWN_FOLDER in folders:
            folders.remove(OWN_FOLDER)
        yield from (Path(parent, name) for name in names)


def md5_of(path: Path) -> str:
    """Return the MD5 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


# -- seeding, in a process of its own -------------------------------------------------------------------------------


async def _seed(folder: Path, shape: SiteShape) -> None:
    from xferengine.emulator.config import EmulatorConfig
    from xferengine.emulator.seed import SeedShape, seed_project
    from xferengine.emulator.server import open_emulator

    config = EmulatorConfig(data_dir=folder / "data", projects=(PROJECT,), user=USER, password=PASSWORD)
    async with open_emulator(config) as emulator:
        if shape.dicom:
            files = _seed_images(emulator, folder, shape)
        elif shape.file_bytes >= BIG_BYTES:
            files = _seed_big(emulator, shape)
        else:
            plain = SeedShape(
                sessions=shape.sessions, scans=shape.scans, resources=shape.resources, files=shape.files,
                file_bytes=shape.file_bytes,
            )  # fmt: skip
            files = seed_project(emulator, PROJECT, plain)
    sessions = dict.fromkeys((file.subject, file.experiment, file.accession) for file in files)
    held = {
        "sessions": list(sessions), "md5": Counter(file.md5 for file in files), "bytes": sum(f.size for f in files),
    }  # fmt: skip
    (folder / "listing.json").write_text(json.dumps(held))


def _seed_big(emulator: Emulator, shape: SiteShape) -> list[SeededFile]:
    from xferengine.emulator.seed import SeedPlace, put_file

    block = random.Random(1).randbytes(CHUNK_BYTES)
    whole = block * (shape.file_bytes // CHUNK_BYTES + 1)
    place = SeedPlace(PROJECT, f"{PROJECT}_S001", f"{PROJECT}_E001", "1", kind="T1")
    return [
        put_file(emulator, place, shape.resources[0], f"{number:05d}.dcm", whole[: shape.file_bytes])
        for number in range(1, shape.files + 1)
    ]


def _seed_images(emulator: Emulator, folder: Path, shape: SiteShape) -> list[SeededFile]:
    from xferengine.emulator.cohort import CohortShape, write_cohort
    from xferengine.emulator.seed import SeedPlace, put_file

    cohort = CohortShape(
        sessions=shape.sessions, series=shape.scans, instances=shape.files, instance_bytes=shape.file_bytes, seed=3
    )
    subjects: dict[str, int] = {}
    seeded = []
    with TemporaryDirectory(dir=folder) as scratch, emulator.world.store.transaction():
        for file in write_cohort(Path(scratch), cohort):
            number = subjects.setdefault(file.subject, len(subjects) + 1)
            place = SeedPlace(
                PROJECT, f"{PROJECT}_S{number:03d}", f"{PROJECT}_E{number:03d}", str(file.series_number), kind="T1"
            )
            name = f"{file.sop_uid}.dcm"
            seeded.append(put_file(emulator, place, shape.resources[0], name, file.path.read_bytes()))
            file.path.unlink()
    return seeded


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    asyncio.run(_seed(Path(sys.argv[1]), SiteShape(**given | {"resources": tuple(given["resources"])})))
