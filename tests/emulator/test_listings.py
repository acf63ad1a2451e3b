"""Table listings and single items (FIL 6, FIL 7)."""

from datetime import datetime
from xml.etree import ElementTree

import pytest
from emulator.http_kit import SESSION, open_browser


class TestProjects:
    async def test_default_columns_and_total(self):
        async with open_browser() as site:
            answer = await site.ask("GET", "/data/projects")
            (row,) = answer.rows
            assert list(row) == ["ID", "secondary_ID", "name", "description", "pi_firstname", "pi_lastname", "URI"]
            assert row["URI"] == "/data/projects/P"
            assert answer.json["ResultSet"]["totalRecords"] == "1"

    async def test_accessible_is_another_set_sorted_by_secondary_id(self):
        async with open_browser() as site:
            await site.ask("PUT", "/data/projects/A?secondary_ID=zz")
            rows = (await site.ask("GET", "/data/projects?accessible=true&format=json")).rows
            assert [row["id"] for row in rows] == ["P", "A"]
            assert rows[0]["user_role"] == "Owner"

    async def test_put_is_200_empty_and_post_conflicts(self):
        async with open_browser() as site:
            answer = await site.ask("PUT", "/data/projects/NEW?name=New%20one")
            assert (answer.status, answer.body) == (200, b"")
            again = await site.ask("POST", "/data/projects?ID=NEW")
            assert (again.status, again.message) == (409, "Project already exists.")
            created = await site.ask("POST", "/data/projects?ID=N2")
            assert (created.status, created.headers["Location"]) == (200, f"{site.site.url}/data/projects/N2")

    @pytest.mark.parametrize(("target", "status"), [("p", 409), ("X?name=P", 409), ("X.Y", 417), ("a'b", 417)])
    async def test_put_refusals(self, target, status):
        """FIL 7.3: unique in any case, letters, digits, `_` and `-` only."""
        async with open_browser() as site:
            assert (await site.ask("PUT", f"/data/projects/{target}")).status == status


class TestSubjects:
    async def test_put_201_then_200_with_the_accession(self):
        async with open_browser() as site:
            first = await site.ask("PUT", "/data/projects/P/subjects/S?gender=female")
            again = await site.ask("PUT", "/data/projects/P/subjects/S")
            assert (first.status, again.status, first.text) == (201, 200, again.text)
            rows = (await site.ask("GET", "/data/projects/P/subjects?columns=ID,label,gender")).rows
            assert rows == [{"ID": first.text, "label": "S", "gender": "female", "URI": f"/data/subjects/{first.text}"}]

    async def test_label_on_an_existing_subject_is_a_rename_with_an_empty_answer(self):
        """FIL 7.2."""
        async with open_browser() as site:
            await site.ask("PUT", "/data/projects/P/subjects/S")
            answer = await site.ask("PUT", "/data/projects/P/subjects/S?label=S2")
            assert (answer.status, answer.body) == (200, b"")
            assert (await site.ask("GET", "/data/projects/P/subjects/S?format=json")).status == 404
            assert (await site.ask("GET", "/data/projects/P/subjects/S2?format=json")).status == 200

    async def test_lookup_by_accession_anywhere(self):
        async with open_browser() as site:
            accession = (await site.ask("PUT", "/data/projects/P/subjects/S")).text
            for target in (f"/data/subjects/{accession}", f"/data/projects/P/subjects/{accession}"):
                assert (await site.ask("GET", target + "?format=json")).status == 200
            missing = await site.ask("GET", "/data/subjects/S?format=json")
            assert (missing.status, missing.message) == (404, "Unable to find the specified subject.")


