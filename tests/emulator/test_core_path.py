"""The whole path: import, build, archive, catalog (IMP 1-3), also across a restart."""

import hashlib
import json

from emulator.core_kit import dicom, instances, open_client, sop_uid, text, zipped

from xferengine.emulator.records import SCAN_OWNER


async def test_import_build_archive_imp_1_7_3_2_4_2(tmp_path):
    """IMP 1.7, 4.2, 3.2: text/uri-list with CRLF; build without a newline; archive with CRLF."""
    async with open_client(tmp_path) as client:
        uris = await client.send(zipped(instances(3)))
        assert len(uris) == 1
        assert uris[0].startswith("/data/prearchive/projects/P/20240131_130509")
        assert uris[0].endswith("/L")
        assert client.row(uris[0]).status == "RECEIVING"
        built = await client.call("POST", f"{uris[0]}?action=build")
        assert (built.content_type, text(built)) == ("text/uri-list", uris[0])
        assert client.row(uris[0]).status == "READY"
        archived = await client.call("POST", f"/data/services/archive?src={uris[0]}")
        assert archived.content_type == "text/uri-list"
        assert text(archived) == "/data/archive/projects/P/subjects/S/experiments/L\r\n"
        world = client.core.world
        assert not world.rows
        assert not list((tmp_path / "prearchive").rglob("*"))
        experiment = world.find_experiment("P", "L")
        assert experiment is not None
        assert (experiment.id, experiment.xsi_type, experiment.date) == (
            "XNAT_E00001",
            "xnat:mrSessionData",
            "2024-01-31",
        )
        resource = world.find_resource(SCAN_OWNER.format(experiment.id, "4"), "DICOM")
        assert resource is not None
        entries = world.entries(resource)
        assert {entry.uid for entry in entries.values()} == {sop_uid(n) for n in (1, 2, 3)}
        assert entries["1.dcm"].digest == hashlib.md5(dicom(1)).hexdigest()
        assert (world.resource_dir(resource) / "1.dcm").read_bytes() == dicom(1)


async def test_state_survives_a_restart(tmp_path):
    """Rows keep their state and the archive is found again; a second send joins the old session (IMP 2.1)."""
    async with open_client(tmp_path) as client:
        first = await client.send(zipped(instances(2)))
    async with open_client(tmp_path) as client:
        assert client.row(first[0]).status == "RECEIVING"
        assert await client.send(zipped([("3.dcm", dicom(3))])) == first
        await client.call("POST", f"{first[0]}?action=build")
        listing = await client.call("GET", f"{first[0]}/scans/4/resources/DICOM/files?format=json")
        names = [row["Name"] for row in json.loads(text(listing))["ResultSet"]["Result"]]
        assert names == ["1.dcm", "2.dcm", "3.dcm"]
        await client.call("POST", f"/data/services/archive?src={first[0]}")
    async with open_client(tmp_path) as client:
        experiment = client.core.world.find_experiment("P", "L")
        assert experiment is not None
        assert list(experiment.scans) == ["4"]
        resource = client.core.world.find_resource(SCAN_OWNER.format(experiment.id, "4"), "DICOM")
        assert resource is not None
        assert resource.file_count == 3
        assert len(client.core.world.entries(resource)) == 3


async def test_folders_without_a_row_are_removed_at_start(tmp_path):
    """A death after the archive's transaction leaves a prearchive folder that nobody knows."""
    async with open_client(tmp_path) as client:
        (uri,) = await client.send(zipped(instances(1)))
    orphan = tmp_path / "prearchive/P/20200101_000000000/GONE/SCANS/1/DICOM"
    orphan.mkdir(parents=True)
    async with open_client(tmp_path) as client:
        assert not orphan.parents[3].exists()
        assert client.stored(uri) == ["4/DICOM/1.dcm"]
