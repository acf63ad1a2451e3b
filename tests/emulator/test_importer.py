"""POST /data/services/import: bodies, handlers, containers, answers (IMP 1)."""

import json

import pytest
from emulator.core_kit import chunked, dicom, failure, instances, local_entry, open_client, tarred, text, until, zipped

from xferengine.emulator.http import Query, Request
from xferengine.emulator.messages import find_messages
from xferengine.emulator.multipart import read_multipart

IMPORT = "/data/services/import"
WHO = "project=P&subject=S&session=L"


@pytest.fixture
async def client(tmp_path):
    """A core with project P."""
    async with open_client(tmp_path) as opened:
        yield opened


def form(*parts: tuple[str, str | None, bytes]) -> tuple[bytes, str]:
    """Return a multipart body and its type."""
    body = b""
    for name, filename, data in parts:
        extra = f'; filename="{filename}"' if filename is not None else ""
        body += f'--XX\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + data + b"\r\n"
    return body + b"--XX--\r\n", "multipart/form-data; boundary=XX"


class TestBody:
    """IMP 1.1."""

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("application/zip", zipped(instances(2))),
            ("application/zip", zipped(instances(2), deflate=True)),
            ("application/x-tar", tarred(instances(2))),
            ("application/xar", tarred(instances(2))),
            ("application/x-gtar", tarred(instances(2), "w:gz")),
        ],
    )
    async def test_content_type_gives_the_name(self, client, kind, body):
        uris = await client.send(body, WHO, kind=kind)
        assert client.stored(uris[0]) == ["4/DICOM/1.dcm", "4/DICOM/2.dcm"]

    @pytest.mark.parametrize("kind", ["application/x-gzip", "application/octet-stream", "application/*", "x/y"])
    async def test_types_without_a_container_name_are_unknown(self, client, kind):
        assert await failure(client.send(zipped(instances(1)), WHO, kind=kind)) == (400, "Unsupported format UNKNOWN")

    async def test_content_type_parameters_count_except_charset(self, client):
        body = zipped(instances(1))
        assert await client.send(body, WHO, kind="application/zip;charset=UTF-8")
        assert await failure(client.send(body, WHO, kind="application/zip; x=y")) == (400, "Unsupported format UNKNOWN")

    async def test_path_remainder_is_the_name(self, client):
        target = f"{IMPORT}/some/where/any.tgz?inbody=true&import-handler=DICOM-zip&{WHO}"
        answer = await client.call("POST", target, tarred(instances(1), "w:gz"), "application/octet-stream")
        assert text(answer).endswith("/L\r\n")

    async def test_unknown_length_only_for_zip(self, client):
        assert await client.send(zipped(instances(1)), WHO, chunked_body=True)
        status, message = await failure(
            client.send(tarred(instances(1)), WHO, kind="application/x-tar", chunked_body=True)
        )
        assert status == 400
        assert "-1" in message
        assert "application/zip" in message
        assert (await failure(client.send(zipped(instances(1)), WHO, kind="", chunked_body=True)))[0] == 500

    async def test_multipart_fields_are_parameters_and_the_query_wins(self, client):
        body, kind = form(
            ("project", None, b"P"), ("session", None, b"FORM"), ("f", "C:\\x\\u.zip", zipped(instances(1)))
        )
        answer = await client.call("POST", f"{IMPORT}?import-handler=DICOM-zip&session=QUERY", body, kind)
        assert text(answer).endswith("/QUERY\r\n")

    async def test_multipart_refusals(self, client):
        one = ("f", "u.zip", zipped(instances(1)))
        target = f"{IMPORT}?import-handler=DICOM-zip&{WHO}"
        assert await failure(client.call("POST", target, *form(one, one))) == (
            400,
            "Importer is limited to one uploaded resource at a time.",
        )
        assert (await failure(client.call("POST", target, *form(("reference", None, b"/x")))))[0] == 400
        assert (await failure(client.call("POST", target, *form(("f", "", b"x")))))[0] == 400
        assert (await failure(client.call("POST", f"{target}&inbody=true", *form(one))))[0] == 500

    async def test_no_file(self, client):
        target = f"{IMPORT}?import-handler=DICOM-zip"
        assert await failure(client.call("POST", target)) == (400, "Unable to identify upload format.")
        assert (await failure(client.call("POST", IMPORT)))[0] == 500
        assert (await failure(client.call("POST", target, b"a=b", "application/x-www-form-urlencoded")))[0] == 400

    async def test_key_without_value_is_500_imp_0(self, client):
        assert (await failure(client.send(zipped(instances(1)), "project=P&novalue")))[0] == 500

    async def test_multipart_parser_at_every_chunk_size(self):
        body, kind = form(("a", None, b""), ("f", "x", b"\r\n--X\r\n" * 9), ("b", None, b"v"))
        for size in range(1, 40):
            parts = await read_multipart(kind, chunked(body, size))
            assert [(part.name, part.filename, part.text()) for part in parts] == [
                ("a", None, ""),
                ("f", "x", "\r\n--X\r\n" * 9),
                ("b", None, "v"),
            ]
            for part in parts:
                part.file.close()


