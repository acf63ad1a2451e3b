"""Deleting files: prefixes, patterns, names that cannot be addressed, rights, races (FIL 1.7, FIL 9.3)."""

import asyncio

import pytest
from emulator.core_kit import settle
from emulator.files_kit import FILES, names, put, whole_zip
from emulator.http_kit import SESSION, open_browser

FOLDER = "archive/P/arc001/E/SCANS/1/R"


async def fill(site, *members: str) -> None:
    """Store files by an archive, so that every name is possible."""
    await site.make_session("1")
    data = whole_zip([(name, b"x") for name in members])
    assert (await put(site, "u.zip", data, "&extract=true")).status == 200


class TestDelete:
    @pytest.mark.parametrize(
        ("path", "left"),
        [
            ("a/1", ["b c.txt"]),  # a/10 starts with it too
            ("a/10", ["1", "b c.txt"]),
            ("a/", ["b c.txt"]),
            ("a/*0", ["1", "b c.txt"]),
            ("b%20c.txt", ["1", "10"]),
            ("", []),
        ],
    )
    async def test_prefixes_and_patterns(self, path, left):
        async with open_browser() as site:
            await fill(site, "a/1", "a/10", "b c.txt")
            assert (await site.ask("DELETE", f"{FILES}/{path}" if path else FILES)).status == 200
            assert sorted(await names(site)) == left
            on_disk = [p.name for p in (site.world.data_dir / FOLDER).rglob("*") if p.is_file()]
            assert sorted(on_disk) == left

    @pytest.mark.parametrize(("stored", "sent"), [("a#b.txt", "a%23b.txt"), ("ü.txt", "%C3%BC.txt"), ("a&b", "a%26b")])
    async def test_names_that_need_escapes_cannot_be_deleted_alone(self, stored, sent):
        """FIL 9.3: the path is used undecoded."""
        async with open_browser() as site:
            await fill(site, stored)
            answer = await site.ask("DELETE", f"{FILES}/{sent}")
            assert (answer.status, answer.message) == (404, "No matched files")
            assert (await site.ask("GET", f"{FILES}/{sent}")).body == b"x"

    async def test_one_blank_decodes_the_whole_path(self):
        async with open_browser() as site:
            await fill(site, "a# b.txt", "c")
            assert (await site.ask("DELETE", f"{FILES}/a%23%20b.txt")).status == 200
            assert await names(site) == ["c"]

    async def test_empty_folders_go_and_others_stay(self):
        async with open_browser() as site:
            await fill(site, "d/e/a", "d/b")
            await site.ask("DELETE", f"{FILES}/d/e/a")
            assert sorted(p.name for p in (site.world.data_dir / FOLDER).rglob("*")) == ["b", "d"]

    async def test_without_a_resource_in_the_url(self):
        async with open_browser() as site:
            await fill(site, "a")
            answer = await site.ask("DELETE", f"{SESSION}/scans/1/files/a")
            text = "Unable to determine resource, parent, or security."
            assert (answer.status, answer.message) == (400, text)

    async def test_policy(self):
        async with open_browser(require_justification=True) as site:
            await site.make_session("1")
            await put(site, "a", b"x", "&event_reason=r")
            assert (await site.ask("DELETE", f"{FILES}/a")).message == "Justification required."
            assert (await site.ask("DELETE", f"{FILES}/a?event_reason=r")).status == 200

    async def test_a_put_at_the_same_time_is_disturbed(self):
        """FIL 4.3: a deletion changes the catalog as an upload does."""

        async def slow():
            started.set()
            yield b"x"
            await go_on.wait()
            yield b"y"

        started, go_on = asyncio.Event(), asyncio.Event()
        async with open_browser() as site:
            await fill(site, "a", "b")
            headers = {"Content-Type": "application/zip"}
            task = asyncio.create_task(site.ask("PUT", f"{FILES}/slow", slow(), headers=headers))
            await started.wait()
            while not (site.world.data_dir / FOLDER / "slow").exists():
                await settle(1)
            assert (await site.ask("DELETE", f"{FILES}/a")).status == 200
            go_on.set()
            assert (await task).status == 500
            assert await names(site) == ["b"]
