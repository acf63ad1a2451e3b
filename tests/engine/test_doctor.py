"""``doctor`` against the emulator: what its switches do is seen, and nothing is changed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from engine_kit import SMALL, Job, make_cohort, settings_for, spec_for

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.scripts import Script
from xferengine.emulator.server import Emulator, open_emulator
from xferengine.jobs.doctor import Finding, examine
from xferengine.jobs.doctor_way import SIZES
from xferengine.settings.slices import Credentials

REQUESTS_MAX = 45


def site_files(emulator: Emulator) -> dict[str, bytes]:
    root = emulator.world.data_dir
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.dcm")}


async def findings_of(emulator: Emulator, state: Path, project: str | None = "P") -> dict[str, Finding]:
    found = await examine(settings_for(emulator, state), project)
    assert len({one.what for one in found}) == len(found)
    return {one.what: one for one in found}


async def test_a_site_with_data_shows_everything_and_stays_as_it_is(tmp_path: Path) -> None:
    make_cohort(tmp_path / "in", SMALL)
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        await Job(emulator, spec_for(emulator, tmp_path / "in"), settings_for(emulator, tmp_path / "s")).run()
        before, bytes_in, count = site_files(emulator), emulator.bytes_in, emulator.requests.count
        found = await findings_of(emulator, tmp_path / "s")
        served = list(emulator.requests.recent)[count:]
        assert site_files(emulator) == before
        assert emulator.bytes_in == bytes_in, "no body was sent"
    assert len(served) <= REQUESTS_MAX
    writes = {(one.method, one.path, one.status) for one in served if one.method != "GET"}
    assert writes == {
        ("POST", "/data/services/import", 404), ("POST", "/data/services/import", 400),
        ("DELETE", "/data/JSESSION", 200),
    }  # fmt: skip
    assert {what for what, one in found.items() if one.level == "ok"} >= {
        "login", "version", "clock", "sessions of this account", "import handlers", "site script", "project script",
        "project", "write access", "delete access", "zips", "ranges", "range guard", "largest body",
    }  # fmt: skip
    assert "15 minutes" in found["login lasts"].detail
    assert found["prearchive code"].detail.startswith("4")
    assert found["sessions"].detail.startswith("3 archived, 0")
    assert not [one for one in found.values() if one.level in {"warning", "error"}]


async def test_switches_of_the_site_are_seen(tmp_path: Path) -> None:
    make_cohort(tmp_path / "in", SMALL)
    config = EmulatorConfig(
        projects=("P",),
        checksums=False,
        max_logins=3,
        idle_login_s=120,
        version="3.0",
        default_prearchive_code=0,
        require_justification=True,
        max_body_bytes=50_000_000,
        script=Script(rewrite=True, remap_uids="archive"),
    )
    async with open_emulator(config) as emulator:
        await Job(emulator, spec_for(emulator, tmp_path / "in"), settings_for(emulator, tmp_path / "s")).run()
        found = await findings_of(emulator, tmp_path / "s")
    assert found["version"].level == "warning"
    assert found["digests"].level == "info"
    assert "no" in found["digests"].detail
    assert found["login lasts"].detail == "2 minutes idle"
    assert found["sessions of this account"].detail == "1 open of at most 3"
    assert found["justification"].level == "info"
    assert found["site script"].detail.startswith("on")
    assert found["project script"].detail.startswith("on")
    assert found["prearchive code"].detail.startswith("0")
    assert "between 20 MB and 100 MB" in found["largest body"].detail


@pytest.mark.parametrize(("fault", "level"), [("ignore-range", "info"), ("shift-range", "warning")])
async def test_ranges_that_do_not_work_are_seen(tmp_path: Path, fault: str, level: str) -> None:
    make_cohort(tmp_path / "in", SMALL)
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        await Job(emulator, spec_for(emulator, tmp_path / "in"), settings_for(emulator, tmp_path / "s")).run()
        emulator.faults.add(fault, "/files/.")
        assert (await findings_of(emulator, tmp_path / "s"))["ranges"].level == level


async def test_an_account_with_few_rights_is_told_what_it_may(tmp_path: Path) -> None:
    async with open_emulator(EmulatorConfig(projects=("P", "Q"))) as emulator:
        emulator.world.add_user("reader", "pw", P="collaborator")
        settings = settings_for(emulator, tmp_path)
        settings = msgspec.structs.replace(settings, credentials=Credentials("reader", "pw"))
        found = {one.what: one for one in await examine(settings, "P")}
        unseen = {one.what: one for one in await examine(settings, "Q")}
    assert found["site preferences"].detail == "not shown to this account (403)"
    assert found["write access"].level == "error"
    assert found["delete access"].detail.startswith("no")
    assert "limit not shown" in found["sessions of this account"].detail
    assert unseen["project"].level == "error"


async def test_without_a_project_one_that_can_be_seen_is_looked_at(tmp_path: Path) -> None:
    make_cohort(tmp_path / "in", SMALL)
    async with open_emulator(EmulatorConfig(projects=("P",), max_body_bytes=SIZES[0])) as emulator:
        await Job(emulator, spec_for(emulator, tmp_path / "in"), settings_for(emulator, tmp_path / "s")).run()
        found = await findings_of(emulator, tmp_path / "s", None)
    assert found["ranges"].level == "ok"
    assert "project" not in found