class TestHandler:
    """IMP 1.2."""

    async def test_unknown_handler_is_404(self, client):
        assert await failure(client.send(zipped(instances(1)), handler="nope")) == (
            404,
            "Unknown importer implementation specified: nope",
        )

    async def test_default_is_dicom_zip(self, client):
        answer = await client.call("POST", f"{IMPORT}?{WHO}", zipped(instances(1)), "application/zip")
        assert text(answer).endswith("/L\r\n")

    async def test_dicom_type_selects_gradual_dicom(self, client):
        target = f"{IMPORT}?PROJECT_ID=P&SUBJECT_ID=S&EXPT_LABEL=L"
        answer = await client.call("POST", target, dicom(1), "application/dicom")
        uri = text(answer).strip()
        assert client.stored(uri) == ["4/DICOM/upload.dcm"]

    async def test_gradual_dicom_does_not_know_the_aliases(self, client):
        uris = await client.send(dicom(1), WHO, kind="application/dicom", handler="gradual-DICOM")
        assert uris[0].startswith("/data/prearchive/projects/Unassigned/")
        assert uris[0].endswith("/PID1")

    async def test_mirc_answers_ok(self, client):
        answer = await client.call("POST", f"{IMPORT}?inbody=true&PROJECT_ID=P", dicom(1), "application/x-mirc")
        assert (answer.content_type, text(answer)) == ("text/plain", "OK")

    async def test_si_archives_by_project_code_and_tells_conflicts_as_409(self, client):
        client.core.world.projects["P"].prearchive_code = 4
        body = zipped([*instances(1), ("notes.txt", b"not dicom")])
        assert await client.send(body, WHO, handler="SI") == ["/data/archive/projects/P/subjects/S/experiments/L"]
        assert await failure(client.send(body, WHO, handler="SI")) == (
            409,
            "Session already exists, retry with overwrite enabled",
        )

    async def test_si_refusals(self, client):
        assert await failure(client.send(zipped([("a.txt", b"x")]), WHO, handler="SI")) == (
            400,
            "Upload did not include parsable files for session generation.",
        )
        two = zipped([("1.dcm", dicom(1)), ("2.dcm", dicom(1, study="1.2.3"))])
        assert await failure(client.send(two, WHO, handler="SI")) == (
            400,
            "Upload included files for multiple imaging sessions.",
        )


