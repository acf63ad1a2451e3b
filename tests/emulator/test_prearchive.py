"""The prearchive: listings, session calls, files, states and locks, batch services, project code (IMP 2, 4)."""

import io
import json
import zipfile

import pytest
from emulator.core_kit import STUDY, dicom, failure, instances, open_client, settle, text, until, zipped

from xferengine.emulator.hooks import Hooks
from xferengine.emulator.records import PrearcRow

WHO = "project=P&subject=S&session=L"
LOCKED = (409, "session document locked")


@pytest.fixture
async def client(tmp_path):
    """A core with project P, code 0."""
    async with open_client(tmp_path) as opened:
        yield opened


async def result(client, target: str) -> list[dict[str, str]]:
    """Return the rows of a JSON table."""
    document = json.loads(text(await client.call("GET", target)))
    assert set(document) == {"ResultSet"}
    assert set(document["ResultSet"]) == {"Result"}  # IMP 0: no totalRecords on prearchive tables
    return document["ResultSet"]["Result"]


async def built(client, count: int = 2, query: str = WHO, **options) -> str:
    """Import and build a session."""
    (uri,) = await client.send(zipped(instances(count, **options)), query)
    await client.call("POST", f"{uri}?action=build")
    return uri


class TestListing:
    """IMP 4.1."""

    async def test_columns_in_order_and_all_values_strings(self, client):
        uri = await built(client, query=f"{WHO}&SOURCE=me&VISIT=v&SUBTYPE=p&prevent_anon=true")
        (row,) = await result(client, "/data/prearchive/projects/P?format=json")
        assert list(row) == [
            "project", "timestamp", "lastmod", "uploaded", "scan_date", "scan_time", "subject", "folderName", "name",
            "tag", "status", "url", "autoarchive", "prevent_anon", "prevent_auto_commit", "SOURCE", "VISIT", "PROTOCOL",
            "TIMEZONE",
        ]  # fmt: skip
        assert all(isinstance(value, str) for value in row.values())
        assert row["url"] == uri.removeprefix("/data")
        assert row["tag"] == STUDY
        assert (row["SOURCE"], row["VISIT"], row["PROTOCOL"], row["prevent_anon"]) == ("me", "v", "p", "true")
        assert (row["autoarchive"], row["scan_date"], row["scan_time"]) == ("Manual", "2024-01-31", "13:05:09")
        assert row["lastmod"].startswith("2024-01-31 13:05:09.")

    async def test_uploaded_is_empty_until_the_first_build(self, client):
        (uri,) = await client.send(zipped(instances(1)), WHO)
        assert (await result(client, "/data/prearchive?format=json"))[0]["uploaded"] == ""
        await client.call("POST", f"{uri}?action=build")
        assert (await result(client, "/REST/prearchive?format=json"))[0]["uploaded"] != ""

    async def test_autoarchive_column_follows_the_project_code(self, client):
        for code, shown in ((4, "AutoArchive"), (5, "AutoArchiveOverwrite"), (0, "Manual")):
            client.core.world.projects["P"].prearchive_code = code
            (uri,) = await client.send(zipped(instances(1)), f"project=P&session=code{code}")
            assert client.row(uri).autoarchive == shown

    async def test_access(self, client):
        await client.send(zipped(instances(1)), "project=NOPE&session=U")
        await client.send(zipped(instances(1)), WHO)
        assert [row["project"] for row in await result(client, "/data/prearchive/projects/P")] == ["P"]
        assert await failure(client.call("GET", f"/data/prearchive?tag={STUDY}")) == (404, "")
        client.user = client.core.world.add_user("stranger", "x")
        assert await failure(client.call("GET", "/data/prearchive/projects/P")) == (404, "")
        client.user = client.core.world.add_user("admin", "x", admin=True)
        assert {row["project"] for row in await result(client, "/data/prearchive/projects/P")} == {"P", "Unassigned"}
        assert len(await result(client, f"/data/prearchive?tag={STUDY}")) == 2
        assert await result(client, "/data/prearchive?tag=1.2") == []

    async def test_recent(self, client):
        assert (await failure(client.call("GET", "/data/prearchive/experiments")))[0] == 400
        await client.send(zipped(instances(1)), WHO)
        assert len(await result(client, "/data/prearchive/experiments?recent=true")) == 1

    async def test_other_formats_and_sorting(self, client):
        for name in "ab":
            await client.send(zipped(instances(1)), f"project=P&session={name}")
        csv = text(await client.call("GET", "/data/prearchive/projects/P?format=csv&sortBy=name&sortOrder=DESC"))
        assert [line.split(",")[8] for line in csv.splitlines()] == ["name", '"b"', '"a"']
        assert "<ResultSet" in text(await client.call("GET", "/data/prearchive/projects/P?format=xml"))


