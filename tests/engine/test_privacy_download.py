"""No label, no name, no local path with one, no password and no cookie in logs and events of a download."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from download_kit import Job, download_spec, local_path, settings_for

from xferengine.cli.logs import log_event
from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.seed import SeededFile, SeedPlace, put_file
from xferengine.emulator.server import Emulator, open_emulator
from xferengine.errors import BadInput
from xferengine.model.events import Event, Summary
from xferengine.settings.slices import Credentials, TimeoutConfig
from xferengine.store.target import Target, open_target

SUBJECT, SESSION, PASSWORD = "ZACHARIAS-4711", "Geheimrat_MR", "pass-wort-0815"
FILE, FOLDER = "Befund-Zacharias.dcm", "Ordner-4711"
MARKERS = ("Geheimrat", "Zacharias", "ZACHARIAS", "4711", "0815", "Befund", "Ordner")
QUICK = TimeoutConfig(receive_stall_s=0.3, think_listing_s=0.5, think_commit_s=0.5)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with open_emulator(EmulatorConfig(data_dir=tmp_path / "server", projects=("P",))) as emulator:
        emulator.world.add_user("reader", PASSWORD, P="owner")
        yield emulator


@pytest.fixture
def seeded(server: Emulator) -> list[SeededFile]:
    places = [SeedPlace("P", SUBJECT, SESSION, scan="1"), SeedPlace("P", SUBJECT, SESSION), SeedPlace("P", SUBJECT)]
    return [
        put_file(server, place, "DICOM", f"{FOLDER}/{n}-{FILE}", b"%d" % n * 3000) for place in places for n in range(4)
    ]


class Heard:
    """Runs a download and keeps every word of it but the summary, which is for the person who asked."""

    def __init__(self, server: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, **changes: Any) -> None:
        caplog.set_level(logging.CRITICAL, logger="xferengine.emulator")  # its log is not the engine's
        caplog.set_level(logging.DEBUG, logger="xferengine")
        self._caplog = caplog
        self._server = server
        self.target = tmp_path / f"out-{SUBJECT}"
        settings = msgspec.structs.replace(
            settings_for(server, tmp_path / "s"), timeouts=QUICK, credentials=Credentials("reader", PASSWORD)
        )
        self.job = Job(server, download_spec(server, self.target, **changes), settings)

    async def run(self) -> Summary:
        return await self.job.run(log_event)

    def check(self) -> None:
        logged = [record.getMessage() + repr(record.args) for record in self._caplog.records]
        logged += ["".join(traceback.format_exception(*r.exc_info)) for r in self._caplog.records if r.exc_info]
        assert any(record.name.startswith("xferengine") for record in self._caplog.records), "no log was captured"
        said = [self._text(event) for event in self.job.events]
        logins = [login.id for login in self._server.auth.logins._live.values()]
        for text in (*logged, *said):
            for marker in (*MARKERS, "JSESSIONID", *logins):
                assert marker not in text, text

    @staticmethod
    def _text(event: Event) -> str:
        return "" if isinstance(event, Summary) else msgspec.json.encode(event).decode()


FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("cut-answer", {"match": "format=zip", "after_bytes": 5000}),
    ("flip-byte", {"match": "format=zip", "after_bytes": 5000}),
    ("early-error", {"match": "/files/", "status": 500}),
    ("early-error", {"match": "/files", "status": 403}),
    ("early-error", {"match": "/files", "status": 404}),
    ("early-error", {"match": "/resources", "status": 500, "times": 0}),
    ("html-page", {"match": "/files"}),
    ("login-page", {"match": "/files", "times": 2}),
    ("drop-login", {"match": "/files", "times": 2}),
    ("redirect", {"match": "/files", "location": f"http://127.0.0.1:9/{SUBJECT}"}),
    ("reset-in-answer", {"match": "/files", "after_bytes": 100}),
    ("bad-gateway", {"match": "/files"}),
    ("unavailable", {"match": "/files", "retry_after_s": 0.01}),
    ("member-crc", {"match": "Befund", "times": 0}),
    ("member-extra", {"match": "Befund", "times": 0, "label": "../../{name}"}),
    ("member-link", {"match": "Befund", "times": 0, "label": "/etc/passwd"}),
    ("member-longer", {"match": "Befund", "times": 0}),
    ("file-changes", {"match": "Befund", "after_bytes": 100}),
]


@pytest.mark.parametrize(("kind", "options"), FAULTS, ids=lambda value: str(value)[:40])
async def test_nothing_private_is_said_whatever_goes_wrong(server, seeded, tmp_path, caplog, kind, options):
    if kind:
        server.faults.add(kind, **{"times": 3, **options})
    heard = Heard(server, tmp_path, caplog)
    await heard.run()
    heard.check()


def at_the_server(server: Emulator, seeded: list[SeededFile], trouble: str) -> None:
    """Make a file that does not come as it should."""
    place = SeedPlace("P", SUBJECT, SESSION, scan="1")
    match trouble:
        case "gone":
            seeded[0].disk_path.unlink()
        case "stale":
            put_file(server, place, "DICOM", f"{FOLDER}/stale-{FILE}", b"new", digest="0" * 32)
        case "unsafe":
            put_file(server, place, "DICOM", f"../../{FILE}", b"x", on_disk=False)
        case "clash":
            put_file(server, place, "DICOM", f"{FOLDER}/0-{FILE}/{FILE}", b"x", on_disk=False)
        case "no-digest":
            put_file(server, place, "DICOM", f"{FOLDER}/plain-{FILE}", b"x", on_disk=False, digest=False)


@pytest.mark.parametrize("trouble", ["gone", "stale", "unsafe", "clash", "no-digest"])
async def test_nothing_private_is_said_about_files_that_do_not_come(server, seeded, tmp_path, caplog, trouble):
    at_the_server(server, seeded, trouble)
    heard = Heard(server, tmp_path, caplog)
    assert (await heard.run()).exit_code == 3
    heard.check()


@pytest.mark.parametrize("trouble", ["folder", "link", "unreadable", "full", "no-folder", "locked"])
async def test_nothing_private_is_said_about_the_folder(server, seeded, tmp_path, caplog, monkeypatch, trouble):
    heard = Heard(server, tmp_path, caplog)
    held = contextlib.ExitStack()
    match trouble:
        case "folder":
            (heard.target / local_path(seeded[0])).mkdir(parents=True)
        case "link":
            heard.target.mkdir()
            (heard.target / SESSION).symlink_to(tmp_path)
        case "unreadable":
            monkeypatch.setattr(Target, "stat", refuse)
        case "full":
            monkeypatch.setattr(Target, "free_bytes", lambda self: 1)
        case "no-folder":
            heard.target.write_bytes(b"a file")
        case "locked":
            held.enter_context(open_target(heard.target, "other"))
    with held:
        assert (await heard.run()).exit_code in {2, 3, 6, 11}
    heard.check()


def refuse(target: Target, path: str) -> None:
    raise BadInput(f"cannot use {target.folder}/{path}: permission denied")


@pytest.mark.parametrize(("missing", "code"), [("NOPE-4711", 7), (f"{SESSION}/scans/9", 7)])
async def test_nothing_private_is_said_about_what_is_not_there(server, seeded, tmp_path, caplog, missing, code):
    heard = Heard(server, tmp_path, caplog, remotes=(f":P/{SUBJECT}/{missing}",))
    assert (await heard.run()).exit_code == code
    heard.check()


async def test_files_that_carry_labels_are_for_their_owner_only(server, seeded, tmp_path, caplog):
    seeded[0].disk_path.unlink()
    heard = Heard(server, tmp_path, caplog)
    await heard.run()
    state = tmp_path / "s"
    private = [path for path in state.rglob("*") if path.is_file()]
    assert {path.name for path in private} >= {"manifest.db", "report.txt", "report.json", "report.csv", "failed.csv"}
    assert [path for path in (state, *state.rglob("*")) if path.stat().st_mode & 0o077] == []
    assert not any(PASSWORD.encode() in path.read_bytes() for path in private)