class TestContainer:
    """IMP 1.5."""

    @pytest.mark.parametrize(("name", "told"), [("X.ZIP", "UNKNOWN"), ("x.dcm.gz", "GZ"), ("x", "UNKNOWN")])
    async def test_format_by_name_only_with_regard_to_case(self, client, name, told):
        target = f"{IMPORT}/{name}?inbody=true&import-handler=DICOM-zip&{WHO}"
        call = client.call("POST", target, zipped(instances(1)), "application/zip")
        assert await failure(call) == (400, f"Unsupported format {told}")

    async def test_nested_archives_are_opened(self, client):
        body = zipped(
            [("deep/a.zip", zipped(instances(1))), ("b.tar", tarred([("2.dcm", dicom(2))])),
             ("c.tgz", tarred([("d.zip", zipped([("3.dcm", dicom(3))]))], "w:gz")), ("4.dcm", dicom(4))]
        )  # fmt: skip
        uris = await client.send(body, WHO)
        assert client.stored(uris[0]) == [f"4/DICOM/{n}.dcm" for n in (1, 2, 3, 4)]

    async def test_gzipped_single_dicom_is_refused(self, client):
        body = zipped([("1.dcm", dicom(1)), ("2.dcm.gz", b"\x1f\x8b")])
        assert await failure(client.send(body, WHO)) == (400, "Unsupported format GZ")
        assert len(await client.send(body, f"{WHO}&Ignore-Unparsable=true")) == 1

    async def test_only_the_last_component_counts_and_nothing_escapes(self, client):
        body = zipped(
            [("../../../1.dcm", dicom(1)), ("/abs/2.dcm", dicom(2)), ("c:\\x\\3.dcm", dicom(3)), ("a/..", dicom(4))]
        )
        uris = await client.send(body, WHO)
        assert client.stored(uris[0]) == ["4/DICOM/1.dcm", "4/DICOM/2.dcm", "4/DICOM/__", "4/DICOM/c__x_3.dcm"]

    async def test_no_rollback(self, client):
        body = zipped([("1.dcm", dicom(1)), ("note.txt", b"text"), ("2.dcm", dicom(2))])
        assert await failure(client.send(body, WHO)) == (400, "unable to read DICOM object note.txt")
        (row,) = client.core.world.rows.values()
        assert row.status == "RECEIVING"
        assert client.stored(f"/data{row.url}") == ["4/DICOM/1.dcm"]

    async def test_ignore_unparsable(self, client):
        body = zipped([("note.txt", b"text"), ("1.dcm", dicom(1)), ("DICOMDIR", b"")])
        assert len(await client.send(body, f"{WHO}&Ignore-Unparsable=true")) == 1
        nothing = zipped([("a.txt", b"text"), ("b.txt", b"text")])
        assert await failure(client.send(nothing, f"{WHO}&Ignore-Unparsable=true")) == (
            400,
            "unable to read DICOM object b.txt",
        )

    async def test_garbage_and_empty_bodies_are_200_and_empty(self, client):
        for body in (b"", b"garbage " * 10):
            assert await client.send(body, WHO, chunked_body=True) == []
        assert client.core.world.rows == {}

    async def test_cut_between_entries_is_success(self, client):
        whole, cut = local_entry("1.dcm", dicom(1)), local_entry("2.dcm", dicom(2))
        uris = await client.send(whole + cut[:20], WHO)
        assert client.stored(uris[0]) == ["4/DICOM/1.dcm"]

    async def test_cut_inside_an_entry_is_400_and_leaves_a_partial_file(self, client):
        body = local_entry("1.dcm", dicom(1)) + local_entry("2.dcm", dicom(2))[:-30]
        assert (await failure(client.send(body, WHO)))[0] == 400
        (row,) = client.core.world.rows.values()
        assert client.stored(f"/data{row.url}") == ["4/DICOM/1.dcm", "4/DICOM/2.dcm"]
        path = client.core.folder_of(row) / "SCANS/4/DICOM/2.dcm"
        assert path.stat().st_size < len(dicom(2))

    async def test_crc_mismatch_is_400_after_the_file_was_written(self, client):
        assert (await failure(client.send(local_entry("1.dcm", dicom(1), deflate=True, crc=5), WHO)))[0] == 400
        (row,) = client.core.world.rows.values()
        assert (client.core.folder_of(row) / "SCANS/4/DICOM/1.dcm").read_bytes() == dicom(1)

    async def test_stored_with_descriptor_and_encrypted_are_unreadable_containers(self, client):
        for entry in (local_entry("2", b"x", descriptor=bytes(16)), local_entry("2", b"x", flags=1)):
            body = local_entry("1.dcm", dicom(1)) + entry
            assert await failure(client.send(body, WHO)) == (400, "unable to read data from file")

    async def test_bad_gzip_is_an_unreadable_container(self, client):
        for body in (b"nonsense", tarred(instances(2), "w:gz")[:-40]):
            assert (await failure(client.send(body, WHO, kind="application/x-gtar")))[0] == 400