class TestSession:
    """IMP 4.2."""

    async def test_poll_target(self, client):
        (uri,) = await client.send(zipped(instances(1)), WHO)
        assert (await result(client, f"{uri}?format=json"))[0]["status"] == "RECEIVING"
        assert await result(client, "/data/prearchive/projects/P/20200101_000000000/X?format=json") == []

    async def test_document(self, client):
        (uri,) = await client.send(zipped(instances(2)), WHO)
        for target in (uri, "/data/prearchive/projects/P/20200101_000000000/X"):
            status, message = await failure(client.call("GET", target))
            assert status == 404
            assert message.startswith("The named session exists, but its XNAT session document is not available.")
        await client.call("POST", f"{uri}?action=build")
        answer = await client.call("GET", uri)
        assert answer.content_type == "text/xml"
        for part in ("<xnat:MRSession", 'label="L"', 'xsi:type="xnat:mrScanData"', f'UID="{STUDY}"'):
            assert part in text(answer)

    async def test_zip(self, client):
        uri = await built(client)
        answer = await client.call("GET", f"{uri}?format=zip")
        data = b"".join([chunk async for chunk in answer.body])
        assert zipfile.ZipFile(io.BytesIO(data)).namelist() == ["L/SCANS/4/DICOM/1.dcm", "L/SCANS/4/DICOM/2.dcm"]

    async def test_delete_is_200_also_for_nothing_and_for_locked(self, client):
        uri = await built(client)
        client.row(uri).status = "_ARCHIVING"
        assert (await client.call("DELETE", uri)).status == 200
        assert client.row(uri)
        client.row(uri).status = "READY"
        assert (await client.call("DELETE", uri)).body == b""
        assert client.core.world.rows == {}
        assert not list((client.core.world.data_dir / "prearchive").iterdir())
        assert (await client.call("DELETE", uri)).status == 200

    async def test_no_right(self, client):
        uri = await built(client)
        client.user = client.core.world.add_user("reader", "x", P="collaborator")
        assert await result(client, f"{uri}?format=json")
        for method, target in (("DELETE", uri), ("POST", f"{uri}?action=build")):
            assert (await failure(client.call(method, target)))[0] == 403

    async def test_actions(self, client):
        uri = await built(client)
        for query in ("", "?action=nope"):
            assert (await failure(client.call("POST", uri + query)))[0] == 400
        assert (await failure(client.call("POST", "/data/prearchive/projects/P/1/X?action=commit")))[0] == 404
        for status in ("_READY", "_BUILDING", "NOPE"):
            assert (await failure(client.call("POST", f"{uri}?action=set-status&status={status}")))[0] == 400
        assert (await client.call("POST", f"{uri}?action=set-status&status=ERROR")).body == b""
        assert client.row(uri).status == "ERROR"
        assert text(await client.call("POST", f"{uri}?action=reset-status")) == uri
        assert client.row(uri).status == "READY"

    async def test_commit_without_auto_archive(self, client):
        (uri,) = await client.send(zipped(instances(1)), WHO)
        answer = await client.call("POST", f"{uri}?action=commit")
        assert (answer.status, answer.content_type, text(answer)) == (200, "text/uri-list", uri)

    async def test_commit_archives_with_301_and_no_location(self, client):
        client.core.world.projects["P"].prearchive_code = 4
        (uri,) = await client.send(zipped(instances(1)), WHO)
        answer = await client.call("POST", f"{uri}?action=commit", b"{}", "application/json")
        assert (answer.status, answer.content_type, answer.headers) == (301, "text/plain", {})
        assert text(answer) == "/data/archive/projects/P/subjects/S/experiments/L"

    async def test_commit_with_aa_in_a_form_body(self, client):
        (uri,) = await client.send(zipped(instances(1)), WHO)
        answer = await client.call("POST", uri, b"action=commit&AA=true&VISIT=v", "application/x-www-form-urlencoded")
        assert answer.status == 301

    async def test_move(self, client):
        client.core.world.add_project("Q", owner=client.user)
        uri = await built(client)
        answer = await client.call("POST", f"{uri}?action=move&newProject=Q")
        moved = uri.replace("/projects/P/", "/projects/Q/")
        assert (answer.status, answer.content_type, text(answer)) == (301, "text/uri-list", moved)
        assert client.row(moved).status == "READY"
        assert client.row(moved).autoarchive == "AutoArchive"
        assert client.stored(moved) == ["4/DICOM/1.dcm", "4/DICOM/2.dcm"]
        assert len(await result(client, f"{moved}/scans/4/resources/DICOM/files")) == 2
        client.row(moved).status = "_MOVING"
        assert (await client.call("POST", f"{moved}?action=move&newProject=P")).body == b""
        client.core.world.add_project("R")
        assert (await failure(client.call("POST", f"{moved}?action=move&newProject=R")))[0] == 403

    async def test_body_that_is_no_json_is_400(self, client):
        uri = await built(client)
        assert (await failure(client.call("POST", f"{uri}?action=build", b"{", "application/json")))[0] == 400


