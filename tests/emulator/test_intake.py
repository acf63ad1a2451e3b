"""Storing single objects: errors, identity, duplicates, names, scripts, fault hooks (IMP 1.6, 2.1, 2.4, 7)."""

import asyncio

import pydicom
import pytest
from emulator.core_kit import STUDY, dicom, failure, instances, open_client, sop_uid, uid, zipped

from xferengine.emulator.dicom import Header
from xferengine.emulator.hooks import Hooks, Pacer
from xferengine.emulator.http import HttpError
from xferengine.emulator.naming import base36, java_hash, list_hash, template_name
from xferengine.emulator.scripts import Script, remapped_uid

WHO = "project=P&subject=S&session=L"


@pytest.fixture
async def client(tmp_path):
    """A core with project P."""
    async with open_client(tmp_path) as opened:
        yield opened


class TestErrors:
    """IMP 1.6: nearly everything is 400."""

    @pytest.mark.parametrize("data", [b"", b"text", bytes(500), dicom(1)[:200], dicom(1)[:135], b"x" * 400])
    async def test_not_dicom_or_cut_in_the_header(self, client, data):
        assert await failure(client.send(zipped([("d/x.dcm", data)]), WHO)) == (
            400,
            "unable to read DICOM object x.dcm",
        )

    async def test_cut_in_the_pixels_is_taken(self, client):
        uris = await client.send(zipped([("x.dcm", dicom(1, pixels=5000)[:-100])]), WHO)
        assert client.stored(uris[0]) == ["4/DICOM/x.dcm"]

    async def test_missing_sop_uids(self, client):
        for tag, name in (("SOPClassUID", "SOP Class UID"), ("SOPInstanceUID", "SOP Instance UID")):
            data = dicom(1, **{tag: ""})
            assert await failure(client.send(zipped([("x", data)]), WHO)) == (400, f"object x contains no {name}")

    async def test_unknown_project_falls_back_silently(self, client):
        (uri,) = await client.send(zipped(instances(1)), "project=NOPE&subject=S&session=L")
        assert uri.startswith("/data/prearchive/projects/Unassigned/")
        assert client.row(uri).columns()["project"] == "Unassigned"

    async def test_forbidden_project_is_routed_by_the_object(self, client):
        client.core.world.add_project("OTHER")
        (uri,) = await client.send(zipped([("1", dicom(1, StudyDescription="P"))]), "project=OTHER&session=L")
        assert uri.startswith("/data/prearchive/projects/P/")

    async def test_without_session_the_patient_id_names_it_else_dicom_upload(self, client):
        (uri,) = await client.send(zipped(instances(1)), "project=P")
        assert uri.endswith("/PID1")
        (uri,) = await client.send(zipped([("1", dicom(1, PatientID=""))]), "project=P")
        assert uri.endswith("/dicom_upload")

    async def test_explicit_folder_of_another_study_is_400(self, client):
        where = f"{WHO}&PREARC_TIMESTAMP=TS&PREARC_SESSION_FOLDER=F"
        assert await client.send(zipped(instances(1)), where) == ["/data/prearchive/projects/P/TS/F"]
        assert (await failure(client.send(zipped(instances(1, study="1.2.3")), where)))[0] == 400

    async def test_labels_cannot_leave_the_folder(self, client):
        for label in ("..%2F..%2Fx", "..", "a%2Fb"):
            assert (await failure(client.send(zipped(instances(1)), f"project=P&session={label}")))[0] == 400
        odd = dicom(1, PatientID="../../x", SeriesNumber=None)
        series, up = uid(STUDY, 4), "../" * 20
        odd = odd.replace(series.encode(), up[: len(series)].encode()).replace(
            STUDY.encode(), up[: len(STUDY)].encode()
        )
        assert (await failure(client.send(zipped([("1", odd)]), "project=P")))[0] == 400
        (uri,) = await client.send(zipped([("1", odd)]), f"{WHO}&rename=true")
        (stored,) = client.stored(uri)
        assert stored.startswith(".._.._.._")
        assert stored.count("/") == 2


