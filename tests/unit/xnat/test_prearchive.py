"""The prearchive as other servers may list it, and what each answer to an order means."""

from __future__ import annotations

import json

import pytest

from xferengine.errors import Ambiguous, LoginExpired, NotFound, ProtocolViolation, Rejected
from xferengine.xnat.faults import SessionLocked
from xferengine.xnat.paths import RowRef
from xferengine.xnat.prearchive import Prearchive
from xferengine.xnat.transport import BytesBody, Kind

TS = "20240131_130509123"
REF = RowRef("P", TS, "L")
LOST = RowRef("Unassigned", TS, "L")
FULL = {
    "project": "P", "timestamp": TS, "lastmod": "2024-01-31 13:05:09.123", "uploaded": "", "subject": "S",
    "folderName": "L", "name": "L", "tag": "1.2", "status": "READY", "url": f"/prearchive/projects/P/{TS}/L",
    "autoarchive": "Manual", "SOURCE": "xferengine-1",
}  # fmt: skip


def table(*rows: dict) -> tuple[int, str]:
    return 200, json.dumps({"ResultSet": {"Result": list(rows)}})


def without(*names: str, **more: str) -> dict:
    return {k: v for k, v in FULL.items() if k not in names} | more


async def test_a_row_and_the_request_for_it(scripted) -> None:
    call = scripted(table(FULL))
    (row,) = await Prearchive(call).list_rows("P")
    assert (row.ref, row.project, row.name, row.subject, row.tag) == (REF, "P", "L", "S", "1.2")
    assert (row.status, row.source, row.autoarchive, row.is_locked) == ("READY", "xferengine-1", "Manual", False)
    assert call.requests[0].segments == ("data", "prearchive", "projects", "P")
    assert call.requests[0].query == (("format", "json"),)
    assert "L" not in repr(row).replace("PrearcRow", "")


@pytest.mark.parametrize(
    ("cells", "project", "ref"),
    [
        (without("url"), "P", REF),
        (without("url", timestamp=TS, project=""), "", LOST),
        (without("project"), "P", REF),
        (without("timestamp", "folderName", "name"), "P", REF),
        (without(timestamp="2024-01-31 13:05:09.123"), "P", REF),
        (without(url=f"/data/prearchive/projects/P/{TS}/L"), "P", REF),
        (without(url=f"https://x/data/prearchive/projects/P/{TS}/L"), "P", REF),
        (without(url="nonsense"), "P", REF),
        (without(url=LOST.src, project=""), "", LOST),
        (without(url=LOST.src, project="Unassigned"), "Unassigned", LOST),
    ],
)  # fmt: skip
async def test_rows_with_missing_or_odd_columns(scripted, cells: dict, project: str, ref: RowRef) -> None:
    (row,) = await Prearchive(scripted(table(cells))).list_rows("P")
    assert (row.ref, row.project, row.name) == (ref, project, "L")


async def test_a_row_that_cannot_be_addressed_hides_no_other(scripted) -> None:
    odd = without("url", folderName="a/../b")
    odd_url = without("timestamp", url="/prearchive/projects/P/../x")
    rows = await Prearchive(scripted(table(odd, {}, odd_url, FULL))).list_rows("P")
    assert [row.ref for row in rows] == [REF]


async def test_source_in_lower_case_and_locked_states(scripted) -> None:
    cells = without("SOURCE", source="me", status="_ARCHIVING ")
    (row,) = await Prearchive(scripted(table(cells))).list_rows("P")
    assert (row.source, row.status, row.is_locked) == ("me", "_ARCHIVING", True)


@pytest.mark.parametrize("body", ["", "<html>login</html>", "{}"])
async def test_an_answer_that_is_no_table_is_never_no_rows(scripted, body: str) -> None:
    with pytest.raises((ProtocolViolation, LoginExpired)):
        await Prearchive(scripted((200, body, "text/html"))).list_rows("P")


class TestOneRow:
    @pytest.mark.parametrize("answer", [table(), (404, "")])
    async def test_gone(self, scripted, answer) -> None:
        assert await Prearchive(scripted(answer)).get_row(REF) is None

    async def test_found_among_rows_of_others(self, scripted) -> None:
        other = without(url=f"/prearchive/projects/Unassigned/{TS}/X")
        row = await Prearchive(scripted(table(other, FULL))).get_row(REF)
        assert row is not None
        assert row.ref == REF

    async def test_one_whose_timestamp_prints_otherwise_counts(self, scripted) -> None:
        row = await Prearchive(scripted(table(without("url", timestamp="20240131_130509")))).get_row(REF)
        assert row is not None

    @pytest.mark.parametrize("other", [{"folderName": "X"}, {"project": "Q"}])
    async def test_a_row_of_something_else_is_not_ours(self, scripted, other: dict) -> None:
        assert await Prearchive(scripted(table(without("url", **other)))).get_row(REF) is None


