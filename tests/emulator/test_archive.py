"""Archiving: the service's answers, merge flags by route, conflict rules and their texts (IMP 3)."""

import json
import shutil

import anyio
import pytest
from emulator.core_kit import STUDY, dicom, failure, instances, open_client, sop_uid, text, until, zipped

from xferengine.emulator.hooks import Hooks
from xferengine.emulator.records import EXPERIMENT_OWNER, SCAN_OWNER
from xferengine.emulator.scripts import Script, remapped_uid

WHO = "project=P&subject=S&session=L"
ARCHIVE = "/data/services/archive"
EXISTS = "Session already exists, retry with overwrite enabled"


@pytest.fixture
async def client(tmp_path):
    """A core with project P, code 0."""
    async with open_client(tmp_path) as opened:
        yield opened


async def ready(client, body: bytes | None = None, query: str = WHO, **options) -> str:
    """Import and build a session."""
    (uri,) = await client.send(zipped(instances(2, **options)) if body is None else body, query)
    await client.call("POST", f"{uri}?action=build")
    return uri


async def archived(client, body: bytes | None = None, query: str = WHO, more: str = "", **options) -> str:
    """Import, build and archive a session."""
    uri = await ready(client, body, query, **options)
    return text(await client.call("POST", f"{ARCHIVE}?src={uri}{more}"))


def entries(client, scan: str = "4", label: str = "L") -> dict:
    """Return the catalog of an archived scan."""
    world = client.core.world
    experiment = world.find_experiment("P", label)
    resource = world.find_resource(SCAN_OWNER.format(experiment.id, scan), "DICOM")
    return world.entries(resource)


