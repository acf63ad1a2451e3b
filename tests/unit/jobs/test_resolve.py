"""From remotes to items by ids."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from xferengine.errors import AccessDenied, LoginRefused, NotFound, ServerFault, SettingsError, XferError
from xferengine.jobs.core import Core
from xferengine.jobs.remote_selection import RemoteSelection
from xferengine.jobs.resolve import Resolver, Scope, Wanted
from xferengine.kit.clock import SystemClock
from xferengine.model.events import Event, Notice
from xferengine.model.items import ItemRef, Level, RemoteFile, ResourceFiles, ResourceRef
from xferengine.model.remote import parse_remote
from xferengine.schedule.lanes import Lanes
from xferengine.settings.slices import PoolConfig
from xferengine.xnat.experiments import ExperimentInfo


def info(label: str, subject: str, **values: str) -> ExperimentInfo:
    return ExperimentInfo(
        **{
            "accession": f"X_{label}",
            "label": label,
            "project": "P",
            "subject_label": subject,
            "subject_id": f"X_{subject}",
            "xsi_type": "xnat:mrSessionData",
            "date": "2024-05-01",
            **values,
        }
    )


class Site:
    """Two projects, and what is asked."""

    def __init__(self) -> None:
        self.tables: dict[str, list[ExperimentInfo] | XferError] = {
            "P": [info("E1", "S1"), info("E2", "S2"), info("A1", "S1", session_id="X_E1")],
            "Q": [info("E3", "S3", project="Q")],
        }
        self.subjects = {"P": [("X_S1", "S1"), ("X_S2", "S2")], "Q": [("X_S3", "S3")]}
        self.homes: dict[str, str] | XferError = {}
        self.asked: list[str] = []
        self.events: list[Event] = []

    async def list_experiments(self, project: str) -> list[ExperimentInfo]:
        self.asked.append(project)
        found = self.tables[project]
        if isinstance(found, XferError):
            raise found
        return found

    async def list_subjects(self, project: str) -> list[tuple[str, str]]:
        return self.subjects[project]

    async def list_ids(self) -> list[str]:
        return list(self.tables)

    async def list_homes(self) -> dict[str, str]:
        if isinstance(self.homes, XferError):
            raise self.homes
        return self.homes

    def resolver(self, *include: str, since: str = "") -> Resolver:
        core = SimpleNamespace(
            client=SimpleNamespace(experiments=self, projects=self),
            emit=self.events.append,
            lanes=Lanes(PoolConfig(), clock=SystemClock()),
        )
        return Resolver(cast("Core", core), RemoteSelection(include, (), since))

    async def find(self, text: str, *include: str, since: str = "") -> list[Wanted]:
        return [wanted async for wanted in self.resolver(*include, since=since).iter_items(parse_remote(text))]


def names(found: list[Wanted]) -> list[str]:
    return [wanted.item.experiment_id or wanted.item.subject_id or wanted.item.project for wanted in found]


async def test_a_project_is_its_own_files_its_subjects_and_its_experiments() -> None:
    site = Site()
    found = await site.find(":P")
    assert names(found) == ["P", "X_S1", "X_S2", "X_E1", "X_E2"]  # an image assessor comes with its session
    assert [wanted.scopes[0].own_only for wanted in found] == [True, True, True, False, False]
    assert found[3].item == ItemRef(
        level=Level.EXPERIMENT, project="P", subject="S1", subject_id="X_S1", experiment="E1", experiment_id="X_E1"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":P/S1", ["X_S1", "X_E1"]),
        (":P/X_S1", ["X_S1", "X_E1"]),
        (":P/S1/E1", ["X_E1"]),
        (":P/X_S1/X_E1", ["X_E1"]),
        (":P/S1/E1/scans/4", ["X_E1"]),
        (":P/S1/A1", ["X_A1"]),
        (":P/resources/R", ["P"]),
        (":P/S1/resources/R", ["X_S1"]),
        (":*", ["P", "X_S1", "X_S2", "X_E1", "X_E2", "Q", "X_S3", "X_E3"]),
    ],
)
async def test_remotes(text: str, expected: list[str]) -> None:
    assert names(await Site().find(text)) == expected


@pytest.mark.parametrize("text", [":P/NOPE", ":P/S1/NOPE", ":P/S2/E1", ":P/S1/E2", ":P/S1/X_E2"])
async def test_an_unknown_child_is_never_its_parent(text: str) -> None:
    with pytest.raises(NotFound):
        await Site().find(text)


async def test_two_of_one_name_are_not_guessed() -> None:
    site = Site()
    site.tables["P"] = [info("E1", "S1"), info("E1", "S1", accession="X_OTHER")]
    with pytest.raises(SettingsError, match="accession"):
        await site.find(":P/S1/E1")
    assert names(await site.find(":P/S1/X_OTHER")) == ["X_OTHER"]


async def test_a_table_without_subjects_still_resolves() -> None:
    site = Site()
    site.tables["P"] = [info("E1", "", subject_id="")]
    assert names(await site.find(":P/S1/E1")) == ["X_E1"]


@pytest.mark.parametrize(
    ("text", "include", "since", "expected"),
    [
        (":P", ["experiment=*2"], "", ["X_E2"]),
        (":P", ["subject=S2"], "", ["P", "X_S2", "X_E2"]),
        (":P", [], "2024-05-02", []),
        (":P", ["xsitype=*pet*"], "", []),
        (":*", ["project=Q"], "", ["Q", "X_S3", "X_E3"]),
        (":P", ["project=Q"], "", []),
    ],
)
async def test_filters(text: str, include: list[str], since: str, expected: list[str]) -> None:
    assert names(await Site().find(text, *include, since=since)) == expected


@pytest.mark.parametrize(
    ("homes", "expected"),
    [
        ({"X_E3": "Q"}, ["P", "X_S1", "X_S2", "Q", "X_S3", "X_E3"]),
        ({"X_E3": "P"}, ["P", "X_S1", "X_S2", "X_E3", "Q", "X_S3"]),
        ({"X_E3": "NOT READABLE"}, ["P", "X_S1", "X_S2", "X_E3", "Q", "X_S3", "X_E3"]),
        (ServerFault("500"), ["P", "X_S1", "X_S2", "X_E3", "Q", "X_S3", "X_E3"]),
    ],
)
async def test_of_all_projects_a_shared_experiment_is_taken_where_it_is_at_home(homes, expected: list[str]) -> None:
    site = Site()
    site.homes = homes
    site.tables = {"P": [info("E3", "S3", project="Q")], "Q": [info("E3", "S3", project="Q")]}
    assert names(await site.find(":*")) == expected


async def test_tables_are_asked_for_once() -> None:
    site = Site()
    resolver = site.resolver()
    for text in (":P/S1/E1", ":P/S2/E2", ":P"):
        async for _ in resolver.iter_items(parse_remote(text)):
            pass
    assert site.asked == ["P"]


@pytest.mark.parametrize("error", [AccessDenied("no"), NotFound("no")])
async def test_of_all_projects_those_that_may_not_be_read_are_left_out(error: XferError) -> None:
    site = Site()
    site.tables["P"] = error
    resolver = site.resolver()
    assert names([w async for w in resolver.iter_items(parse_remote(":*"))]) == ["Q", "X_S3", "X_E3"]
    assert [type(event) for event in site.events] == [Notice]
    assert resolver.broken == []
    with pytest.raises(type(error)):
        await site.find(":P")


async def test_of_all_projects_one_that_is_broken_stops_no_other_and_is_named() -> None:
    site = Site()
    site.tables["P"] = ServerFault("500")
    resolver = site.resolver()
    assert names([w async for w in resolver.iter_items(parse_remote(":*"))]) == ["Q", "X_S3", "X_E3"]
    ((remote, error),) = resolver.broken
    assert (remote.text, error.kind) == ("P", "ServerFault")


async def test_what_ends_the_job_is_not_kept() -> None:
    site = Site()
    site.tables["P"] = LoginRefused("no")
    with pytest.raises(LoginRefused):
        await site.find(":*")


def ref(level: Level = Level.EXPERIMENT, child: str = "", label: str = "R", number: str = "7") -> ResourceRef:
    return ResourceRef(
        item=ItemRef(level=level, project="P", experiment_id="E", child_id=child), id=number, label=label
    )


SCAN, OWN, ASSESSOR = ref(Level.SCAN, "4"), ref(), ref(Level.ASSESSOR, "4")


@pytest.mark.parametrize(
    ("scope", "taken"),
    [
        (Scope(), [SCAN, OWN, ASSESSOR]),
        (Scope(own_only=True), [OWN]),
        (Scope(child="scans", child_id="4"), [SCAN]),
        (Scope(child="assessors", child_id="4"), [ASSESSOR]),
        (Scope(child="scans", child_id="5"), []),
        (Scope(resource="R"), [SCAN, OWN, ASSESSOR]),
        (Scope(resource="7", own_only=True), [OWN]),
        (Scope(resource="X"), []),
    ],
)
def test_scopes_take_resources(scope: Scope, taken: list[ResourceRef]) -> None:
    assert [one for one in (SCAN, OWN, ASSESSOR) if scope.takes(one)] == taken


@pytest.mark.parametrize(
    ("wanted", "path", "taken"),
    [("", "a", True), ("a", "a", True), ("a", "ab", False), ("a/", "a/b", True), ("a/", "a", False)],
)
def test_scopes_take_files(wanted: str, path: str, taken: bool) -> None:
    assert Scope(resource="R", file=wanted).takes_path(path) is taken


@pytest.mark.parametrize(
    ("scope", "missed"),
    [
        (Scope(), False),
        (Scope(own_only=True), False),
        (Scope(child="scans", child_id="4"), False),
        (Scope(child="scans", child_id="5"), True),
        (Scope(resource="R"), False),
        (Scope(resource="X"), True),
        (Scope(resource="R", file="a"), False),
        (Scope(resource="R", file="b"), True),
        (Scope(child="scans", child_id="4", resource="X"), True),
    ],
)
def test_what_was_named_and_is_nowhere_is_missed(scope: Scope, missed: bool) -> None:
    listing = [ResourceFiles(ref=SCAN, files=(RemoteFile(path="a", size=1, digest=""),))]
    assert scope.is_missed(listing) is missed
    assert scope.is_missed([]) is bool(scope.child or scope.resource)


@pytest.mark.parametrize(("direction", "taken"), [("", ["in", "out", ""]), ("in", ["in"]), ("out", ["out"])])
def test_a_direction_takes_only_that_one(direction: str, taken: list[str]) -> None:
    scope = Scope(child="assessors", child_id="4", direction=direction)
    item = msgspec.structs.replace(ASSESSOR.item)
    refs = {
        one: ResourceRef(item=msgspec.structs.replace(item, direction=one), id="7", label="R")
        for one in ["in", "out", ""]
    }
    assert [one for one, ref in refs.items() if scope.takes(ref)] == taken
    assert scope.may_have_inputs is (direction != "out")


def test_a_scope_is_said_as_a_person_writes_it() -> None:
    item = ItemRef(level=Level.EXPERIMENT, project="P", subject="S", experiment="E", experiment_id="X")
    text = Scope(child="scans", child_id="4", resource="R", file="a").remote(item).text
    assert text == "P/S/E/scans/4/resources/R/files/a"
    assert Scope(child="assessors", child_id="A", direction="in").remote(item).text == "P/S/E/assessors/A/in"