class TestIdentity:
    """IMP 2.1, 2.2."""

    async def test_same_study_and_name_join_whatever_the_subject(self, client):
        first = await client.send(zipped(instances(1)), f"{WHO}&SOURCE=me&prevent_auto_commit=true")
        second = await client.send(zipped(instances(2)), "project=P&subject=OTHER&session=L&SOURCE=you")
        assert first == second
        row = client.row(first[0])
        assert (row.subject, row.source, row.prevent_auto_commit) == ("S", "me", True)

    async def test_other_study_or_name_opens_another_session(self, client):
        uris = [
            *await client.send(zipped(instances(1)), WHO),
            *await client.send(zipped(instances(1, study="1.2.3")), WHO),
            *await client.send(zipped(instances(1)), "project=P&session=M"),
        ]
        assert len(set(uris)) == 3

    async def test_aa_without_commit_has_no_effect(self, client):
        (uri,) = await client.send(zipped(instances(1)), f"{WHO}&AA=true")
        assert client.row(uri).autoarchive == "Manual"

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("RECEIVING", "RECEIVING"),
            ("RECEIVING_INTERRUPT", "RECEIVING_INTERRUPT"),
            ("BUILDING", "RECEIVING_INTERRUPT"),
            *((state, "RECEIVING") for state in ("READY", "ERROR", "CONFLICT", "QUEUED_ARCHIVING", "_BUILDING")),
        ],
    )
    async def test_an_instance_changes_the_state(self, client, before, after):
        (uri,) = await client.send(zipped(instances(1)), WHO)
        client.row(uri).status = before
        assert await client.send(zipped(instances(2)), WHO) == [uri]
        assert client.row(uri).status == after

    async def test_parallel_uploads_of_a_study_share_a_session(self, client):
        sends = [client.send(zipped([(f"{n}.dcm", dicom(n))]), WHO) for n in range(8)]
        uris = await asyncio.gather(*sends)
        assert len({uri for (uri,) in uris}) == 1
        assert len(client.stored(uris[0][0])) == 8