class TestAnswers:
    """IMP 3.2."""

    async def test_success_is_200_with_crlf(self, client):
        assert await archived(client) == "/data/archive/projects/P/subjects/S/experiments/L\r\n"

    @pytest.mark.parametrize(("code", "more"), [(4, ""), (5, ""), (0, "&redirect=true"), (0, "&AA=true")])
    async def test_303_on_auto_archive_projects_or_when_asked(self, client, code, more):
        client.core.world.projects["P"].prearchive_code = code
        uri = await ready(client)
        answer = await client.call("POST", f"{ARCHIVE}?src={uri}{more}")
        assert (answer.status, answer.body) == (303, b"")
        assert answer.headers == {"Location": "/data/archive/projects/P/subjects/S/experiments/L"}

    async def test_every_failure_is_500_with_the_reason(self, client):
        await archived(client)
        uri = await ready(client, study="1.2.3")
        assert await failure(client.call("POST", f"{ARCHIVE}?src={uri}")) == (
            500,
            "FAILED: Unable to archive L: Operation Failed: Invalid modification of session UID via archive process.",
        )
        assert client.row(uri).status == "CONFLICT"
        log = text(await client.call("GET", f"{uri}/logs/last"))
        assert log == "Invalid modification of session UID via archive process."
        rows = json.loads(text(await client.call("GET", f"{uri}/logs?format=json")))["ResultSet"]["Result"]
        assert [sorted(row) for row in rows] == [["date", "entry", "id"]]

    async def test_unbuilt_session_fails_and_is_error(self, client):
        (uri,) = await client.send(zipped(instances(1)), WHO)
        status, message = await failure(client.call("POST", f"{ARCHIVE}?src={uri}"))
        assert status == 500
        assert message.startswith("FAILED: Unable to archive L: Operation Failed: The named session exists, but")
        assert client.row(uri).status == "ERROR"

    async def test_addressing(self, client):
        for query, told in [
            ("", (404, "Unknown prearchive session.")),
            ("?src=/archive/projects/P", (400, "Invalid src URI (/archive/projects/P)")),
            ("?src=/prearchive/projects/P/1", (400, "Invalid src URI (/prearchive/projects/P/1)")),
            ("?src=/prearchive/projects/P/1/X", (404, "/prearchive/projects/P/1/X not found.")),
            ("?src=/prearchive/projects/Unassigned/1/X",
             (400, "Cannot archive sessions from the Unassigned folder.")),
            ("?src=/prearchive/projects/NOPE/1/X", (403, "Invalid permissions for new project.")),
        ]:  # fmt: skip
            assert await failure(client.call("POST", ARCHIVE + query)) == told
        uri = await ready(client)
        client.row(uri).status = "_MOVING"
        assert await failure(client.call("POST", f"{ARCHIVE}?src={uri}")) == (
            403,
            "Operation already in progress on this prearchive entry.",
        )
        assert (await failure(client.call("POST", f"{ARCHIVE}?src={uri}&dest=/archive/projects/P")))[0] == 500

    async def test_addressing_by_parts_in_a_form_body(self, client):
        row = client.row(await ready(client))
        form = f"project=P&PREARC_TIMESTAMP={row.timestamp}&PREARC_SESSION_FOLDER=L".encode()
        answer = await client.call("POST", ARCHIVE, form, "application/x-www-form-urlencoded")
        assert text(answer).endswith("/L\r\n")

    async def test_several_sessions_answer_a_table_and_go_on_behind(self, client):
        uris = [await ready(client, query=f"project=P&subject=S&session={name}") for name in "ab"]
        answer = await client.call("POST", f"{ARCHIVE}?src={uris[0]}&src={uris[1]}")
        assert answer.content_type == "text/xml"
        await until(lambda: not client.core.world.rows)
        assert {e.label for e in client.core.world.experiments_of("P")} == {"a", "b"}

    async def test_listener_is_303_and_tracked(self, client):
        uri = await ready(client)
        answer = await client.call("POST", f"{ARCHIVE}?src={uri}&http-session-listener=k")
        assert answer.status == 303
        assert answer.headers["Location"].endswith("/app/template/XDATScreen_prearchives.vm")
        await until(lambda: not client.core.world.rows)
        await until(lambda: client.core.tracker.get("k", "owner")["succeeded"] is not None)
        track = json.loads(text(await client.call("GET", "/xapi/event_tracking/k")))
        assert track["succeeded"] is True
        client.user = client.core.world.add_user("other", "x")
        assert (await failure(client.call("GET", "/xapi/event_tracking/k")))[0] == 404

    async def test_unlistened_track_has_a_key_with_slashes(self, client):
        uri = await ready(client)
        key = client.row(uri).key
        await client.call("POST", f"{ARCHIVE}?src={uri}")
        assert json.loads(text(await client.call("GET", f"/xapi/event_tracking/{key}")))["key"] == key

    async def test_timeout_is_500_and_the_work_goes_on(self, tmp_path):
        hooks, release = Hooks(), anyio.Event()

        async def wait(_row):
            await release.wait()

        hooks.on_archiving = wait
        async with open_client(tmp_path, hooks=hooks, archive_timeout_s=0.02) as client:
            uri = await ready(client)
            key = client.row(uri).key
            assert await failure(client.call("POST", f"{ARCHIVE}?src={uri}")) == (
                500,
                f"The session {key} did not complete within the configured timeout interval.",
            )
            assert client.row(uri).status == "_ARCHIVING"
            release.set()
            await until(lambda: not client.core.world.rows)
            assert client.core.world.find_experiment("P", "L") is not None