class TestExperiments:
    async def test_columns(self):
        async with open_browser() as site:
            accession = await site.make_session()
            (row,) = (await site.ask("GET", "/data/projects/P/experiments")).rows
            assert list(row) == ["ID", "project", "date", "xsiType", "label", "insert_date", "URI"]
            assert (row["ID"], row["URI"]) == (accession, f"/data/experiments/{accession}")

    async def test_wanted_columns_come_back_and_unknown_are_dropped(self):
        async with open_browser() as site:
            accession = await site.make_session()
            wanted = "ID,label,xnat:subjectassessordata/subject_id,subject_label,nonsense"
            (row,) = (await site.ask("GET", f"/data/experiments?columns={wanted}&format=json")).rows
            assert row == {
                "ID": accession,
                "label": "E",
                "subject_ID": "XNAT_S00001",
                "subject_label": "S",
                "URI": f"/data/experiments/{accession}",
            }

    async def test_filters(self):
        async with open_browser() as site:
            await site.make_session()
            await site.ask("PUT", "/data/projects/P/subjects/S/experiments/C?xsiType=xnat:ctSessionData")

            async def labels(query):
                return [row["label"] for row in (await site.ask("GET", f"/data/experiments?{query}")).rows]

            assert await labels("label=E") == ["E"]
            assert await labels("xsiType=xnat:ctSessionData") == ["C"]
            assert await labels("xsiType=xnat:imageSessionData") == ["E", "C"]
            assert await labels("label=*") == ["E", "C"]
            assert await labels("project=Q") == []
            assert await labels("insert_date=2024-01-31") == ["E", "C"]
            assert await labels("insert_date=02/01/2024-02/02/2024") == []

    async def test_pages_have_no_total(self):
        """FIL 6.1."""
        async with open_browser() as site:
            for label in "ABC":
                await site.ask("PUT", f"/data/projects/P/subjects/S/experiments/{label}?xsiType=xnat:mrSessionData")
            answer = await site.ask("GET", "/data/projects/P/experiments?limit=2&offset=1")
            assert [row["label"] for row in answer.rows] == ["B", "C"]
            assert "totalRecords" not in answer.json["ResultSet"]
            assert (await site.ask("GET", "/data/projects/P/experiments?limit=x")).status == 500

    async def test_sort(self):
        async with open_browser() as site:
            for label in "BAC":
                await site.ask("PUT", f"/data/projects/P/subjects/S/experiments/{label}?xsiType=xnat:mrSessionData")
            answer = await site.ask("GET", "/data/projects/P/experiments?sortBy=label&sortOrder=DESC")
            assert [row["label"] for row in answer.rows] == ["C", "B", "A"]

    async def test_put_creates_the_subject_and_needs_a_type(self):
        async with open_browser() as site:
            refused = await site.ask("PUT", SESSION)
            assert (refused.status, refused.message) == (417, "Need PUT Contents")
            await site.make_session()
            assert [row["label"] for row in (await site.ask("GET", "/data/projects/P/subjects")).rows] == ["S"]

    async def test_put_of_xml(self):
        async with open_browser() as site:
            xml = '<xnat:MRSession xmlns:xnat="http://nrg.wustl.edu/xnat"><xnat:note>n</xnat:note></xnat:MRSession>'
            answer = await site.ask("PUT", SESSION, xml, headers={"Content-Type": "text/xml"})
            assert answer.status == 201
            (row,) = (await site.ask("GET", "/data/experiments?columns=note,xsiType")).rows
            assert (row["note"], row["xsiType"]) == ("n", "xnat:mrSessionData")

    @pytest.mark.parametrize("body", ["<a", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
    async def test_bad_xml_is_422(self, body):
        async with open_browser() as site:
            assert (await site.ask("PUT", SESSION, body, headers={"Content-Type": "text/xml"})).status == 422

    async def test_json_item(self):
        """FIL 6.2, peers 3.1: start_date must parse."""
        async with open_browser() as site:
            await site.make_session("1")
            (item,) = (await site.ask("GET", f"{SESSION}?format=json")).json["items"]
            assert item["meta"]["xsi:type"] == "xnat:mrSessionData"
            stamp = item["meta"]["start_date"].replace("UTC", "+0000")
            assert datetime.strptime(stamp, "%a %b %d %H:%M:%S %z %Y").year == 2024
            assert item["data_fields"]["subject_ID"] == "XNAT_S00001"
            (scans,) = item["children"]
            assert (scans["field"], scans["items"][0]["data_fields"]["ID"]) == ("scans/scan", "1")

    async def test_xml_items_parse(self):
        async with open_browser() as site:
            await site.make_session("1")
            await site.ask("PUT", f"{SESSION}/scans/1/resources/DICOM")
            targets = {"/data/projects/P": "Project", "/data/projects/P/subjects/S": "Subject", SESSION: "MRSession"}
            targets[f"{SESSION}/scans/1"] = "MRScan"
            for target, root in targets.items():
                answer = await site.ask("GET", f"{target}?format=xml")
                assert ElementTree.fromstring(answer.body).tag == f"{{http://nrg.wustl.edu/xnat}}{root}"

    async def test_resources_only_form_returns_the_experiment_for_scans_and_files(self):
        """FIL 1.1: `/projects/P/experiments/E/scans` silently is the experiment."""
        async with open_browser() as site:
            await site.make_session("1")
            for tail in ("scans", "files", "assessors"):
                answer = await site.ask("GET", f"/data/projects/P/experiments/E/{tail}?format=json")
                assert answer.json["items"][0]["data_fields"]["label"] == "E"

    async def test_rename_moves_the_files(self):
        async with open_browser() as site:
            await site.make_session("1")
            await site.ask("PUT", f"{SESSION}/scans/1/resources/R/files/a.txt?inbody=true", b"x")
            assert (await site.ask("PUT", f"{SESSION}?label=E2")).body == b""
            moved = SESSION[:-1] + "E2"
            assert (await site.ask("GET", f"{moved}/scans/1/resources/R/files/a.txt")).body == b"x"

    async def test_delete(self):
        async with open_browser() as site:
            accession = await site.make_session("1")
            await site.ask("PUT", f"{SESSION}/scans/1/resources/R/files/a.txt?inbody=true", b"x")
            assert (await site.ask("DELETE", f"{SESSION}?removeFiles=true")).status == 200
            assert (await site.ask("GET", f"/data/experiments/{accession}?format=json")).status == 404
            assert not list((site.world.data_dir / "archive").rglob("a.txt"))


class TestScans:
    async def test_columns(self):
        async with open_browser() as site:
            accession = await site.make_session("1", "2")
            rows = (await site.ask("GET", f"/data/experiments/{accession}/scans")).rows
            assert [row["ID"] for row in rows] == ["1", "2"]
            assert list(rows[0]) == [
                "xnat_imagescandata_id", "ID", "type", "quality", "xsiType", "note", "series_description", "URI",
            ]  # fmt: skip
            assert rows[0]["URI"] == f"/data/experiments/{accession}/scans/1"

    async def test_wanted_columns_keep_the_row_id(self):
        """Peers 3.7: clients count on exactly these columns plus the row id."""
        async with open_browser() as site:
            accession = await site.make_session("1")
            target = f"/data/experiments/{accession}/scans?columns=ID,type&format=csv"
            assert (await site.ask("GET", target)).text.split("\n")[0] == "ID,type,xnat_imagescandata_id,URI"

    async def test_put_needs_a_concrete_type_and_keeps_it(self):
        async with open_browser() as site:
            await site.make_session("1")
            assert (await site.ask("PUT", f"{SESSION}/scans/2?xsiType=xnat:imageScanData")).status == 400
            changed = await site.ask("PUT", f"{SESSION}/scans/1?xsiType=xnat:ctScanData")
            assert (changed.status, changed.message) == (409, "Specified xsiType differs from existing xsiType")

    async def test_unknown_scan(self):
        async with open_browser() as site:
            await site.make_session("1")
            answer = await site.ask("GET", f"{SESSION}/scans/9?format=json")
            assert (answer.status, answer.message) == (404, "Unable to find the specified scan.")

    async def test_delete(self):
        async with open_browser() as site:
            await site.make_session("1", "2")
            assert (await site.ask("DELETE", f"{SESSION}/scans/1")).status == 200
            assert [row["ID"] for row in (await site.ask("GET", f"{SESSION}/scans")).rows] == ["2"]


class TestAssessors:
    async def test_life(self):
        """FIL 7.2, FIL 6.1, FIL 1.1: created below a session, listed there, with in and out resources, deleted."""
        async with open_browser() as site:
            accession = await site.make_session("1")
            target = f"{SESSION}/assessors/A"
            refused = await site.ask("PUT", target)
            assert (refused.status, refused.message) == (417, "Need POST Contents")
            created = await site.ask("PUT", f"{target}?xsiType=xnat:qcManualAssessorData")
            assert (created.status, created.text) == (201, "XNAT_E00002")
            (row,) = (await site.ask("GET", f"{SESSION}/assessors")).rows
            assert (row["label"], row["session_ID"], row["session_label"]) == ("A", accession, "E")
            for side, place in (("", "out"), ("/out", "out"), ("/in", "in")):
                name = f"{target}{side}/resources/R/files/{side.strip('/')}x.txt"
                assert (await site.ask("PUT", f"{name}?inbody=true", b"x")).status == 200
                (file, *_) = (await site.ask("GET", f"{target}{side}/resources/R/files")).rows
                assert f"/assessors/XNAT_E00002/{place}/resources/" in file["URI"]
            everything = (await site.ask("GET", f"/data/experiments/{accession}/files?all=true")).rows
            assert sorted(file["Name"] for file in everything) == ["outx.txt", "x.txt"]
            assert (await site.ask("GET", f"{target}?format=json")).json["items"][0]["data_fields"]["label"] == "A"
            assert (await site.ask("DELETE", f"{target}?removeFiles=true")).status == 200
            assert (await site.ask("GET", f"{SESSION}/assessors")).rows == []
            assert (await site.ask("GET", f"{target}?format=json")).status == 404


async def test_unknown_tails_of_writes_are_404():
    async with open_browser() as site:
        await site.make_session("1")
        for target in (f"{SESSION}/frobnicate", f"{SESSION}/scans/1/frobnicate", "/data/projects/P/frobnicate"):
            assert (await site.ask("PUT", target)).status == 404


async def test_type_filter_on_rows_without_a_type():
    async with open_browser() as site:
        assert (await site.ask("GET", "/data/projects?xsiType=xnat:mrSessionData")).status == 200


async def test_search_elements_and_schemas():
    """Peers 3.1: what xnatpy asks for at its start."""
    async with open_browser() as site:
        await site.make_session("1")
        names = [row["ELEMENT_NAME"] for row in (await site.ask("GET", "/data/search/elements?format=json")).rows]
        assert "xnat:mrSessionData" in names
        assert (await site.ask("GET", "/data/search/elements/xnat:mrSessionData?format=json")).rows == []
        assert (await site.ask("GET", "/xapi/schemas")).json == ["xnat"]
        schema = (await site.ask("GET", "/xapi/schemas/xnat")).body
        names = {element.get("name") for element in ElementTree.fromstring(schema)}
        assert {"mrSessionData", "ctScanData", "petSessionData", "resourceCatalog", "subjectData"} <= names
