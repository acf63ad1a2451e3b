"""What is listed of one item: everything an archive carries, what is wanted of it, and what went into assessors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from unit.jobs.download_bench import ITEM, SCAN

from xferengine.errors import AccessDenied, LoginRefused, NotFound, ProtocolViolation, ServerFault, XferError
from xferengine.jobs.core import Core
from xferengine.jobs.item_listing import Listed, list_item
from xferengine.jobs.remote_selection import RemoteSelection
from xferengine.jobs.resolve import Scope, Wanted
from xferengine.kit.clock import SystemClock
from xferengine.model.items import ItemRef, Level, RemoteFile, ResourceFiles, ResourceRef
from xferengine.schedule.lanes import Lanes
from xferengine.settings.slices import PoolConfig

ALL = RemoteSelection((), ())


def child(number: int) -> ItemRef:
    return msgspec.structs.replace(ITEM, level=Level.ASSESSOR, child_id=f"A{number}", direction="in")


def files(ref: ResourceRef, *paths: str) -> ResourceFiles:
    return ResourceFiles(ref=ref, files=tuple(RemoteFile(path=path, size=1, digest="") for path in paths))


class Site:
    """One experiment with a scan, notes, and assessors."""

    def __init__(self, assessors: int = 0) -> None:
        self.children = [child(n) for n in range(assessors)]
        self.below = [
            files(ResourceRef(item=SCAN, id="1", label="DICOM"), "a.dcm", "b.dcm"),
            files(ResourceRef(item=ITEM, id="2", label="NOTES"), "n.txt"),
        ]
        self.inputs: dict[str, list[ResourceFiles] | XferError] = {}
        self.broken: dict[str, XferError] = {}
        self.asked: list[str] = []

    async def list_resources(self, item: ItemRef, *, everything: bool = False) -> list[ResourceRef]:
        self.asked.append(f"resources {item.child_id} {everything}".replace("  ", " "))
        if item.direction != "in":
            return [listed.ref for listed in self.below]
        found = self.inputs.get(item.child_id, [])
        if isinstance(found, XferError):
            raise found
        return [listed.ref for listed in found]

    async def list_files(self, item: ItemRef, refs: object, *, everything: bool = False) -> list[ResourceFiles]:
        self.asked.append(f"files {everything}")
        return self.below

    async def list_children(self, item: ItemRef) -> list[ItemRef]:
        return self.children

    async def list_resource(self, ref: ResourceRef) -> ResourceFiles:
        self.asked.append(f"resource {ref.id}")
        if ref.id in self.broken:
            raise self.broken[ref.id]
        found = self.inputs[ref.item.child_id]
        assert not isinstance(found, XferError)
        return next(listed for listed in found if listed.ref.id == ref.id)

    async def list(
        self, *scopes: Scope, item: ItemRef = ITEM, selection: RemoteSelection = ALL, **options
    ) -> list[Listed]:
        core = SimpleNamespace(client=SimpleNamespace(files=self), lanes=Lanes(PoolConfig(), clock=SystemClock()))
        return await list_item(cast("Core", core), Wanted(item=item, scopes=scopes or (Scope(),)), selection, **options)


def wanted(found: list[Listed]) -> dict[str, list[str]]:
    return {one.wanted.ref.label: [file.path for file in one.wanted.files] for one in found}


async def test_an_experiment_is_listed_in_two_requests() -> None:
    site = Site()
    found = await site.list()
    assert wanted(found) == {"DICOM": ["a.dcm", "b.dcm"], "NOTES": ["n.txt"]}
    assert all(one.in_all for one in found)
    assert site.asked == ["resources True", "files True"]


async def test_a_subject_has_only_its_own() -> None:
    site = Site(assessors=2)
    item = ItemRef(level=Level.SUBJECT, project="P", subject="S", subject_id="S1")
    found = await site.list(item=item)
    assert site.asked == ["resources False", "files False"]
    assert not any(one.in_all for one in found)


async def test_without_resources_no_files_are_asked_for() -> None:
    site = Site()
    site.below = []
    assert await site.list() == []
    assert site.asked == ["resources True"]


async def test_what_is_not_wanted_is_named_all_the_same() -> None:
    site = Site()
    found = await site.list(Scope(child="scans", child_id="1"), selection=RemoteSelection(["file=b*"], ()))
    assert wanted(found) == {"DICOM": ["b.dcm"], "NOTES": []}
    assert [len(one.all.files) for one in found] == [2, 1]


async def test_several_scopes_are_any_of_them() -> None:
    scopes = (
        Scope(child="scans", child_id="1", resource="DICOM", file="a.dcm"),
        Scope(resource="NOTES", own_only=True),
    )
    assert wanted(await Site().list(*scopes)) == {"DICOM": ["a.dcm"], "NOTES": ["n.txt"]}


async def test_inputs_come_in_order_and_in_no_archive_of_the_experiment() -> None:
    site = Site(assessors=20)
    for n in range(20):
        site.inputs[f"A{n}"] = [files(ResourceRef(item=child(n), id=f"9{n}", label=f"IN{n}"), "x")]
    found = (await site.list())[2:]
    assert [one.all.ref.label for one in found] == [f"IN{n}" for n in range(20)]
    assert not any(one.in_all for one in found)
    assert {one.all.ref.item.direction for one in found} == {"in"}


async def test_of_own_resources_only_nobody_asks_for_inputs() -> None:
    site = Site(assessors=1)
    await site.list(Scope(own_only=True, resource="NOTES"))
    assert not any("A0" in asked for asked in site.asked)


@pytest.mark.parametrize(
    ("scope", "include", "asked"),
    [
        (Scope(), [], ["A0", "A1", "A2"]),
        (Scope(child="assessors", child_id="A1"), [], ["A1"]),
        (Scope(child="reconstructions", child_id="A1"), [], []),
        (Scope(child="scans", child_id="1"), [], []),
        (Scope(own_only=True), [], []),
        (Scope(), ["scan=1"], []),
        (Scope(), ["scan-type=T1"], []),
    ],
)
async def test_inputs_are_asked_for_where_they_can_be_wanted(
    scope: Scope, include: list[str], asked: list[str]
) -> None:
    """Of a single scan all assessors of the session were listed, and one that was broken counted as a failure."""
    site = Site(assessors=3)
    await site.list(scope, selection=RemoteSelection(include, ()))
    assert sorted(text.split()[1] for text in site.asked if " A" in text) == asked


async def test_an_assessor_without_inputs_is_no_error() -> None:
    site = Site(assessors=1)
    site.inputs["A0"] = NotFound("none")
    assert len(await site.list()) == 2


@pytest.mark.parametrize("error", [ServerFault("500"), AccessDenied("403"), ProtocolViolation("its parent answered")])
async def test_one_assessor_that_cannot_be_listed_stops_no_other(error: XferError) -> None:
    site = Site(assessors=3)
    for n in range(3):
        site.inputs[f"A{n}"] = [files(ResourceRef(item=child(n), id=f"9{n}", label=f"IN{n}"), "x")]
    site.inputs["A0"] = error
    site.broken["91"] = error
    broken: dict[str, XferError] = {}
    found = await site.list(on_broken=lambda item, why: broken.update({item.child_id: why}))
    assert [one.all.ref.label for one in found] == ["DICOM", "NOTES", "IN2"]
    assert broken == {"A0": error, "A1": error}
    with pytest.raises(type(error)):
        await site.list()


async def test_what_ends_the_job_is_raised_plainly() -> None:
    site = Site(assessors=3)
    site.inputs["A1"] = LoginRefused("no")
    with pytest.raises(LoginRefused):
        await site.list(on_broken=lambda item, why: None)
