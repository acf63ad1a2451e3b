"""The idle timer (IMP 2.5) and direct archive (IMP 6)."""

import json

import pytest
from emulator.core_kit import STUDY, FakeClock, dicom, failure, instances, open_client, settle, text, until, zipped

from xferengine.emulator.hooks import Hooks

WHO = "project=P&subject=S&session=L"
DIRECT = f"{WHO}&Direct-Archive=true"
URI = f"/xapi/direct-archive/P/{STUDY}/L"


@pytest.fixture
def clock() -> FakeClock:
    """A clock of our own."""
    return FakeClock()


class TestIdleTimer:
    """IMP 2.5: five minutes idle, polled each minute."""

    async def test_builds_and_archives_by_project_code(self, tmp_path, clock):
        for code in (0, 4, 5):
            async with open_client(tmp_path / str(code), code=code, clock=clock) as client:
                (uri,) = await client.send(zipped(instances(1)), WHO)
                await settle()
                await clock.advance(250)
                assert client.row(uri).status == "RECEIVING"
                await clock.advance(61)
                if code:
                    await until(lambda: not client.core.world.rows)
                    assert client.core.world.find_experiment("P", "L") is not None
                else:
                    await client.until_status(uri, "READY")

    async def test_each_instance_restarts_the_idle_time_every_15_s(self, tmp_path, clock):
        async with open_client(tmp_path, clock=clock) as client:
            (uri,) = await client.send(zipped(instances(1)), WHO)
            for number in range(2, 8):
                await settle()
                await clock.advance(100)
                assert await client.send(zipped([(f"{number}.dcm", dicom(number))]), WHO) == [uri]
                assert client.row(uri).status == "RECEIVING"

    @pytest.mark.parametrize("query", ["&prevent_auto_commit=true", "&SOURCE=uploader"])
    async def test_exempt_rows_stay(self, tmp_path, clock, query):
        async with open_client(tmp_path, clock=clock) as client:
            (uri,) = await client.send(zipped(instances(1)), WHO + query)
            for _ in range(10):
                await settle()
                await clock.advance(100)
            assert client.row(uri).status == "RECEIVING"

    async def test_leaked_lock_blocks_for_ever_also_after_a_restart(self, tmp_path, clock):
        hooks = Hooks()
        hooks.leak_lock = lambda _row: True
        async with open_client(tmp_path, clock=clock, hooks=hooks) as client:
            (uri,) = await client.send(zipped(instances(1)), WHO)
        async with open_client(tmp_path, clock=clock) as client:
            for _ in range(10):
                await settle()
                await clock.advance(100)
            assert client.row(uri).status == "RECEIVING"
            await client.call("POST", f"{uri}?action=build")
            assert client.row(uri).status == "READY"

    async def test_conflict_in_auto_archive(self, tmp_path, clock):
        async with open_client(tmp_path, code=4, clock=clock, idle_interval_s=1, idle_poll_s=1) as client:
            assert await client.send(zipped(instances(1)), f"{WHO}&dest=/archive")
            (uri,) = await client.send(zipped(instances(1)), WHO)
            await settle()
            await clock.advance(2)
            await client.until_status(uri, "CONFLICT")


class TestDirectArchive:
    """IMP 6."""

    async def test_uri_is_never_prefixed_and_the_trigger_archives(self, tmp_path):
        async with open_client(tmp_path) as client:
            assert await client.send(zipped(instances(2)), DIRECT) == [URI]
            assert client.core.world.rows == {}
            told = json.loads(text(await client.call("GET", URI)))
            assert (told["status"], told["project"], told["tag"]) == ("RECEIVING", "P", STUDY)
            listed = json.loads(text(await client.call("POST", "/xapi/direct-archive", b"{}", "application/json")))
            assert [session["name"] for session in listed] == ["L"]
            answer = await client.call("POST", URI)
            assert (answer.status, answer.body) == (200, b"")
            await until(lambda: not client.core.direct.sessions)
            assert (await failure(client.call("GET", URI)))[0] == 404
            experiment = client.core.world.find_experiment("P", "L")
            assert experiment is not None
            (resource,) = client.core.world.resources.values()
            assert resource.file_count == 2
            assert (client.core.world.resource_dir(resource) / "1.dcm").read_bytes() == dicom(1)

    async def test_idle_time_archives(self, tmp_path, clock):
        async with open_client(tmp_path, clock=clock) as client:
            await client.send(zipped(instances(1)), DIRECT)
            await settle()
            await clock.advance(400)
            await until(lambda: client.core.world.find_experiment("P", "L") is not None)

    async def test_state_survives_a_restart(self, tmp_path):
        async with open_client(tmp_path) as client:
            await client.send(zipped(instances(1)), DIRECT)
        async with open_client(tmp_path) as client:
            assert await client.send(zipped([("2.dcm", dicom(2))]), DIRECT) == [URI]
            await client.call("POST", URI)
            await until(lambda: client.core.world.find_experiment("P", "L") is not None)
            (resource,) = client.core.world.resources.values()
            assert resource.file_count == 2

    async def test_archived_session_falls_back_to_the_prearchive(self, tmp_path):
        """A second send lands in the prearchive, silently, and becomes CONFLICT."""
        async with open_client(tmp_path) as client:
            await client.send(zipped(instances(1)), DIRECT)
            await client.call("POST", URI)
            await until(lambda: client.core.world.find_experiment("P", "L") is not None)
            (uri,) = await client.send(zipped(instances(1)), DIRECT)
            assert uri.startswith("/data/prearchive/projects/P/")
            assert (await failure(client.call("POST", f"{uri}?action=commit&AA=true")))[0] == 500
            assert client.row(uri).status == "CONFLICT"

    async def test_another_study_under_the_label_falls_back(self, tmp_path):
        async with open_client(tmp_path) as client:
            body = zipped([("1.dcm", dicom(1)), ("2.dcm", dicom(1, study="1.2.3"))])
            uris = await client.send(body, DIRECT)
            assert uris[0] == URI
            assert uris[1].startswith("/data/prearchive/")

    async def test_failure_moves_the_files_to_the_prearchive(self, tmp_path):
        async with open_client(tmp_path) as client:
            await client.send(zipped(instances(1)), DIRECT.replace("subject=S", "subject=T"))
            world = client.core.world
            world.add_experiment("P", world.add_subject("P", "X").id, "L", "xnat:mrSessionData")
            await client.call("POST", URI)
            await until(lambda: any(row.status == "READY" for row in world.rows.values()))
            (row,) = world.rows.values()
            log = text(await client.call("GET", f"/data{row.url}/logs/last"))
            assert log.startswith("Attempt to direct-archive failed")

    async def test_commit_with_direct_archive_is_400_imp_1_8(self, tmp_path):
        async with open_client(tmp_path) as client:
            assert (await failure(client.send(zipped(instances(1)), f"{DIRECT}&action=commit")))[0] == 400

    async def test_rights_and_delete(self, tmp_path):
        async with open_client(tmp_path) as client:
            await client.send(zipped(instances(1)), DIRECT)
            owner, client.user = client.user, client.core.world.add_user("reader", "x", P="collaborator")
            assert (await failure(client.call("POST", URI)))[0] == 403
            (number,) = client.core.direct.sessions
            assert (await failure(client.call("DELETE", f"/xapi/direct-archive/{number}")))[0] == 403
            client.user = owner
            await client.call("DELETE", f"/xapi/direct-archive/{number}")
            assert client.core.direct.sessions == {}
            assert not (tmp_path / "archive/P/arc001/L").exists()