class TestNames:
    """IMP 2.4, 7."""

    async def test_forbidden_characters_become_underscores(self, client):
        (uri,) = await client.send(zipped([("a b+ä(1).dcm", dicom(1))]), WHO)
        assert client.stored(uri) == ["4/DICOM/a_b___1_.dcm"]

    async def test_same_name_same_instance_overwrites(self, client):
        (uri,) = await client.send(zipped([("x.dcm", dicom(1)), ("x.dcm", dicom(1, pixels=80))]), WHO)
        assert client.stored(uri) == ["4/DICOM/x.dcm"]
        assert (client.core.folder_of(client.row(uri)) / "SCANS/4/DICOM/x.dcm").read_bytes() == dicom(1, pixels=80)

    async def test_same_name_other_instance_gets_the_template_name(self, client):
        (uri,) = await client.send(zipped([("x.dcm", dicom(1)), ("x.dcm", dicom(2))]), WHO)
        value = list_hash(("1.2.840.10008.5.1.4.1.1.4", sop_uid(2)))
        assert client.stored(uri) == sorted(["4/DICOM/x.dcm", f"4/DICOM/{STUDY}-4-2-{base36(value)}.dcm"])

    async def test_unreadable_file_of_that_name_is_not_replaced(self, client):
        (uri,) = await client.send(zipped([("x.dcm", dicom(1))]), WHO)
        (client.core.folder_of(client.row(uri)) / "SCANS/4/DICOM/x.dcm").write_bytes(b"torn")
        await client.send(zipped([("x.dcm", dicom(1))]), WHO)
        assert len(client.stored(uri)) == 2

    async def test_same_instance_under_two_names_is_kept_twice(self, client):
        (uri,) = await client.send(zipped([("x.dcm", dicom(1)), ("y.dcm", dicom(1))]), WHO)
        assert len(client.stored(uri)) == 2

    async def test_rename_is_deterministic(self, client):
        (uri,) = await client.send(zipped([("x.dcm", dicom(1)), ("y.dcm", dicom(1))]), f"{WHO}&rename=true")
        assert len(client.stored(uri)) == 1

    async def test_scan_folder_is_the_series_number_or_the_series_uid(self, client):
        series = uid(STUDY, 9)
        body = zipped([("1", dicom(1, series=9)), ("2", dicom(2, series=9, SeriesNumber=None))])
        (uri,) = await client.send(body, WHO)
        assert client.stored(uri) == sorted(["9/DICOM/1", f"{series}/DICOM/2"])

    def test_hashes_follow_java(self):
        """Values of String.hashCode and List.hashCode as the JDK gives them."""
        assert java_hash("hello") == 99162322
        assert java_hash("polygenelubricants") == 0x80000000  # the String whose hashCode is Integer.MIN_VALUE
        assert list_hash(()) == 1
        assert list_hash(("a", "b")) == 31 * (31 + 97) + 98
        assert base36(0xFFFFFFFF) == "1z141z3"
        assert base36(0) == "0"

    def test_template_without_tags(self):
        assert template_name(Header()).startswith(
            "no-value-for-StudyInstanceUID-no-value-for-SeriesNumber-no-value-for-InstanceNumber-"
        )

    async def test_preamble_is_blanked_and_the_rest_is_kept(self, client):
        data = b"\x01" * 128 + dicom(1)[128:]
        (uri,) = await client.send(zipped([("x.dcm", data)]), WHO)
        stored = (client.core.folder_of(client.row(uri)) / "SCANS/4/DICOM/x.dcm").read_bytes()
        assert stored == bytes(128) + data[128:]

    async def test_objects_without_preamble_get_one(self, client):
        """IMP 7: the file meta group is written anew."""
        whole = dicom(1)
        meta_length = int.from_bytes(whole[140:144], "little")
        bare, with_meta = whole[144 + meta_length :], whole[132:]
        for name, data in (("bare.dcm", bare), ("meta.dcm", with_meta)):
            (uri,) = await client.send(zipped([(name, data)]), WHO)
            path = client.core.folder_of(client.row(uri)) / "SCANS/4/DICOM" / name
            stored = pydicom.dcmread(path)
            assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
            assert stored.SOPInstanceUID == stored.file_meta.MediaStorageSOPInstanceUID == sop_uid(1)
            assert path.read_bytes().endswith(data)

    async def test_big_objects_are_streamed(self, tmp_path):
        async with open_client(tmp_path, in_body_max_bytes=10_000) as client:
            data = dicom(1, pixels=300_000)
            for deflate in (False, True):
                (uri,) = await client.send(zipped([("x.dcm", data)], deflate=deflate), WHO)
                path = client.core.folder_of(client.row(uri)) / "SCANS/4/DICOM/x.dcm"
                assert path.read_bytes() == data


class TestScripts:
    """IMP 7, 1.5: optional, off by default."""

    async def test_rewrite(self, tmp_path):
        async with open_client(tmp_path, script=Script(rewrite=True)) as client:
            (uri,) = await client.send(zipped(instances(1)), WHO)
            stored = pydicom.dcmread(client.core.folder_of(client.row(uri)) / "SCANS/4/DICOM/1.dcm")
            assert (stored.StudyDescription, stored.PatientName, stored.PatientID) == ("P", "S", "L")
            (uri,) = await client.send(zipped(instances(1)), "project=P&session=M&prevent_anon=true")
            kept = client.core.folder_of(client.row(uri)) / "SCANS/4/DICOM/1.dcm"
            assert kept.read_bytes() == dicom(1)

    async def test_rejected_instances_give_no_error_and_no_uri(self, tmp_path):
        async with open_client(tmp_path, script=Script(reject_series="4")) as client:
            assert await client.send(zipped(instances(2)), WHO) == []
            (uri,) = await client.send(zipped([*instances(2), ("9.dcm", dicom(9, series=5))]), WHO)
            assert client.stored(uri) == ["5/DICOM/9.dcm"]
        async with open_client(tmp_path / "2", script=Script(reject_every=2, reject_modality="CT")) as client:
            (uri,) = await client.send(zipped(instances(20)), WHO)
            assert 0 < len(client.stored(uri)) < 20
            assert await client.send(zipped(instances(1, modality="CT")), WHO) == []

    async def test_remapped_uids_make_a_resend_a_duplicate(self, tmp_path):
        """IMP 2.4: the stored file no longer matches the incoming UID."""
        async with open_client(tmp_path, script=Script(remap_uids="import")) as client:
            (uri,) = await client.send(zipped(instances(1)), WHO)
            stored = pydicom.dcmread(client.core.folder_of(client.row(uri)) / "SCANS/4/DICOM/1.dcm")
            assert stored.SOPInstanceUID == remapped_uid(sop_uid(1))
            await client.send(zipped(instances(1)), WHO)
            assert len(client.stored(uri)) == 2


