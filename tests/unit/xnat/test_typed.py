"""Targets as people type them: what goes on the wire, and what is refused."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.errors import SettingsError
from xferengine.xnat.paths import redact
from xferengine.xnat.typed import encode_typed, log_words

BASE = "https://xnat.example.org/site"


@pytest.mark.parametrize(
    ("typed", "wire"),
    [
        ("/data/projects", "/data/projects"),
        ("data/projects", "/data/projects"),
        ("//evil.example.org/data", "/evil.example.org/data"),
        ("/data/projects?format=json", "/data/projects?format=json"),
        ("/data/projects?format", "/data/projects?format="),
        ("/data/x?a&b=1&&c=", "/data/x?a=&b=1&c="),
        ("/data/x?q=a=b&r=?/", "/data/x?q=a=b&r=?/"),
        ("/data/files/a b.txt", "/data/files/a%20b.txt"),
        ("/data/files/a%20b.txt", "/data/files/a%20b.txt"),
        ("/data/files/100%.txt", "/data/files/100%25.txt"),
        ("/data/files/100%2x", "/data/files/100%252x"),
        ("/data/files/a#b", "/data/files/a%23b"),
        ("/data/files/é", "/data/files/%C3%A9"),
        ("/data/files/%c3%a9", "/data/files/%c3%a9"),
        ("/data/files/a+(b),'c'!$&=:@~*;d", "/data/files/a+(b),'c'!$&=:@~*;d"),
        ('/data/files/"<>[]{}|\\^`', "/data/files/%22%3C%3E%5B%5D%7B%7D%7C%5C%5E%60"),
        ("/data/x?q=[1]|é %41", "/data/x?q=%5B1%5D%7C%C3%A9%20%41"),
        ("/data/folder/", "/data/folder/"),
        ("/data/a..b/.hidden/...", "/data/a..b/.hidden/..."),
        ("https://xnat.example.org/site/data/x?a=1", "/data/x?a=1"),
        ("HTTPS://XNAT.example.org:443/site/data/x", "/data/x"),
        ("https://xnat.example.org/site", "/"),
        ("https://xnat.example.org/site?a", "/?a="),
    ],
)
def test_what_is_typed_goes_out_quoted_once(typed: str, wire: str) -> None:
    assert encode_typed(typed, BASE) == wire


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "/data/../x",
        "..",
        "/data/./x",
        "/data/%2e%2E/x",
        "/data/.%2e",
        "/data/a%2f..%2fb",
        "/data\\..\\x",
        "/data/x\r\nHost: evil",
        "/data/x\x00",
        "/data/\ud800",
        "https://evil.example.org/site/data",
        "http://xnat.example.org/site/data",
        "https://xnat.example.org:8443/site/data",
        "https://xnat.example.org/other/data",
        "https://xnat.example.org/sitemap",
        "https://xnat.example.org@evil.example.org/site/data",
        "https://u:p@xnat.example.org/site/data",
        "https://xnat.example.org:bad/site",
        "https://[::1/site",
        "ftp://xnat.example.org/site/data",
    ],
)
def test_what_could_lead_elsewhere_is_refused(typed: str) -> None:
    with pytest.raises(SettingsError):
        encode_typed(typed, BASE)


@given(st.text())
def test_anything_typed_is_refused_or_becomes_one_clean_target(typed: str) -> None:
    try:
        wire = encode_typed(typed, BASE)
    except SettingsError:
        return
    assert re.fullmatch(r"/[!-~]*", wire)
    assert not re.search(r"[\"<>\[\]{}|\\^`#]|%(?![0-9A-Fa-f]{2})", wire)
    assert encode_typed(wire, BASE) == wire
    path, _, query = wire.partition("?")
    assert not {".", ".."} & set(unquote(path).split("/"))
    assert all("=" in pair for pair in query.split("&") if pair)


@given(st.text(st.characters(exclude_characters="%?/\\", exclude_categories=("Cs", "Cc")), min_size=1))
def test_a_name_without_escapes_arrives_as_itself(name: str) -> None:
    if name in {".", ".."}:
        return
    assert unquote(encode_typed("/data/" + name, BASE)) == "/data/" + name


def test_a_log_shows_known_words_only() -> None:
    assert redact(log_words("/data/projects/DOE%20JOHN/files?x=secret")) == "/data/projects/*/files"