class TestAnswer:
    """IMP 1.7, 1.4, 1.8."""

    async def test_distinct_uris(self, client):
        body = zipped([("1.dcm", dicom(1)), ("2.dcm", dicom(1, study="1.2.3")), ("3.dcm", dicom(3))])
        uris = await client.send(body, WHO)
        assert len(uris) == len(set(uris)) == 2

    async def test_formats(self, client):
        target = f"{IMPORT}?inbody=true&import-handler=DICOM-zip&{WHO}"
        one = await client.call("POST", f"{target}&format=txt", zipped(instances(1)), "application/zip")
        assert one.content_type == "text/plain"
        assert text(one).endswith("/L")
        bad = await client.call("POST", f"{target}&format=html", zipped([("a", b"x")]), "application/zip")
        assert (bad.status, bad.content_type) == (200, "text/html")
        assert "unable to read DICOM object a" in text(bad)

    async def test_action_commit_builds_and_leaves_ready_even_on_auto_archive_projects(self, client):
        client.core.world.projects["P"].prearchive_code = 4
        uris = await client.send(zipped(instances(1)), f"{WHO}&action=commit")
        assert client.row(uris[0]).status == "READY"

    async def test_dest_archive_archives(self, client):
        client.core.world.projects["P"].prearchive_code = 4
        uris = await client.send(zipped(instances(1)), f"{WHO}&dest=/archive/projects/P/subjects/T/experiments/M")
        assert uris == ["/data/archive/projects/P/subjects/T/experiments/M"]

    async def test_dest_prearchive_sets_folder_and_builds(self, client):
        uris = await client.send(zipped(instances(1)), "subject=S&session=L&dest=/prearchive/projects/P/TS/FOLD")
        assert uris == ["/data/prearchive/projects/P/TS/FOLD"]
        assert client.row(uris[0]).status == "READY"

    async def test_dest_malformed(self, client):
        for dest in ("/nowhere", "/prearchive/P", "/archive/projects/P/experiments"):
            assert await failure(client.send(zipped(instances(1)), f"{WHO}&dest={dest}")) == (
                400,
                "Parameter dest format error",
            )

    async def test_conflict_with_the_default_handler_is_400(self, client):
        client.core.world.projects["P"].prearchive_code = 0
        await client.send(zipped(instances(1)), f"{WHO}&dest=/archive")
        assert await failure(client.send(zipped(instances(1)), f"{WHO}&dest=/archive")) == (
            400,
            "unable to archive for the Prearchive session",
        )
        (row,) = client.core.world.rows.values()
        assert row.status == "CONFLICT"
        log = await client.call("GET", f"/data{row.url}/logs/last")
        assert text(log) == "Session already exists, retry with overwrite enabled"

    async def test_locked_row_is_left_out_of_a_commit(self, client):
        uris = await client.send(zipped(instances(1)), WHO)
        client.core.hooks.on_entry = lambda row, _name: _lock(client, row)
        assert await client.send(zipped(instances(1)), f"{WHO}&AA=true&action=commit") == []
        assert client.row(uris[0]).status == "_MOVING"

    async def test_prearchive_code_with_overwrite_is_400_imp_1_3(self, client):
        query = f"{WHO}&prearchive_code=1"
        assert await failure(client.send(zipped(instances(1)), f"{query}&overwrite=append")) == (
            400,
            "Overwrite flag was not set to a valid option. ('append' or 'delete')",
        )
        assert len(await client.send(zipped(instances(1)), query)) == 1