class TestHooks:
    """IMP 10.15, 10.16: where faults take hold."""

    async def test_each_hook(self, tmp_path):
        hooks = Hooks()
        async with open_client(tmp_path, hooks=hooks) as client:
            hooks.torn = lambda _row, name: name == "2.dcm"
            body = zipped(instances(3))
            assert await failure(client.send(body, WHO)) == (400, "unable to read DICOM object 2.dcm")
            (row,) = client.core.world.rows.values()
            uri = f"/data{row.url}"
            assert (client.core.folder_of(row) / "SCANS/4/DICOM/2.dcm").stat().st_size == 200
            del hooks.torn
            hooks.lose = lambda _row, path: path.name == "3.dcm"
            assert await client.send(body, f"{WHO}&rename=true") == [uri]
            hooks.lose = lambda _row, path: True
            (lost,) = await client.send(body, "project=P&session=LOST")
            assert client.stored(lost) == []
            hooks.concurrent_file = lambda _row, _name: True
            assert await failure(client.send(body, WHO)) == (
                400,
                "Concurrent file sends of the same data is not supported.",
            )
            del hooks.concurrent_file
            hooks.disk_full = lambda: True
            assert await failure(client.send(body, WHO)) == (400, "unable to read DICOM object 1.dcm")

    async def test_late_arrival_while_archiving_is_lost(self, tmp_path):
        """IMP 2.2 b: 200 for the sender, the instance is gone with the folder."""
        hooks = Hooks()
        async with open_client(tmp_path, hooks=hooks) as client:
            (uri,) = await client.send(zipped(instances(2)), WHO)
            await client.call("POST", f"{uri}?action=build")

            async def send_late(_row):
                assert await client.send(zipped([("3.dcm", dicom(3))]), WHO) == [uri]

            hooks.on_archiving = send_late
            await client.call("POST", f"/data/services/archive?src={uri}")
            assert client.core.world.rows == {}
            (resource,) = client.core.world.resources.values()
            assert resource.file_count == 2
            assert not list((tmp_path / "prearchive").rglob("*.dcm"))

    async def test_real_concurrent_sends_of_one_name(self, tmp_path):
        """IMP 2.3: the per-file lock is held while a big file is written."""
        async with open_client(tmp_path, in_body_max_bytes=1000) as client:
            body = zipped([("x.dcm", dicom(1, pixels=50_000))])
            results = await asyncio.gather(client.send(body, WHO), client.send(body, WHO), return_exceptions=True)
            errors = [r for r in results if isinstance(r, HttpError)]
            assert len(errors) == 1
            assert errors[0].message == "Concurrent file sends of the same data is not supported."

    async def test_inject_foreign_row(self, client):
        row = client.core.inject_foreign_row("P", STUDY, "L")
        assert client.core.table.find("P", STUDY, "L") is row
        assert (await client.send(zipped(instances(1)), WHO)) == [f"/data{row.url}"]


class _SteppingClock:
    """A clock on which sleeping is exact and instant, for one task at a time."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def monotonic(self) -> float:
        return self.time_s

    async def sleep(self, delay_s: float) -> None:
        self.time_s += delay_s


async def test_pacer_is_exact_on_average():
    """Sub-millisecond service times are saved up, not rounded."""
    for parallel, serial in ((0.3, 0.0), (0.0, 0.3), (2.0, 0.1), (0.5, 0.5)):
        clock = _SteppingClock()
        pacer = Pacer(clock, instance_ms=parallel, instance_lock_ms=serial)  # type: ignore[arg-type]
        for _ in range(1000):
            await pacer.wait_instance()
        assert clock.time_s == pytest.approx((parallel + serial), abs=0.01)
