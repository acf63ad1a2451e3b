"""Import, archive, experiments, projects, resources and the site, over a scripted server."""

from __future__ import annotations

import json

import pytest

from xferengine.errors import Ambiguous, LoginExpired, NotFound, Rejected, ServerFault
from xferengine.xnat.archive import Archive
from xferengine.xnat.experiments import CatalogRef, Experiments
from xferengine.xnat.faults import SessionLocked
from xferengine.xnat.imports import Imports, ImportTarget
from xferengine.xnat.paths import RowRef
from xferengine.xnat.projects import Projects
from xferengine.xnat.site import Site
from xferengine.xnat.transport import BytesBody, Kind

TS = "20240131_130509123"
REF = RowRef("P", TS, "L")
ARCHIVED = "/data/archive/projects/P/subjects/S/experiments/L"
ZIP = BytesBody(b"PK", "application/zip")
TARGET = ImportTarget(project="P", subject="SUBJ", session="SESS", source="xferengine-1")


def table(*rows: dict) -> tuple[int, str]:
    return 200, json.dumps({"ResultSet": {"Result": list(rows)}})


class TestImports:
    async def test_the_request(self, scripted) -> None:
        call = scripted((200, f"/data/prearchive/projects/P/{TS}/SESS\r\n", "text/uri-list"))
        (uri,) = await Imports(call).send_bundle(TARGET, ZIP)
        assert uri.row == RowRef("P", TS, "SESS")
        request = call.requests[0]
        assert dict(request.query) == {
            "import-handler": "DICOM-zip", "inbody": "true", "PROJECT_ID": "P", "SUBJECT_ID": "SUBJ",
            "EXPT_LABEL": "SESS", "SOURCE": "xferengine-1", "prevent_auto_commit": "true",
        }  # fmt: skip
        assert (request.kind, request.body) == (Kind.IMPORT, ZIP)
        assert "SUBJ" not in repr(TARGET)

    async def test_nothing_stored(self, scripted) -> None:
        assert await Imports(scripted((200, "", "text/uri-list"))).send_bundle(TARGET, ZIP) == ()

    @pytest.mark.parametrize("body", ["OK", "/data/somewhere/else", '{"a":1}'])
    async def test_a_success_that_says_nothing_needs_a_look(self, scripted, body: str) -> None:
        with pytest.raises(Ambiguous):
            await Imports(scripted((200, body, "text/plain"))).send_bundle(TARGET, ZIP)

    async def test_a_login_page_is_no_success(self, scripted) -> None:
        with pytest.raises(LoginExpired):
            await Imports(scripted((200, "<html>", "text/html"))).send_bundle(TARGET, ZIP)


