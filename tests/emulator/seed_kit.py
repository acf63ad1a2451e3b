"""Helpers of the tests of downloads: seeded places, archives read back."""

import io
import tarfile
import zipfile
from urllib.parse import quote

from emulator.http_kit import Answer, Browser

from xferengine.emulator.seed import SeededFile, SeedPlace, put_file

SUBJECT, SESSION = "S", "E"
BASE = f"/data/projects/P/subjects/{SUBJECT}/experiments/{SESSION}"


def place(**names: str) -> SeedPlace:
    """Return a place below session E of subject S in P."""
    return SeedPlace("P", SUBJECT, SESSION, **names)


def put(site: Browser, path: str, data: bytes = b"x", label: str = "R", **names: str) -> SeededFile:
    """Seed one file below the session."""
    return put_file(site.world, place(**names), label, path, data)


def every_level(site: Browser) -> dict[str, SeededFile]:
    """Seed one file at every level; the name of the level is the content."""
    places = {
        "project": SeedPlace("P"),
        "subject": SeedPlace("P", SUBJECT),
        "session": place(),
        "scan": place(scan="1", kind="T1"),
        "assessor-in": place(assessor="QC", direction="in"),
        "assessor-out": place(assessor="QC", direction="out"),
        "assessor-own": place(assessor="QC", direction="own"),
        "recon-in": place(reconstruction="C1", kind="mean", direction="in"),
        "recon-out": place(reconstruction="C1", kind="mean", direction="out"),
    }
    return {name: put_file(site.world, each, "R", "f.txt", name.encode()) for name, each in places.items()}


def unzipped(answer: Answer) -> dict[str, bytes]:
    """Return the members of a zip, each checked."""
    assert answer.status == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        found = {info.filename: archive.read(info) for info in archive.infolist()}
        assert len(found) == len(archive.infolist())
        return found


def untarred(answer: Answer, mode: str = "r:") -> dict[str, bytes]:
    """Return the members of a tar."""
    assert answer.status == 200, answer.text
    with tarfile.open(fileobj=io.BytesIO(answer.body), mode=mode) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}


def quoted(path: str) -> str:
    """Quote a path for a URL."""
    return quote(path, safe="/")