async def _lock(client, row) -> None:
    client.core.table.set_status(row, "_MOVING")


class TestUserCache:
    """IMP 1.3, 5, 5.1."""

    def _stage(self, client, name: str = "u.zip") -> str:
        path = client.core.world.data_dir / "cache" / "owner" / "R" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zipped(instances(2)))
        return f"/user/cache/resources/R/files/{name}"

    async def test_src_synchronous(self, client):
        src = self._stage(client)
        answer = await client.call("POST", f"{IMPORT}?import-handler=DICOM-zip&src={src}&{WHO}")
        assert len(client.stored(text(answer).strip())) == 2

    async def test_src_refusals(self, client):
        base = f"{IMPORT}?import-handler=DICOM-zip&src="
        assert await failure(client.call("POST", f"{base}/data/user/cache/resources/R/files/u.zip")) == (
            400,
            "src uri is invalid.",
        )
        assert await failure(client.call("POST", f"{base}/user/cache/resources/R/files/no.zip")) == (
            404,
            "Unknown src file.",
        )
        assert (await failure(client.call("POST", f"{base}/user/cache/resources/R/files/../x.zip")))[0] == 400

    async def test_src_with_listener_is_asynchronous_and_told_by_status(self, client):
        src = self._stage(client)
        target = f"{IMPORT}?import-handler=DICOM-zip&src={src}&http-session-listener=k1&action=commit&{WHO}"
        answer = await client.call("POST", target)
        assert (answer.content_type, text(answer)) == ("text/plain", "Submitted for prearchival")
        messages = await _finished(client, "k1")
        assert [m["msg"] for m in messages[:-1]] == [
            "Determining destination",
            "Importing sessions to the prearchive",
            "Importing file (u.zip )",
            "Successfully uploaded 1  sessions to the prearchive.",
            "Creating XML for DICOM sessions",
        ]
        assert messages[-1]["status"] == "COMPLETED"
        assert messages[-1]["msg"].startswith("Prearchive:/prearchive/projects/P/")
        await until(lambda: client.core.tracker.get("k1", "owner")["succeeded"] is not None)
        plain = text(await client.call("GET", "/data/status/k1"))
        assert plain.startswith("StatusLogk1 PROCESSING: Determining destination\nk1 PROCESSING: ")
        assert plain.endswith(" (terminal)\n")
        track = json.loads(text(await client.call("GET", "/xapi/event_tracking/k1")))
        assert track["succeeded"] is True
        assert set(track) == {"key", "payload", "succeeded", "finalMessage"}

    async def test_empty_listener_is_400(self, client):
        assert (await failure(client.send(zipped(instances(1)), f"{WHO}&http-session-listener=")))[0] == 400

    async def test_unknown_status_is_an_empty_nested_list(self, client):
        assert json.loads(text(await client.call("GET", "/data/status/none?format=json"))) == {"msgs": [[]]}
        assert await failure(client.call("GET", "/xapi/event_tracking/none")) == (404, "")


async def _finished(client, key: str) -> list[dict]:
    await until(lambda: any(message.terminal for message in find_messages(client.session, key)))
    return json.loads(text(await client.call("GET", f"/data/status/{key}?format=json")))["msgs"][0]


def test_query_escapes_values_imp_0():
    """IMP 0: values are XML-escaped on entry."""
    query = Query.parse("a=%3Cx%26y%3E&b='&c")
    assert query.pairs == [("a", "&lt;x&amp;y&gt;"), ("b", "&#39;"), ("c", None)]
    assert Request(method="GET", path="/", user=None, query=query).query.flag("c")  # type: ignore[arg-type]