class TestMergeFlags:
    """IMP 3.3."""

    async def test_single_session_always_merges(self, client):
        await archived(client)
        await archived(client, zipped([("3.dcm", dicom(3))]))
        assert sorted(entries(client)) == ["1.dcm", "2.dcm", "3.dcm"]

    @pytest.mark.parametrize("word", ["append", "delete"])
    async def test_append_and_delete_replace_files(self, client, word):
        await archived(client)
        await archived(client, zipped([("1.dcm", dicom(1, pixels=99))]), more=f"&overwrite={word}")
        assert {name: entry.size for name, entry in entries(client).items()} == {
            "1.dcm": len(dicom(1, pixels=99)),
            "2.dcm": len(dicom(2)),
        }

    async def test_code_5_replaces_without_a_word(self, client):
        await archived(client)
        client.core.world.projects["P"].prearchive_code = 5
        uri = await ready(client)
        assert (await client.call("POST", f"{ARCHIVE}?src={uri}")).status == 303

    async def test_several_sessions_merge_only_with_a_word(self, client):
        await archived(client)
        other = await ready(client, query="project=P&subject=S&session=M")
        for word, status in (("none", "CONFLICT"), ("append", None)):
            uri = await ready(client, zipped([("9.dcm", dicom(9))]))
            await client.call("POST", f"{ARCHIVE}?src={uri}&src={other}&overwrite={word}&format=json")
            await client.until_status(uri, status)
            other = await ready(client, query=f"project=P&subject=S&session=M{word}")
        assert "9.dcm" in entries(client)

    @pytest.mark.parametrize(
        ("word", "merges", "replaces"),
        [("", False, False), ("&overwrite=none", True, False), ("&overwrite=append", True, False),
         ("&overwrite=delete", True, True), ("&overwrite=override", True, True),
         ("&overwrite=append&overwrite_files=true", True, True)],
    )  # fmt: skip
    async def test_import_with_dest_archive(self, client, word, merges, replaces):
        """Any other text than delete, `none` included, means merge without override; code 0 rows need a word."""
        await archived(client)
        for body, allowed in ((zipped([("7.dcm", dicom(7))]), merges), (zipped(instances(1)), replaces)):
            send = client.send(body, f"{WHO}&dest=/archive{word}")
            if allowed:
                assert await send == ["/data/archive/projects/P/subjects/S/experiments/L"]
            else:
                assert await failure(send) == (400, "unable to archive for the Prearchive session")
                (row,) = client.core.world.rows.values()
                await client.call("DELETE", f"/data{row.url}")

    async def test_commit_merges_but_replaces_only_on_request(self, client):
        await archived(client)
        uri = await ready(client)
        assert (await failure(client.call("POST", f"{uri}?action=commit&AA=true")))[0] == 500
        assert (await client.call("POST", f"{uri}?action=commit&AA=true&overwrite_files=true")).status == 301


