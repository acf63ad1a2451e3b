"""From a job's row to the verb that runs it, and how a download says how it stands."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from xferengine.errors import (
    AccessDenied,
    BadInput,
    ConnectFailed,
    DiskFull,
    LockedByOther,
    NotFound,
    UnknownVersion,
    XferError,
)
from xferengine.jobs.download_verb import DownloadVerb
from xferengine.jobs.spec import AnySpec, DownloadSpec, FilesSpec, UploadSpec, VerifySpec
from xferengine.jobs.verb import Outcome
from xferengine.jobs.verbs import decode_spec, name_of, verb_of
from xferengine.manifest import incoming, transfers
from xferengine.manifest.catalogue import JobRow
from xferengine.manifest.incoming import Incoming
from xferengine.manifest.schema import prepare
from xferengine.model.items import ItemRef, Level, ResourceFiles, ResourceRef
from xferengine.schedule.stop import StopKind, StopReason

SPECS: list[tuple[str, AnySpec]] = [
    ("upload", UploadSpec(paths=("/in",), project="P", server_url="http://s")),
    ("download", DownloadSpec(remotes=(":P",), server_url="http://s", target="/out", sample=5.0, include=("scan=1",))),
    ("verify", VerifySpec(a=":P", b="/out", server_url="http://s")),
    ("upload-files", FilesSpec(paths=("/in",), remote=":P/S/E/R", server_url="http://s")),
]


def job(verb: str, spec: str) -> JobRow:
    values = {name: "" for name in JobRow.__struct_fields__}
    types = {field.name: field.type for field in msgspec.structs.fields(JobRow)}
    values = {name: (0 if types[name] is int else value) for name, value in values.items()}
    return JobRow(**{**values, "id": "ab12", "verb": verb, "spec": spec})


@pytest.mark.parametrize(("verb", "spec"), SPECS)
def test_every_spec_comes_back_and_finds_its_verb(verb: str, spec: AnySpec) -> None:
    assert name_of(spec) == verb
    assert decode_spec(job(verb, msgspec.json.encode(spec).decode())) == spec
    assert verb_of(spec).name == verb
    assert spec.project == "P"
    assert len(spec.identity()) == 32


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        ("teleport", "{}"),
        ("download", "{}"),
        ("download", "no json"),
        ("download", '{"remotes":[],"server_url":"","target":"","news":1}'),
    ],
)
def test_what_a_newer_program_wrote_is_said(verb: str, text: str) -> None:
    with pytest.raises(UnknownVersion, match="ab12"):
        decode_spec(job(verb, text))


def test_limits_and_ways_of_looking_are_no_part_of_a_downloads_identity() -> None:
    spec = DownloadSpec(remotes=(":P",), server_url="http://s", target="/out")
    same = {"verify": "read-back", "sample": 1.0, "stale_ok": True, "ask_refresh": True}
    other = {
        "remotes": (":Q",),
        "server_url": "http://t",
        "target": "/x",
        "include": ("a",),
        "exclude": ("a",),
        "since": "x",
    }
    assert {msgspec.structs.replace(spec, **{key: value}).identity() for key, value in same.items()} == {
        spec.identity()
    }
    assert (
        len(
            {msgspec.structs.replace(spec, **{key: value}).identity() for key, value in other.items()}
            | {spec.identity()}
        )
        == 7
    )


@pytest.fixture
def con() -> Iterator[sqlite3.Connection]:
    found = sqlite3.connect(":memory:", isolation_level=None)
    found.row_factory = sqlite3.Row
    prepare(found, Path("m.db"))
    yield found
    found.close()


def fill(con: sqlite3.Connection, *files: tuple[str, str, str], item: str = "done", accession: str = "E1") -> None:
    """Files as (state, means, note)."""
    ref = ItemRef(level=Level.EXPERIMENT, project="P", subject="S", experiment=accession, experiment_id=accession)
    item_id = transfers.add_item(con, ref, 1)
    row = transfers.add_resource(
        con, item_id, ResourceFiles(ref=ResourceRef(item=ref, id="7", label="R"), files=()), in_all=True
    )
    made = [
        Incoming(path=str(n), size=10, digest="", local=f"E/{n}", state=state, means=means, note=note)
        for n, (state, means, note) in enumerate(files)
    ]
    incoming.replace(con, item_id, row, 1, made)
    transfers.set_item(con, item_id, item, "AccessDenied" if item == "failed" else "")


def ask(
    con: sqlite3.Connection,
    *,
    planned: bool = True,
    reason: StopKind | None = None,
    error: XferError | None = None,
    **spec: Any,
) -> Outcome:
    verb = DownloadVerb(DownloadSpec(**{"remotes": (":P",), "server_url": "http://s", "target": "/out", **spec}))
    verb._is_planned = planned
    return verb.outcome(con, StopReason(kind=reason, signum=15) if reason is not None else None, error)


DONE, SIZED = ("verified", "digest", ""), ("verified", "size", "")


@pytest.mark.parametrize(
    ("files", "item", "spec", "state", "code"),
    [
        ([DONE, SIZED, ("present", "digest", "")], "done", {}, "done", 0),
        ([], "done", {}, "done", 0),
        ([DONE], "done", {"verify": "none"}, "done-unverified", 0),
        ([("verified", "none", "")], "done", {}, "incomplete", 3),
        ([("verified", "none", "")], "done", {"verify": "none"}, "done-unverified", 0),
        ([DONE, ("failed", "", "NotFound: x")], "partial", {}, "incomplete", 3),
        ([("failed", "", "NotFound: x")], "partial", {}, "failed", 3),
        ([DONE, ("refused", "", "UnsafePath: x")], "partial", {}, "incomplete", 3),
        ([DONE, ("stale", "two reads", "CatalogStale: x")], "partial", {}, "incomplete", 3),
        ([DONE, ("stale", "two reads", "CatalogStale: x")], "partial", {"stale_ok": True}, "done", 0),
        ([DONE, ("failed", "", "DigestMismatch: x")], "partial", {}, "incomplete", 9),
        ([DONE], "failed", {}, "incomplete", 3),
    ],
)
def test_how_a_download_stands(con, files, item, spec, state, code) -> None:
    fill(con, *files, item=item)
    found = ask(con, **spec)
    assert (found.state, found.code) == (state, code)
    assert found.done == (item == "done")


@pytest.mark.parametrize(
    ("reason", "code"),
    [(StopKind.SIGNAL, 143), (StopKind.CANCELLED, 130), (StopKind.UNTIL, 10), (StopKind.MAX_BYTES, 10)],
)
@pytest.mark.parametrize("item", ["planned", "partial", "failed"])
def test_a_run_that_was_stopped_with_work_left_is_interrupted(con, reason: StopKind, code: int, item: str) -> None:
    """Whatever its item says: a stale file that is planned anew leaves that as it was."""
    fill(con, DONE, ("planned", "", ""), item=item)
    found = ask(con, reason=reason)
    if item == "failed" and code == 10:
        assert (found.state, found.code) == ("incomplete", 3)  # what failed ranks before a limit
    else:
        assert (found.state, found.code) == ("interrupted", code)


def test_a_stop_after_everything_was_moved_is_no_interruption(con) -> None:
    fill(con, DONE)
    assert ask(con, reason=StopKind.UNTIL).code == 0


def test_a_stop_before_everything_was_read_back_is_one(con) -> None:
    """It said ``done``, with files that nobody had read a second time."""
    fill(con, SIZED)
    assert ask(con, reason=StopKind.UNTIL, verify="read-back").code == 10
    assert ask(con, verify="read-back").code == 0


@pytest.mark.parametrize("has_earlier", [True, False])
def test_a_run_that_was_stopped_while_it_listed_is_interrupted(con, has_earlier: bool) -> None:
    """All items were done in an earlier run: it said ``done``."""
    if has_earlier:
        fill(con, DONE)
    found = ask(con, planned=False, reason=StopKind.SIGNAL)
    assert (found.state, found.code) == ("interrupted", 143)


@pytest.mark.parametrize(
    ("error", "planned", "code"),
    [
        (LockedByOther("x"), False, 6),
        (BadInput("x"), False, 2),
        (BadInput("x"), True, 3),
        (NotFound("x"), False, 7),
        (AccessDenied("x"), False, 7),
        (DiskFull("x"), True, 11),
        (ConnectFailed("x"), True, 3),
    ],
)
def test_errors_beside_failures_of_earlier_runs(con, error: XferError, planned: bool, code: int) -> None:
    fill(con, DONE, ("failed", "", "NotFound: x"), item="partial")
    assert ask(con, error=error, planned=planned).code == code


@pytest.mark.parametrize(("error", "code"), [(ConnectFailed("x"), 5), (DiskFull("x"), 11), (LockedByOther("x"), 6)])
def test_errors_alone(con, error: XferError, code: int) -> None:
    found = ask(con, error=error, planned=False)
    assert (found.state, found.code) == ("failed", code)