class TestOrders:
    async def test_build(self, scripted) -> None:
        call = scripted((200, REF.uri, "text/uri-list"))
        await Prearchive(call).build(REF)
        request = call.requests[0]
        assert (request.method, request.segments, request.kind) == ("POST", REF.segments, Kind.COMMIT)
        assert request.query == (("action", "build"),)

    @pytest.mark.parametrize(
        ("status", "body", "error"),
        [(409, "<h3>session document locked</h3>", SessionLocked), (301, "", Rejected), (302, "", LoginExpired),
         (500, "", Ambiguous), (504, "", Ambiguous), (404, "", NotFound)],
    )  # fmt: skip
    async def test_a_build_that_was_not_done(self, scripted, status: int, body: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            await Prearchive(scripted((status, body, "text/html"))).build(REF)

    @pytest.mark.parametrize(
        ("status", "body", "headers"),
        [
            (301, f"/data/prearchive/projects/Q/{TS}/L", {}),
            (301, "", {"location": f"https://x/data/prearchive/projects/Q/{TS}/L"}),
            (200, f"/prearchive/projects/Q/{TS}/L\r\n", {}),
        ],
    )
    async def test_move(self, scripted, status: int, body: str, headers: dict) -> None:
        call = scripted((status, body, "text/uri-list", headers))
        assert await Prearchive(call).move(REF, "Q") == RowRef("Q", TS, "L")
        assert call.requests[0].query == (("action", "move"), ("newProject", "Q"))

    async def test_a_locked_row_is_not_moved(self, scripted) -> None:
        with pytest.raises(SessionLocked):
            await Prearchive(scripted((200, ""))).move(REF, "Q")

    async def test_a_move_answered_with_a_redirect_to_elsewhere(self, scripted) -> None:
        with pytest.raises(Ambiguous):
            await Prearchive(scripted((301, "", "", {"location": "https://other.example/"}))).move(REF, "Q")

    @pytest.mark.parametrize("status", [200, 204])
    async def test_deletes(self, scripted, status: int) -> None:
        call = scripted((status, ""), (status, ""))
        await Prearchive(call).delete(REF)
        await Prearchive(call).delete_scan(REF, "1-MR1")
        assert [r.method for r in call.requests] == ["DELETE", "DELETE"]
        assert call.requests[1].segments == (*REF.segments, "scans", "1-MR1")

    async def test_rebuild_names_every_row(self, scripted) -> None:
        call = scripted(table())
        await Prearchive(call).rebuild([REF, RowRef("P", TS, "M")], override_lock=True)
        assert call.requests[0].query == (
            ("src", f"/prearchive/projects/P/{TS}/L"), ("src", f"/prearchive/projects/P/{TS}/M"),
            ("overrideLock", "true"), ("format", "json"),
        )  # fmt: skip

    async def test_put_file(self, scripted) -> None:
        call = scripted((200, ""))
        await Prearchive(call).put_file(REF, "NOTES", "a.txt", BytesBody(b"x", "text/plain"))
        assert call.requests[0].segments[-4:] == ("resources", "NOTES", "files", "a.txt")
        assert call.requests[0].query == (("inbody", "true"),)


class TestBelow:
    async def test_resources_in_one_listing(self, scripted) -> None:
        rows = [
            {"category": "scans", "cat_id": "1", "label": "DICOM", "file_count": "3", "file_size": 900},
            {"category": "resources", "cat_id": "", "label": "NOTES", "file_count": 1},
        ]
        got = await Prearchive(scripted(table(*rows))).resources(REF)
        assert [(r.category, r.cat_id, r.label, r.file_count, r.file_size) for r in got] == [
            ("scans", "1", "DICOM", 3, 900),
            ("resources", "", "NOTES", 1, -1),
        ]

    async def test_resources_scan_by_scan_when_the_listing_names_none(self, scripted) -> None:
        call = scripted(
            table(), table({"ID": "1"}, {"ID": ""}, {"ID": "2"}),
            table({"label": "DICOM", "file_count": "3", "file_size": "9"}), table({"label": "DICOM"}),
        )  # fmt: skip
        got = await Prearchive(call).resources(REF)
        assert [(r.category, r.cat_id, r.file_count) for r in got] == [("scans", "1", 3), ("scans", "2", -1)]

    async def test_nothing_can_be_listed_before_a_build(self, scripted) -> None:
        with pytest.raises(NotFound):
            await Prearchive(scripted((404, "<h3>Unable to locate prearc resource.</h3>", "text/html"))).resources(REF)

    async def test_files_of_a_scan(self, scripted) -> None:
        rows = [{"Name": "1.dcm", "Size": "5", "URI": "/data/x/1.dcm"}, {"Size": 6, "URI": "/data/x/2.dcm"}]
        call = scripted(table(*rows))
        assert await Prearchive(call).scan_files(REF, "1", "DICOM") == [("1.dcm", 5), ("2.dcm", 6)]
        assert call.requests[0].segments == (*REF.segments, "scans", "1", "resources", "DICOM", "files")

    async def test_the_last_log(self, scripted) -> None:
        assert await Prearchive(scripted((200, "it failed", "text/plain"))).last_log(REF) == "it failed"
        assert await Prearchive(scripted((404, ""))).last_log(REF) == ""
