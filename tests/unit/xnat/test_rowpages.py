"""A table that is read while it arrives gives the rows of the whole one, wherever it is cut."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xferengine.errors import NotFound, ProtocolViolation
from xferengine.model.items import ItemRef, Level, RemoteFile, ResourceRef
from xferengine.xnat import wire
from xferengine.xnat.rowpages import RowPages, read_listing
from xferengine.xnat.transport import Answer

REF = ResourceRef(item=ItemRef(level=Level.EXPERIMENT, project="P", experiment_id="E1"), id="42", label="R")
NAMES = st.text(st.sampled_from('a},{"]\\[:é☃ "Result'), max_size=12)


def document(rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"ResultSet": {"Columns": [{"key": "URI"}], "Result": rows, "title": "Files", **more}}


def read(body: bytes, cuts: list[int]) -> list[wire.Row]:
    pages, found = RowPages(), []
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        found += pages.feed(body[start:end])
    return found + pages.finish()


@given(
    names=st.lists(NAMES, max_size=8),
    spaced=st.booleans(),
    ascii_only=st.booleans(),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
)
@example(names=["},{"] * 3, spaced=False, ascii_only=False, cuts=[60])
def test_any_cut_gives_the_rows_of_the_whole(names: list[str], spaced: bool, ascii_only: bool, cuts: list[int]) -> None:
    rows = [{"Name": name, "Size": number, "digest": None} for number, name in enumerate(names)]
    separators = None if spaced else (",", ":")
    body = json.dumps(document(rows), separators=separators, ensure_ascii=ascii_only).encode()
    whole = wire.table(Answer(status=200, content_type="", body=body))
    assert read(body, sorted(min(cut, len(body)) for cut in cuts)) == whole


def test_rows_leave_as_soon_as_they_are_whole() -> None:
    body = json.dumps(document([{"Name": str(number)} for number in range(100)])).encode()
    pages = RowPages()
    early = pages.feed(body[: len(body) // 2])
    assert 40 < len(early) < 60


@given(st.integers(1, 60))
def test_a_cut_table_is_never_a_whole_one(missing: int) -> None:
    body = json.dumps(document([{"Name": str(number)} for number in range(10)])).encode()
    with pytest.raises(ProtocolViolation):
        read(body[:-missing], [20, 40])


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"ResultSet":{}}', b'{"ResultSet":{"Result":[1]}}'])
def test_what_is_no_table(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        read(body, [])


class Body:
    def __init__(self, body: bytes, step: int) -> None:
        self._pieces = [body[start : start + step] for start in range(0, len(body), step)]

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def stream_of(rows: list[dict[str, Any]], asked: list[Any], step: int = 100) -> Any:
    @asynccontextmanager
    async def open_stream(request: Any) -> AsyncIterator[Any]:
        asked.append(request)
        yield Body(json.dumps(document(rows)).encode(), step)

    return open_stream


def row(path: str, **changes: Any) -> dict[str, Any]:
    uri = f"/data/experiments/E1/resources/42/files/{path}"
    return {"Name": path, "Size": "5", "URI": uri, "cat_ID": "42", "collection": "R", "digest": "A" * 32, **changes}


async def taken(rows: list[dict[str, Any]]) -> list[RemoteFile]:
    found: list[RemoteFile] = []

    async def take(files: list[RemoteFile]) -> None:
        found.extend(files)

    asked: list[Any] = []
    await read_listing(stream_of(rows, asked), REF, take)
    assert asked[0].segments == ("data", "experiments", "E1", "resources", "42", "files")
    return found


async def test_files_come_with_their_raw_path_size_and_digest() -> None:
    found = await taken([row("a/%20 b"), *(row(f"f{number}", digest="", Size="") for number in range(20))])
    assert found[0] == RemoteFile(path="a/%20 b", size=5, digest="a" * 32)
    assert [file.path for file in found[1:]] == [f"f{number}" for number in range(20)]
    assert (found[1].size, found[1].digest) == (-1, "")


async def test_an_empty_resource_has_no_page() -> None:
    assert await taken([]) == []


async def test_rows_of_another_item_or_resource_are_refused() -> None:
    with pytest.raises(ProtocolViolation):
        await taken([row("a", URI="/data/experiments/E2/resources/42/files/a")])
    with pytest.raises(ProtocolViolation):
        await taken([row("a", URI="/data/experiments/E1/resources/43/files/a", cat_ID="43")])


async def test_errors_pass_through() -> None:
    @asynccontextmanager
    async def gone(request: Any) -> AsyncIterator[Any]:
        raise NotFound("gone")
        yield

    async def take(_: list[RemoteFile]) -> None:
        return None

    with pytest.raises(NotFound):
        await read_listing(gone, REF, take)