class TestConflicts:
    """IMP 3.4: rules in order, with their texts."""

    async def reason(self, client, uri: str, more: str = "") -> tuple[str, str]:
        """Archive a session that must fail; return the reason and the row's state."""
        status, message = await failure(client.call("POST", f"{ARCHIVE}?src={uri}{more}"))
        assert status == 500
        return message.split("Operation Failed: ")[1], client.row(uri).status

    async def test_modality(self, client):
        await archived(client)
        uri = await ready(client, modality="CT")
        told = "Invalid modification of session modality via archive process.  Data may require a manual merge."
        assert await self.reason(client, uri, "&overwrite=delete") == (told, "CONFLICT")

    async def test_subject(self, client):
        await archived(client)
        uri = await ready(client, query="project=P&subject=OTHER&session=L")
        told = "Invalid modification of session subject via archive process.: L Already Exists for another Subject"
        assert await self.reason(client, uri, "&overwrite=append") == (told, "CONFLICT")

    async def test_study_uid_unless_override(self, client):
        await archived(client)
        uri = await ready(client, study="1.2.3", series=9)
        told = "Invalid modification of session UID via archive process."
        assert await self.reason(client, uri) == (told, "CONFLICT")
        await client.call("POST", f"{ARCHIVE}?src={uri}&overwrite=append")
        assert set(entries(client, "9")) == {"1.dcm", "2.dcm"}

    async def test_same_scan_id_other_series_is_renumbered(self, client):
        await archived(client)
        await archived(client, zipped([("x.dcm", dicom(1, SeriesInstanceUID="1.2.3.4"))]))
        experiment = client.core.world.find_experiment("P", "L")
        assert list(experiment.scans) == ["4", "4-MR1"]
        assert list(entries(client, "4-MR1")) == ["x.dcm"]

    async def test_same_series_under_another_number(self, client):
        await archived(client)
        series = dicom(3, series=4, SeriesNumber=8)
        uri = await ready(client, zipped([("x.dcm", series)]))
        told = "Session already contains a scan with the same UID, but a different number (4)."
        assert await self.reason(client, uri) == (told, "CONFLICT")
        await client.call("POST", f"{ARCHIVE}?src={uri}&overwrite=append")
        assert "x.dcm" in entries(client)

    async def test_unparsable_files_are_400_type_thus_error(self, client):
        (uri,) = await client.send(zipped(instances(1)), WHO)
        (client.core.folder_of(client.row(uri)) / "SCANS/4/DICOM/bad").write_bytes(b"bad")
        await client.call("POST", f"{uri}?action=build")
        assert await self.reason(client, uri) == ("Scan 4 has 1 non-DICOM (or non-parsable DICOM) files", "ERROR")
        assert (await client.call("POST", f"{ARCHIVE}?src={uri}&overwrite=append")).status == 200

    async def test_doubled_sop_uids_imp_2_4(self, client):
        uri = await ready(client, zipped([("x.dcm", dicom(1)), ("y.dcm", dicom(1))]))
        told = f"Scan 4 DICOM catalog contains duplicated SOP instance UIDs: {sop_uid(1)}"
        assert await self.reason(client, uri) == (told, "ERROR")

    async def test_same_instances_in_the_destination(self, client):
        await archived(client)
        uri = await ready(client)
        assert await self.reason(client, uri) == ("Session already exists with the same resources.", "CONFLICT")
        uri = await ready(client, zipped([("1.dcm", dicom(1)), ("5.dcm", dicom(5))]))
        assert await self.reason(client, uri) == ("Session already exists with matching files.", "CONFLICT")

    async def test_same_name_with_another_uid_cannot_be_overridden(self, client):
        await archived(client)
        uri = await ready(client, zipped([("1.dcm", dicom(77))]))
        assert (await self.reason(client, uri, "&overwrite=delete"))[1] == "CONFLICT"

    async def test_replaced_instance_under_a_new_name_removes_the_old_file(self, client):
        await archived(client)
        await archived(client, zipped([("new.dcm", dicom(1))]), more="&overwrite=delete")
        assert sorted(entries(client)) == ["2.dcm", "new.dcm"]
        stored = [path.name for path in (client.core.world.data_dir / "archive").rglob("*.dcm")]
        assert sorted(stored) == ["2.dcm", "new.dcm"]

    async def test_subject_is_created_once_whatever_the_case(self, client):
        await archived(client)
        assert await archived(client, query="project=P&subject=s&session=M") == (
            "/data/archive/projects/P/subjects/S/experiments/M\r\n"
        )
        assert len(client.core.world.subjects_of("P")) == 1

    async def test_label_precedence(self, client):
        uri = await ready(client)
        answer = await client.call("POST", f"{ARCHIVE}?src={uri}&label=c&EXPT_LABEL=b&session=a")
        assert text(answer).endswith("/a\r\n")
        uri = await ready(client)
        answer = await client.call("POST", f"{ARCHIVE}?src={uri}&label=c&xnat:mrSessionData/label=x&EXPT_LABEL=b")
        assert text(answer).endswith("/x\r\n")

    async def test_archiver_lock_on_the_destination(self, client):
        uri = await ready(client)
        client.core.archiving.add("P/L")
        told = "Duplicate archive attempt. Destination session in use."
        assert await self.reason(client, uri) == (told, "ERROR")

    async def test_validate_archive_changes_nothing(self, client):
        await archived(client)
        uri = await ready(client, study="1.2.3")
        answer = await client.call("POST", f"/data/services/validate-archive?src={uri}&format=json")
        rows = json.loads(text(answer))["ResultSet"]["Result"]
        assert [(row["type"], row["message"]) for row in rows][:2] == [
            ("CONFLICT", EXISTS),
            ("CONFLICT", "Invalid modification of session UID via archive process."),
        ]
        assert client.row(uri).status == "READY"
        clean = await ready(client, query="project=P&subject=S&session=NEW")
        answer = await client.call("POST", f"/data/services/validate-archive?src={clean}&format=json")
        assert json.loads(text(answer))["ResultSet"]["Result"] == []