class TestArchive:
    @pytest.mark.parametrize(
        ("status", "body", "headers"),
        [
            (200, ARCHIVED + "\r\n", {}),
            (200, ARCHIVED.removeprefix("/data"), {}),
            (301, ARCHIVED, {}),
            (303, "", {"location": "https://xnat.example" + ARCHIVED}),
        ],
    )
    async def test_three_ways_of_success(self, scripted, status: int, body: str, headers: dict) -> None:
        call = scripted((status, body, "text/uri-list", headers))
        uri = await Archive(call).archive(REF)
        assert uri is not None
        assert (uri.is_archive, uri.project, uri.folder) == (True, "P", "L")
        assert call.requests[0].query == (("src", f"/prearchive/projects/P/{TS}/L"),)

    async def test_a_success_without_words(self, scripted) -> None:
        assert await Archive(scripted((200, ""))).archive(REF) is None

    async def test_in_the_background(self, scripted) -> None:
        call = scripted((303, "", "", {"location": "/app/template/XDATScreen_prearchives.vm"}))
        assert await Archive(call).archive(REF, "delete", listener="id1") is None
        assert call.requests[0].query[1:] == (("overwrite", "delete"), ("http-session-listener", "id1"))

    @pytest.mark.parametrize(
        ("status", "location", "listener"),
        [(301, "https://xnat.example/", ""), (303, "/app/template/Login.vm", ""), (303, "/app/template/Login.vm", "id"),
         (303, "", ""), (301, "", "id")],
    )  # fmt: skip
    async def test_a_redirect_to_elsewhere_is_no_success(
        self, scripted, status: int, location: str, listener: str
    ) -> None:
        call = scripted((status, "", "", {"location": location} if location else {}))
        with pytest.raises(Ambiguous):
            await Archive(call).archive(REF, listener=listener)

    @pytest.mark.parametrize(
        ("status", "text", "error"),
        [(403, "Operation already in progress on this prearchive entry.", SessionLocked), (500, "FAILED: x", Ambiguous),
         (504, "", Ambiguous), (302, "", LoginExpired), (404, "", NotFound)],
    )  # fmt: skip
    async def test_failures(self, scripted, status: int, text: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            await Archive(scripted((status, f"<h3>{text}</h3>", "text/html"))).archive(REF)

    async def test_validation_is_read_tolerantly(self, scripted) -> None:
        rows = table({"code": 5, "type": "FAIL", "message": "DOE"}, {"Type": "WARN"})
        first, second = await Archive(scripted(rows)).validate(REF)
        assert (first.code, first.type, first.message) == ("5", "FAIL", "DOE")
        assert (second.code, second.type, second.message) == ("", "WARN", "")
        assert "DOE" not in repr(first)
        assert await Archive(scripted((200, ""))).validate(REF) == []


class TestExperiments:
    ROW = {"ID": "X_E1", "label": "Sess", "project": "P", "subject_label": "S", "xsiType": "t", "URI": "/data/x"}  # noqa: RUF012

    async def test_listing(self, scripted) -> None:
        call = scripted(table(self.ROW, {"ID": "X_E2"}, {"label": "no id"}))
        (info,) = await Experiments(call).list_experiments("P")
        assert (info.accession, info.label, info.uri) == ("X_E1", "Sess", "/data/experiments/X_E1")
        assert (info.project, info.subject_label, info.xsi_type) == ("P", "S", "t")
        assert "Sess" not in repr(info)

    @pytest.mark.parametrize(
        ("labels", "found"),
        [(["other"], None), ([], None), (["SESS"], "E0"), (["SESS", "Sess"], "E1"), (["Sess2", "xSess"], None)],
    )
    async def test_find_prefers_the_exact_label(self, scripted, labels: list[str], found: str | None) -> None:
        call = scripted(table(*[{"ID": f"E{n}", "label": label} for n, label in enumerate(labels)]))
        info = await Experiments(call).find("P", "Sess")
        assert (info and info.accession) == found
        assert ("label", "Sess") in call.requests[0].query

    @pytest.mark.parametrize(
        ("label", "name"),
        [("DICOM", "DICOM"), ("", "7"), ("123", "7"), ("My Files", "7"), ("secondary_2.0", "secondary_2.0")],
    )  # fmt: skip
    async def test_resources_are_named_so_that_a_url_finds_them(self, scripted, label: str, name: str) -> None:
        rows = [
            {
                "category": "scans",
                "cat_id": "1-MR1",
                "label": label,
                "xnat_abstractresource_id": "7",
                "file_count": "3",
            },
            {"category": "resources", "cat_id": "", "label": "NOTES", "xnat_abstractresource_id": "8"},
            {"category": "assessors", "cat_id": "A", "label": "X", "xnat_abstractresource_id": "9"},
        ]
        refs = await Experiments(scripted(table(*rows))).catalog_refs("X_E1")
        assert refs == [CatalogRef(scan="1-MR1", resource=name, file_count=3)]

    async def test_a_catalog(self, scripted) -> None:
        call = scripted((200, '<c><entry URI="1.dcm" UID="1.2"/></c>', "text/xml"))
        ref = CatalogRef(scan="1", resource="DICOM", file_count=1)
        pieces = [piece async for piece in Experiments(call).iter_catalog("X_E1", ref)]
        assert [[e.uid for e in piece] for piece in pieces] == [["1.2"]]

    @pytest.mark.parametrize("first", [(404, ""), (406, ""), (200, "cut <xml", "text/xml")])
    async def test_the_files_listing_stands_in_for_a_catalog(self, scripted, first) -> None:
        call = scripted(first, table({"Name": "1.dcm", "Size": "1", "digest": "ab"}))
        ref = CatalogRef(scan="1", resource="DICOM", file_count=1)
        (piece,) = [piece async for piece in Experiments(call).iter_catalog("X_E1", ref)]
        assert [(e.name, e.uid, e.digest) for e in piece] == [("1.dcm", "", "ab")]
        assert call.requests[1].segments[-1] == "files"


class TestProjects:
    @pytest.mark.parametrize("status", [403, 404])
    async def test_unreadable(self, scripted, status: int) -> None:
        access = await Projects(scripted((status, ""))).probe("P")
        assert (access.readable, access.writable, access.prearchive_code) == (False, False, None)

    @pytest.mark.parametrize(
        ("listings", "writable"),
        [
            ([table({"ID": "P"})], True),
            ([table({"id": "P", "name": "x"})], True),
            ([table({"secondary_ID": "P", "ID": "Q"}), table({"ID": "P"})], False),
            ([table(), table()], None),
            ([(400, "")], None),
            ([(200, "no json")], None),
        ],
    )
    async def test_writable(self, scripted, listings: list, writable: bool | None) -> None:
        access = await Projects(scripted((200, "{}"), *listings, (404, ""))).probe("P")
        assert (access.readable, access.writable) == (True, writable)

    @pytest.mark.parametrize(
        ("answer", "code"),
        [((200, "4\n", "text/html"), 4), ((200, '"5"'), 5), ((200, "0", "text/plain"), 0), ((200, "x"), None),
         ((500, ""), None)],
    )  # fmt: skip
    async def test_code(self, scripted, answer, code: int | None) -> None:
        access = await Projects(scripted((200, "{}"), table({"ID": "P"}), answer)).probe("P")
        assert access.prearchive_code == code

    async def test_ids(self, scripted) -> None:
        assert await Projects(scripted(table({"ID": "A"}, {"id": "B"}, {}))).list_ids() == ["A", "B"]


class TestSite:
    @pytest.mark.parametrize(
        ("answer", "version"),
        [((200, '{"version":"1.8.11","x":1}'), "1.8.11"), ((200, "[]"), ""), ((200, "cut{"), ""), ((404, ""), ""),
         ((500, ""), ""), ((200, '{"version":null}'), ""), ((400, ""), "")],
    )  # fmt: skip
    async def test_version(self, scripted, answer, version: str) -> None:
        assert await Site(scripted(answer)).version() == version

    async def test_who(self, scripted) -> None:
        assert await Site(scripted((200, "ann\n", "text/plain"))).who() == "ann"


@pytest.mark.parametrize("status", [500, 400])
async def test_errors_of_listings_pass_through(scripted, status: int) -> None:
    with pytest.raises((ServerFault, Rejected)):
        await Experiments(scripted((status, ""))).list_experiments("P")
