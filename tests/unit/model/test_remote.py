"""Remotes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.errors import SettingsError
from xferengine.model.remote import RemotePath, is_remote, parse_remote


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (":P", {"project": "P"}),
        ("site:P", {"profile": "site", "project": "P"}),
        (":*", {"project": "*"}),
        (":P/", {"project": "P"}),
        (":P/S", {"project": "P", "subject": "S"}),
        (":P/S/E", {"project": "P", "subject": "S", "experiment": "E"}),
        (":P/S/E/R", {"project": "P", "subject": "S", "experiment": "E", "resource": "R"}),
        (":P/S/E/scans/4", {"project": "P", "subject": "S", "experiment": "E", "child": "scans", "child_id": "4"}),
        (
            ":P/S/E/scans/4/R",
            {"project": "P", "subject": "S", "experiment": "E", "child": "scans", "child_id": "4", "resource": "R"},
        ),
        (
            ":P/S/E/assessors/A/resources/R",
            {"project": "P", "subject": "S", "experiment": "E", "child": "assessors", "child_id": "A", "resource": "R"},
        ),
        (
            ":P/S/E/assessors/A/in/R",
            {
                "project": "P",
                "subject": "S",
                "experiment": "E",
                "child": "assessors",
                "child_id": "A",
                "direction": "in",
                "resource": "R",
            },
        ),
        (
            ":P/S/E/assessors/A/out/resources/R",
            {
                "project": "P",
                "subject": "S",
                "experiment": "E",
                "child": "assessors",
                "child_id": "A",
                "direction": "out",
                "resource": "R",
            },
        ),
        (
            ":P/S/E/reconstructions/1/out",
            {
                "project": "P",
                "subject": "S",
                "experiment": "E",
                "child": "reconstructions",
                "child_id": "1",
                "direction": "out",
            },
        ),
        (
            ":P/S/E/assessors/A/resources/in",
            {
                "project": "P",
                "subject": "S",
                "experiment": "E",
                "child": "assessors",
                "child_id": "A",
                "resource": "in",
            },
        ),
        (
            ":P/S/E/assessors/A/in/in",
            {
                "project": "P",
                "subject": "S",
                "experiment": "E",
                "child": "assessors",
                "child_id": "A",
                "direction": "in",
                "resource": "in",
            },
        ),
        (
            ":P/S/E/scans/4/in",
            {"project": "P", "subject": "S", "experiment": "E", "child": "scans", "child_id": "4", "resource": "in"},
        ),
        (":P/resources/R", {"project": "P", "resource": "R"}),
        (":P/S/resources/R", {"project": "P", "subject": "S", "resource": "R"}),
        (
            ":P/S/E/R/files/a/b.txt",
            {"project": "P", "subject": "S", "experiment": "E", "resource": "R", "file": "a/b.txt"},
        ),
        (":P/S/E/R/files/a/", {"project": "P", "subject": "S", "experiment": "E", "resource": "R", "file": "a/"}),
        (":P/resources/R/files/x/files/y", {"project": "P", "resource": "R", "file": "x/files/y"}),
        (":P/S Ä/E:1", {"project": "P", "subject": "S Ä", "experiment": "E:1"}),
    ],
)
def test_forms(text: str, fields: dict[str, str]) -> None:
    assert parse_remote(text) == RemotePath(**{"profile": "", **fields})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "/tmp/P",
        "./a:b/c",
        "C:\\data",
        "C:/data",
        ":",
        ":/",
        "site:",
        ":P//E",
        ":P/S/E/scans",
        ":P/S/E/R/X",
        ":P/S/E/scans/4/R/X",
        ":P/resources",
        ":P/S/E/files/a",
        ":P/S/E/R/files/",
        ":P/S/E/R/files",
        ":*/S",
        ":*/resources/R",
        ":P/S/E/scans/4/files/a",
        ":P/S/E/assessors/A/in/files/a",
        ":P/S/E/scans/4/in/R",
    ],
)
def test_what_is_no_remote_is_said(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_remote(text)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (":P", True),
        ("site:P/S", True),
        ("x:P", True),
        ("/a:b", False),
        ("a/b:c", False),
        ("C:\\x", False),
        ("c:/x", False),
        ("a\\b:c", False),
        ("folder", False),
        ("", False),
    ],
)
def test_a_path_without_colon_is_local_and_so_is_a_drive(text: str, is_one: bool) -> None:
    assert is_remote(text) is is_one


PARTS = st.sampled_from(
    ["P", "S", "*", "scans", "assessors", "resources", "files", "4", "R", "in", "out", "", "é x", "a:b", ".."]
)


@given(st.one_of(st.text(max_size=40), st.lists(PARTS, max_size=9).map(lambda parts: ":" + "/".join(parts))))
def test_whatever_is_read_prints_back_and_nothing_else_is_raised(text: str) -> None:
    try:
        remote = parse_remote(text)
    except SettingsError:
        return
    again = parse_remote(f"{remote.profile}:{remote.text}")
    assert again == remote
    assert remote.project
    assert bool(remote.child) == bool(remote.child_id)
    assert not remote.direction or remote.child in {"assessors", "reconstructions"}
    assert not remote.file or remote.resource