class TestResult:
    """IMP 3.4, 7: what lies in the archive afterwards."""

    async def test_session_and_scans(self, client):
        await archived(client, zipped([*instances(2), ("9", dicom(9, series=5))]), modality="MR")
        experiment = client.core.world.find_experiment("P", "L")
        assert (experiment.uid, experiment.xsi_type) == (STUDY, "xnat:mrSessionData")
        assert {scan.id: (scan.xsi_type, scan.series_description) for scan in experiment.scans.values()} == {
            "4": ("xnat:mrScanData", "series 4"),
            "5": ("xnat:mrScanData", "series 5"),
        }
        folder = client.core.world.data_dir / "archive/P/arc001/L/SCANS"
        assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
            "4/DICOM/1.dcm", "4/DICOM/2.dcm", "5/DICOM/9",
        ]  # fmt: skip

    async def test_session_resources_come_along(self, client):
        uri = await ready(client)
        await client.call("PUT", f"{uri}/resources/NOTES/files/a.txt?inbody=true", b"one", "text/plain")
        await client.call("POST", f"{ARCHIVE}?src={uri}")
        world = client.core.world
        resource = world.find_resource(EXPERIMENT_OWNER.format(world.find_experiment("P", "L").id), "NOTES")
        assert (world.resource_dir(resource) / "a.txt").read_text() == "one"
        assert resource.file_count == 1

    async def test_fields_of_a_commit_reach_the_experiment(self, client):
        """IMP 4.2: a JSON body with schema paths."""
        (uri,) = await client.send(zipped(instances(1)), WHO)
        body = json.dumps({"xnat:mrSessionData/note": "seen", "VISIT": "v1"}).encode()
        await client.call("POST", f"{uri}?action=commit&AA=true", body, "application/json")
        assert client.core.world.find_experiment("P", "L").fields["note"] == "seen"

    async def test_checksums_off(self, client):
        client.core.world.checksums = False
        await archived(client)
        assert {entry.digest for entry in entries(client).values()} == {""}

    async def test_remap_at_archive(self, tmp_path):
        async with open_client(tmp_path, script=Script(remap_uids="archive")) as client:
            await archived(client)
            assert {entry.uid for entry in entries(client).values()} == {remapped_uid(sop_uid(n)) for n in (1, 2)}
            (tmp_path / "archive/P/arc001/L/SCANS/4/DICOM/1.dcm").read_bytes()

    async def test_death_while_archiving_loses_nothing(self, tmp_path):
        """A server killed between linking and the commit: the row is stuck, the files are all there."""

        async with open_client(tmp_path) as client:
            uri = await ready(client)
            client.core.table.set_status(client.row(uri), "_ARCHIVING")
            target = tmp_path / "archive/P/arc001/L/SCANS/4/DICOM"
            target.mkdir(parents=True)
            source = client.core.folder_of(client.row(uri)) / "SCANS/4/DICOM/1.dcm"
            shutil.copy(source, target / "1.dcm")
        async with open_client(tmp_path) as client:
            await client.call("POST", f"/data/services/prearchive/rebuild?src={uri}&overrideLock=true")
            await until(lambda: client.row(uri).status == "READY")
            await client.call("POST", f"{ARCHIVE}?src={uri}")
            assert sorted(entries(client)) == ["1.dcm", "2.dcm"]