class TestFiles:
    """IMP 4.3."""

    async def test_needs_a_build(self, client):
        (uri,) = await client.send(zipped(instances(1)), WHO)
        for tail in ("/scans", "/scans/4/resources", "/scans/4/resources/DICOM/files", "/resources"):
            assert await failure(client.call("GET", uri + tail)) == (404, "Unable to locate prearc resource.")

    async def test_scans_and_resources(self, client):
        uri = await built(client)
        scan = {"ID": "4", "xsiType": "xnat:mrScanData", "series_description": "series 4"}
        assert await result(client, f"{uri}/scans") == [scan]
        size = str(2 * len(dicom(1)))
        counts = {"label": "DICOM", "file_count": "2", "file_size": size}
        assert await result(client, f"{uri}/scans/4/resources") == [counts]
        assert await result(client, f"{uri}/resources?format=json") == [{"category": "scans", "cat_id": "4", **counts}]

    async def test_files(self, client):
        uri = await built(client, 1)
        base = f"{uri}/scans/4/resources/DICOM/files"
        file = {"Name": "1.dcm", "Size": str(len(dicom(1))), "URI": f"{base}/1.dcm"}
        assert await result(client, base) == [file]
        answer = await client.call("GET", f"{base}/1.dcm")
        assert b"".join([chunk async for chunk in answer.body]) == dicom(1)
        assert (await client.call("GET", f"{base}/no.dcm")).status == 404

    async def test_two_series_of_one_number_share_a_directory(self, client):
        """IMP 2.4."""
        other = dicom(9, SeriesInstanceUID="1.2.3.4")
        (uri,) = await client.send(zipped([*instances(1), ("9.dcm", other)]), WHO)
        await client.call("POST", f"{uri}?action=build")
        assert [scan["ID"] for scan in await result(client, f"{uri}/scans")] == ["4", "4-MR1"]

    async def test_delete_scan_takes_torn_files_along(self, client):
        body = zipped([*instances(2), ("8.dcm", dicom(8, series=7))])
        (uri,) = await client.send(body, WHO)
        (client.core.folder_of(client.row(uri)) / "SCANS/4/DICOM/torn.dcm").write_bytes(b"torn")
        await client.call("POST", f"{uri}?action=build")
        await client.call("DELETE", f"{uri}/scans/4")
        assert client.stored(uri) == ["7/DICOM/8.dcm"]
        assert [scan["ID"] for scan in await result(client, f"{uri}/scans")] == ["7"]
        await client.send(zipped(instances(2)), WHO)
        await client.call("POST", f"{uri}?action=build")
        assert [scan["ID"] for scan in await result(client, f"{uri}/scans")] == ["4", "7"]

    async def test_session_resources(self, client):
        uri = await built(client)
        put = f"{uri}/resources/NOTES/files"
        await client.call("PUT", f"{put}/a.txt?inbody=true", b"one", "text/plain")
        assert (await failure(client.call("PUT", f"{put}/..%2F..%2Fb?inbody=true", b"two", "text/plain")))[0] == 400
        rows = await result(client, f"{uri}/resources")
        assert rows[1] == {"category": "resources", "cat_id": "", "label": "NOTES", "file_count": "1", "file_size": "3"}
        assert [row["Name"] for row in await result(client, put)] == ["a.txt"]
        await client.call("DELETE", f"{put}/a.txt")
        assert await result(client, put) == []

    async def test_scan_zip_only(self, client):
        uri = await built(client)
        assert (await failure(client.call("GET", f"{uri}/scans/4")))[0] == 400
        assert (await client.call("GET", f"{uri}/scans/4?format=zip")).content_type == "application/zip"


