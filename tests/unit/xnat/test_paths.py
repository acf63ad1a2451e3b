"""Paths out, URIs in: nothing hostile gets through, nothing odd but legal gets lost."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.errors import ProtocolViolation
from xferengine.xnat.paths import RowRef, is_sendable, parse_uri, parse_uri_list, quote_path, redact

TS = "20240131_130509123"
ROW = RowRef("P", TS, "LABEL")


@pytest.mark.parametrize(
    ("segment", "quoted"),
    [
        ("a b", "a%20b"),
        ("a+b", "a%2Bb"),
        ("a#b?c", "a%23b%3Fc"),
        ("é", "%C3%A9"),
        ("!$&'()*,=:@~-._", "!$&'()*,=:@~-._"),
        ("...", "..."),
    ],
)
def test_quoting(segment: str, quoted: str) -> None:
    assert quote_path(("data", segment)) == f"/data/{quoted}"


@pytest.mark.parametrize("segment", ["", ".", "..", "a/b", "a\\b", "a%b", "a;b", "a\nb", "\x00", "\x7f", "\ud800"])
def test_what_no_url_can_carry(segment: str) -> None:
    assert not is_sendable(segment)
    with pytest.raises(ProtocolViolation) as caught:
        quote_path(("data", segment))
    assert caught.value.path is None
    with pytest.raises(ProtocolViolation):
        RowRef("P", TS, segment)


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_a_quoted_path_reads_back_or_is_refused(segments: list[str]) -> None:
    try:
        path = quote_path(tuple(segments))
    except ProtocolViolation:
        assert not all(is_sendable(s) for s in segments)
        return
    assert [unquote(part) for part in path.split("/")[1:]] == segments
    assert path.isascii()
    assert " " not in path


def test_logs_see_known_words_only() -> None:
    assert redact(("data", "projects", "DOE^J", "experiments", "E1")) == "/data/projects/*/experiments/*"


@pytest.mark.parametrize(
    "text",
    [
        f"/data/prearchive/projects/P/{TS}/LABEL",
        f"/prearchive/projects/P/{TS}/LABEL",
        f"prearchive/projects/P/{TS}/LABEL/",
        f"/REST/prearchive/projects/P/{TS}/LABEL",
        f"https://xnat.example/xnat/data/prearchive/projects/P/{TS}/LABEL",
        f"/xnat/data/prearchive/projects/P/{TS}/LABEL",
        f" /data/prearchive/projects/P/{TS}/L%41BEL\r",
    ],
)
def test_forms_of_a_row(text: str) -> None:
    assert RowRef.parse(text) == ROW


def test_a_row_in_its_own_words() -> None:
    assert ROW.uri == f"/data/prearchive/projects/P/{TS}/LABEL"
    assert ROW.src == f"/prearchive/projects/P/{TS}/LABEL"
    assert quote_path(ROW.segments) == ROW.uri
    assert "LABEL" not in repr(ROW)


@pytest.mark.parametrize("stamp", ["20240131_130509", TS, "20240131_130509123_1", "20240131130509"])
def test_timestamps_of_other_servers(stamp: str) -> None:
    assert RowRef.parse(f"/prearchive/projects/P/{stamp}/L").timestamp == stamp


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "/data", "/data/prearchive", f"/prearchive/projects/P/{TS}", f"/prearchive/projects/P/{TS}/L/more",
        f"/prearchive/projects/../{TS}/L", f"/prearchive/projects/P/{TS}/..", f"/prearchive/projects/P/{TS}/%2e%2e",
        f"/prearchive/projects/P/{TS}/a%2Fb", f"/prearchive/projects/P/{TS}/a\\b", "/prearchive/projects/P/x y/L",
        f"/prearchive/projects/P/{TS}/a\x00b", "/archive/projects/P/subjects/S/experiments", "<html>", "x" * 5000,
        f"javascript:/prearchive/projects/P/{TS}/L" * 2,
    ],
)  # fmt: skip
def test_what_names_no_row(text: str) -> None:
    with pytest.raises(ProtocolViolation):
        RowRef.parse(text)


@pytest.mark.parametrize(
    ("text", "project", "folder", "is_archive"),
    [
        ("/data/archive/projects/P/subjects/S/experiments/E", "P", "E", True),
        ("/archive/projects/P/experiments/E", "P", "E", True),
        ("http://h:8080/data/archive/projects/P/subjects/S/experiments/E\r\n", "P", "E", True),
        ("/xapi/direct-archive/P/1.2.3/NAME", "P", "NAME", False),
        (f"/data/prearchive/projects/Unassigned/{TS}/F", "Unassigned", "F", False),
    ],
)
def test_uris_of_answers(text: str, project: str, folder: str, is_archive: bool) -> None:
    uri = parse_uri(text)
    assert (uri.project, uri.folder, uri.is_archive) == (project, folder, is_archive)
    assert (uri.row is None) is ("prearchive" not in text)


@pytest.mark.parametrize("end", ["..", "%2e%2e", "a%2fb", "a\\b", "a;b"])
@pytest.mark.parametrize("start", ["/archive/projects/P/experiments/", "/xapi/direct-archive/P/1.2/"])
def test_no_uri_leads_elsewhere(start: str, end: str) -> None:
    with pytest.raises(ProtocolViolation):
        parse_uri(start + end)


@pytest.mark.parametrize("text", ["", "\r\n", "  \n\n"])
def test_an_empty_list_means_nothing_stored(text: str) -> None:
    assert parse_uri_list(text) == ()


def test_a_list_is_read_with_any_line_ends_and_without_doubles() -> None:
    one, two = f"/data/prearchive/projects/P/{TS}/A", f"/data/prearchive/projects/P/{TS}/B"
    assert [uri.text for uri in parse_uri_list(f"{one}\r\n{two}\n{one}")] == [one, two]


@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(["/", "..", "data", "prearchive", "projects", TS, "%2f", "P", "archive", "experiments"]),
        max_size=9,
    ).map("/".join)
)
def test_any_text_is_a_uri_or_a_violation(text: str) -> None:
    try:
        uri = parse_uri(text)
    except ProtocolViolation:
        return
    for part in (uri.project, uri.folder):
        assert is_sendable(part)
