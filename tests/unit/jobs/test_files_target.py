"""Where a remote means to write, and what cannot be written to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import pytest

from xferengine.errors import SettingsError
from xferengine.jobs.core import Core
from xferengine.jobs.files_target import Target, find_resource, parse_target
from xferengine.model.items import ItemRef, Level, ResourceRef

ITEM = ItemRef(level=Level.SCAN, project="P", subject="S", experiment="E", experiment_id="E1", child_id="7")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (":P/resources/R", "P/resources/R"),
        ("x:P/S/resources/R", "P/S/resources/R"),
        (":P/S/E/R", "P/S/E/resources/R"),
        (":P/S/E/scans/1/R", "P/S/E/scans/1/resources/R"),
        (":P/S/E/assessors/A/resources/R", "P/S/E/assessors/A/resources/R"),
    ],
)
def test_remotes_that_name_a_resource(text: str, shown: str) -> None:
    assert parse_target(text).text == shown


@pytest.mark.parametrize("text", [":P", ":P/S", ":P/S/E", ":P/S/E/scans/1", ":*", ":P/S/E/R/files/a", "P/S/E/R"])
def test_remotes_that_do_not(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_target(text)


def test_a_target_is_shown_by_labels() -> None:
    target = Target(ref=ResourceRef(item=ITEM, id="42", label="R"))
    assert target.shown == "P/S/E/scans/7/R"


def core_with(*refs: tuple[str, str]) -> Core:
    @asynccontextmanager
    async def slot() -> AsyncIterator[None]:
        yield None

    async def list_resources(item: ItemRef) -> list[ResourceRef]:
        return [ResourceRef(item=item, id=number, label=label) for number, label in refs]

    lanes = SimpleNamespace(listing=SimpleNamespace(slot=slot))
    client = SimpleNamespace(files=SimpleNamespace(list_resources=list_resources))
    return cast("Core", SimpleNamespace(lanes=lanes, client=client))


@pytest.mark.parametrize(("name", "number"), [("R", "1"), ("2", "2"), ("odd label;", "3"), ("NEW", ""), ("9", "9")])
async def test_by_label_or_number(name: str, number: str) -> None:
    core = core_with(("1", "R"), ("2", "Q"), ("3", "odd label;"), ("9", "x"), ("8", "9"))
    found = await find_resource(core, ITEM, name)
    assert (found.id, found.item) == (number, ITEM)


@pytest.mark.parametrize("name", ["R", "7", "a b", "NULL"])
async def test_what_means_two_or_cannot_be_made(name: str) -> None:
    with pytest.raises(SettingsError):
        await find_resource(core_with(("1", "R"), ("2", "R")), ITEM, name)