class TestStates:
    """IMP 2.2, 2.3."""

    async def test_locked_is_409_for_build_and_commit(self, client):
        uri = await built(client)
        client.row(uri).status = "_ARCHIVING"
        for action in ("build", "commit"):
            assert await failure(client.call("POST", f"{uri}?action={action}")) == LOCKED

    async def test_build_from_every_unlocked_state(self, client):
        uri = await built(client)
        for state in ("RECEIVING", "ERROR", "CONFLICT", "QUEUED_BUILDING", "QUEUED_ARCHIVING", "BUILDING"):
            client.row(uri).status = state
            await client.call("POST", f"{uri}?action=build")
            assert client.row(uri).status == "READY"

    async def test_nothing_to_build_from_goes_back_to_receiving(self, client):
        row = PrearcRow(project="P", timestamp="T", folder="F", name="F", tag="1.2")
        client.core.table.add(row)
        await client.call("POST", "/data/prearchive/projects/P/T/F?action=build")
        assert row.status == "RECEIVING"

    async def test_an_instance_under_the_build_lock_is_overtaken(self, tmp_path):
        """IMP 2.2 a: READY, with a document that misses it."""
        hooks = Hooks()
        async with open_client(tmp_path, hooks=hooks) as client:
            (uri,) = await client.send(zipped(instances(1)), WHO)
            seen = []

            async def send_late(row):
                seen.append(row.status)
                late = await client.send(zipped([("late.dcm", dicom(9))]), WHO)
                seen.extend([row.status, *late])

            real = client.core.instances.get
            hooks.on_building = send_late
            client.core.instances.get = lambda path, size: None if path.name == "late.dcm" else real(path, size)
            await client.call("POST", f"{uri}?action=build")
            assert seen == ["_BUILDING", "RECEIVING", uri]
            assert client.row(uri).status == "READY"
            assert len(await result(client, f"{uri}/scans/4/resources/DICOM/files")) == 1

    async def test_an_instance_at_the_unlocked_instant_sends_it_back(self, client):
        (uri,) = await client.send(zipped(instances(1)), WHO)
        row = client.row(uri)
        write, seen = client.core.table.set_status, []

        def interrupt(target, status, **options):
            done = write(target, status, **options)
            if status == "BUILDING":
                client.core.table.join(PrearcRow(project="P", timestamp="", folder="L", name="L", tag=STUDY))
                seen.append(row.status)
            return done

        client.core.table.set_status = interrupt
        await client.call("POST", f"{uri}?action=build")
        assert seen == ["RECEIVING_INTERRUPT"]
        assert row.status == "RECEIVING"

    async def test_dead_lock_after_restart_is_freed_by_rebuild(self, tmp_path):
        """IMP 4.4: the work of a dead process leaves its lock; overrideLock frees it."""
        async with open_client(tmp_path) as client:
            uri = await built(client)
            client.core.table.set_status(client.row(uri), "_ARCHIVING")
        async with open_client(tmp_path) as client:
            assert client.row(uri).status == "_ARCHIVING"
            src = f"src={uri}&format=json"
            await client.call("POST", f"/data/services/prearchive/rebuild?{src}")
            await settle()
            assert client.row(uri).status == "_ARCHIVING"
            await client.call("POST", f"/data/services/prearchive/rebuild?{src}&overrideLock=true")
            await until(lambda: client.row(uri).status == "READY")


class TestBatch:
    """IMP 4.4."""

    async def test_delete_skips_locked_rows_silently(self, client):
        one, two = await built(client), await built(client, query="project=P&subject=S&session=M")
        client.row(two).status = "_BUILDING"
        answer = await client.call(
            "POST", f"/data/services/prearchive/delete?src={one}&src={two}&format=json&async=false"
        )
        rows = json.loads(text(answer))["ResultSet"]["Result"]
        assert [row["status"] for row in rows] == ["QUEUED_DELETING", "_BUILDING"]
        await until(lambda: len(client.core.world.rows) == 1)
        assert list(client.core.world.rows) == [client.row(two).key]

    async def test_move_and_its_refusals(self, client):
        uri = await built(client)
        target = f"/data/services/prearchive/move?src={uri}"
        client.core.world.add_project("R")
        for query, status in (("", 400), ("&newProject=NOPE", 404), ("&newProject=R", 403)):
            assert (await failure(client.call("POST", target + query)))[0] == status
        client.core.world.add_project("Q", owner=client.user)
        answer = await client.call("POST", f"{target}&newProject=Q")
        assert answer.content_type == "text/xml"
        await until(lambda: [row.project for row in client.core.world.rows.values()] == ["Q"])

    async def test_malformed_source_is_500(self, client):
        status, message = await failure(client.call("POST", "/data/services/prearchive/delete?src=/x"))
        assert status == 500
        assert message.startswith("One or more source values contained a malformed URL: ")


async def test_prearchive_code_imp_4_5(client):
    """IMP 4.5: just the number; new projects default to 4."""
    assert client.core.world.add_project("NEW", owner=client.user).prearchive_code == 4
    assert text(await client.call("GET", "/data/projects/P/prearchive_code")) == "0"
    for sent, stored in (("5", "5"), ("true", "1"), ("false", "0"), ("4", "4")):
        await client.call("PUT", f"/data/projects/P/prearchive_code/{sent}")
        assert text(await client.call("GET", "/data/projects/P/prearchive_code")) == stored
    assert (await failure(client.call("PUT", "/data/projects/P/prearchive_code/7")))[0] == 400
