"""Tables and catalogs of other servers: tolerant in what does not matter, strict in what does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.errors import ProtocolViolation
from xferengine.xnat import wire
from xferengine.xnat.transport import Answer


def answer(body: bytes | str) -> Answer:
    return Answer(status=200, content_type="", body=body.encode() if isinstance(body, str) else body)


def rows(*cells: dict) -> Answer:
    return answer(json.dumps({"ResultSet": {"Columns": [{"key": "URI"}], "Result": list(cells), "title": "x"}}))


class TestTable:
    def test_every_cell_becomes_text(self) -> None:
        got = wire.table(rows({"a": None, "b": 5, "c": True, "d": 1.5, "e": "x"}))
        assert got == [{"a": "", "b": "5", "c": "true", "d": "1.5", "e": "x"}]

    @pytest.mark.parametrize(
        "body", [b'\xef\xbb\xbf{"ResultSet":{"Result":[]}}', b' {"ResultSet" : {"Result":[]}, "more":1}\r\n']
    )
    def test_marks_and_extra_keys_do_not_matter(self, body: bytes) -> None:
        assert wire.table(answer(body)) == []

    def test_a_server_whose_java_writes_latin_1(self) -> None:
        assert wire.table(answer('{"ResultSet":{"Result":[{"a":"J\u00f6rg"}]}}'.encode("latin-1"))) == [{"a": "Jörg"}]

    @pytest.mark.parametrize(
        "body",
        ["", "null", "[]", "{}", "<html>", '{"ResultSet":[]}', '{"ResultSet":{}}', '{"ResultSet":{"Result":null}}',
         '{"ResultSet":{"Result":[1]}}', '{"ResultSet":{"Result":[{"a":1}', "[" * 100_000],
    )  # fmt: skip
    def test_what_is_no_table(self, body: str) -> None:
        with pytest.raises(ProtocolViolation):
            wire.table(answer(body))

    @given(
        st.binary(max_size=80)
        | st.recursive(
            st.none() | st.integers() | st.text(),
            lambda x: (
                st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(["ResultSet", "Result", "a"]), x, max_size=3)
            ),
            max_leaves=8,
        ).map(lambda x: json.dumps(x).encode())
    )
    def test_any_bytes_are_a_table_or_a_violation(self, body: bytes) -> None:
        try:
            got = wire.table(answer(body))
        except ProtocolViolation:
            return
        assert all(isinstance(v, str) for row in got for v in row.values())

    def test_columns_are_found_in_any_case(self) -> None:
        row = {"SOURCE": "a", "foldername": "b"}
        assert wire.cell(row, "source") == "a"
        assert wire.cell(row, "x", "folderName") == "b"
        assert wire.cell(row, "x") == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), (" 12 ", 12), ("12.0", 12), ("1.5", -1), ("", -1), ("-3", -1), ("x", -1), ("²", -1), ("1" * 30, -1),
     ("1e3", -1), ("5 KB", -1)],
)  # fmt: skip
def test_numbers(text: str, value: int) -> None:
    assert wire.number(text) == value


@given(st.text(max_size=12))
def test_any_text_is_a_number_or_minus_one(text: str) -> None:
    assert wire.number(text) >= -1


def test_files_with_numbers_as_numbers_and_without_digest() -> None:
    got = wire.files(rows({"Name": "a", "Size": 5, "URI": "/data/x/a"}, {"name": "b", "size": "6", "digest": "D"}))
    assert [(f.name, f.size, f.uri, f.digest) for f in got] == [("a", 5, "/data/x/a", ""), ("b", 6, "", "D")]


class TestCatalog:
    @pytest.mark.parametrize(
        "document",
        [
            '<cat:DCMCatalog xmlns:cat="http://nrg.wustl.edu/catalog" UID="9"><cat:entries>'
            '<cat:entry xmlns:xsi="http://x" xsi:type="cat:dcmEntry" URI="1.dcm" UID="1.2" digest="ab"/>'
            "</cat:entries></cat:DCMCatalog>",
            '<DCMCatalog><entries><entry URI="1.dcm" UID="1.2" digest="ab"><metaFields><metaField name="SIZE">5'
            "</metaField></metaFields></entry></entries></DCMCatalog>",
            '<Catalog><sets><entrySet><sets><entrySet><entries><cat:dcmEntry xmlns:cat="u" uri="1.dcm" uid="1.2"'
            ' DIGEST="ab"/></entries></entrySet></sets></entrySet></sets></Catalog>',
            '\ufeff<?xml version="1.0" encoding="UTF-8"?>\r\n<c><!-- hidden -->'
            '<Entry URI="1.dcm" UID="1.2" digest="ab"/></c>',
        ],
    )
    def test_forms(self, document: str) -> None:
        assert wire.catalog(answer(document)) == [wire.CatalogEntry(name="1.dcm", uid="1.2", digest="ab")]

    def test_what_an_entry_may_lack(self) -> None:
        got = wire.catalog(answer('<c><entry ID="x"/><entry name="y" UID="2"/><entry/></c>'))
        assert [(e.name, e.uid, e.digest) for e in got] == [("x", "", ""), ("y", "2", ""), ("", "", "")]

    @pytest.mark.parametrize(
        "document",
        [
            "", "no xml", "<c><entry UID='1'/>", "<c></d>", '{"ResultSet":{}}',
            '<!DOCTYPE c [<!ENTITY a "b">]><c><entry UID="&a;"/></c>',
            '<!DOCTYPE c SYSTEM "file:///etc/passwd"><c/>',
            '<!DOCTYPE l [<!ENTITY l "l"><!ENTITY m "&l;&l;&l;&l;">]><l>&m;</l>',
        ],
    )  # fmt: skip
    def test_what_is_refused(self, document: str) -> None:
        with pytest.raises(ProtocolViolation):
            wire.catalog(answer(document))

    @given(st.binary(max_size=60) | st.text(alphabet="<>/entry =\"'&;!c", max_size=60).map(str.encode))
    def test_any_bytes_are_a_catalog_or_a_violation(self, body: bytes) -> None:
        try:
            wire.catalog(answer(body))
        except ProtocolViolation:
            return


def test_pieces_cover_everything_once() -> None:
    entries = [wire.CatalogEntry(name=str(n), uid="", digest="") for n in range(7)]
    pieces = list(wire.chunked(entries, 3))
    assert [len(p) for p in pieces] == [3, 3, 1]
    assert [e for p in pieces for e in p] == entries
