"""Hostile text in a terminal, a spreadsheet, a page; and the two accelerators."""

from __future__ import annotations

import unicodedata
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.kit.checksums import crc32
from xferengine.kit.deflate import compress_raw
from xferengine.kit.escape import for_csv_cell, for_html, for_terminal


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\r\nb\tc", "a\\x0d\\x0ab\\x09c"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("c1\x9b31m", "c1\\x9b31m"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("Müller 名前", "Müller 名前"),
        ("\u2028", "\\u2028"),
    ],
)
def test_terminal_text_has_nothing_invisible(text: str, shown: str) -> None:
    assert for_terminal(text) == shown


@given(st.text(st.characters()))
def test_terminal_text_is_one_visible_line(text: str) -> None:
    assert not {unicodedata.category(c) for c in for_terminal(text)} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "  =1", "=cmd|' /C calc'!A0"]
)
def test_csv_cell_is_no_formula(text: str) -> None:
    assert for_csv_cell(text) == "'" + text


def test_csv_cell_leaves_ordinary_text() -> None:
    assert for_csv_cell("a=b-c") == "a=b-c"
    assert for_csv_cell("1.2.3\x00") == "1.2.3\\x00"


def test_html_is_escaped_for_text_and_attributes() -> None:
    assert for_html("<script>\"'&\x00\u202e") == "&lt;script&gt;&quot;&#x27;&amp;\\x00\\u202e"


@given(st.binary(max_size=1000), st.binary(max_size=1000))
def test_crc_continues_like_zlib(a: bytes, b: bytes) -> None:
    assert crc32(b, crc32(a)) == zlib.crc32(a + b)


@given(st.binary(max_size=3000))
def test_deflate_is_raw_and_read_by_zlib(data: bytes) -> None:
    assert zlib.decompress(compress_raw(data), -15) == data
