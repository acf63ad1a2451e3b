"""Moving files from the user's cache into resources (FIL 8)."""

import hashlib

import pytest
from emulator.files_kit import FILES, RESOURCE, put, whole_zip
from emulator.http_kit import SESSION, open_browser

SERVICE = "/data/services/move-files"
CACHE = "/user/cache/resources/X"
DEST = f"/archive{FILES.removeprefix('/data')}"


async def cache(site, name: str, data: bytes = b"x") -> None:
    """Put a file into the user's cache."""
    assert (await site.ask("PUT", f"/data{CACHE}/files/{name}?inbody=true", data)).status == 200


async def uris(site, base: str = FILES):
    """Return paths and digests of a catalog."""
    rows = (await site.ask("GET", f"{base}?format=json")).rows
    return {row["URI"].partition("/files/")[2]: row["digest"] for row in rows}


class TestMove:
    async def test_one_file(self):
        async with open_browser() as site:
            await site.make_session("1")
            await cache(site, "a.txt", b"abc")
            answer = await site.ask("POST", f"{SERVICE}?src={CACHE}/files/a.txt&dest={DEST}/d/b.txt")
            assert (answer.status, answer.body) == (200, b"")
            assert await uris(site) == {"d/b.txt": hashlib.md5(b"abc").hexdigest()}
            assert (await site.ask("GET", f"{FILES}/d/b.txt")).body == b"abc"
            assert not (site.world.data_dir / "cache/admin/X/a.txt").exists()

    async def test_a_folder(self):
        async with open_browser() as site:
            await site.make_session("1")
            for name in ("a.txt", "d/b.txt"):
                await cache(site, name)
            assert (await site.ask("POST", f"{SERVICE}?src={CACHE}&dest={DEST}")).status == 200
            assert set(await uris(site)) == {"a.txt", "d/b.txt"}

    async def test_pairs_in_a_form(self):
        async with open_browser() as site:
            await site.make_session("1")
            await site.ask("PUT", f"{SESSION}/resources/Y")
            await cache(site, "a.txt")
            await cache(site, "b.txt")
            other = "/archive/experiments/XNAT_E00001/resources/Y/files/c.txt"
            body = f"{CACHE}/files/a.txt={DEST}/a.txt&{CACHE}/files/b.txt={other}"
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            assert (await site.ask("POST", SERVICE, body, headers=form)).status == 200
            assert set(await uris(site)) == {"a.txt"}
            assert set(await uris(site, f"{SESSION}/resources/Y/files")) == {"c.txt"}

    async def test_what_exists_stays_and_overwrite_replaces(self):
        """FIL 0: the flag is parsed as Java does: only `true` counts."""
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt", b"old")
            await cache(site, "a.txt", b"new")
            move = f"{SERVICE}?src={CACHE}/files/a.txt&dest={DEST}/a.txt"
            assert (await site.ask("POST", f"{move}&overwrite=yes")).status == 200
            assert (await site.ask("GET", f"{FILES}/a.txt")).body == b"old"
            assert (await site.ask("POST", f"{move}&overwrite=true")).status == 200
            assert (await site.ask("GET", f"{FILES}/a.txt")).body == b"new"

    async def test_overwrite_doubles_as_extract(self):
        async with open_browser() as site:
            await site.make_session("1")
            await cache(site, "u.zip", whole_zip([("d/a", b"1")]))
            await cache(site, "b.txt", b"2")
            assert (await site.ask("POST", f"{SERVICE}?src={CACHE}&dest={DEST}&overwrite=true")).status == 200
            assert set(await uris(site)) == {"d/a", "b.txt"}


class TestErrors:
    @pytest.mark.parametrize(
        ("query", "text"),
        [
            ("", "Missing src and dest path"),
            (f"src={CACHE}/files/a.txt", "Missing dest path"),
            (f"src={CACHE}/files/none&dest={DEST}", f"Invalid Source:{CACHE}/files/none"),
            (f"src=/user/cache/resources/../x&dest={DEST}", "Invalid Source:/user/cache/resources/../x"),
            (f"src=/etc/passwd&dest={DEST}", "Invalid Source:/etc/passwd"),
            (f"src={CACHE}/files/a.txt&dest=/archive/q", "Invalid Destination:/archive/q"),
            (
                f"src={CACHE}/files/a.txt&dest=/archive{RESOURCE.removeprefix('/data')}",
                f"Invalid Destination:/archive{RESOURCE.removeprefix('/data')}",
            ),
        ],
    )
    async def test_400(self, query, text):
        async with open_browser() as site:
            await site.make_session("1")
            await cache(site, "a.txt")
            answer = await site.ask("POST", f"{SERVICE}?{query}")
            assert (answer.status, answer.message) == (400, text)

    async def test_another_users_cache_and_missing_rights(self):
        async with open_browser() as site:
            await site.make_session("1")
            await cache(site, "a.txt")
            site.world.add_user("reader", "pw", P="collaborator")
            await site.log_in("reader", "pw")
            move = f"{SERVICE}?src={CACHE}/files/a.txt&dest={DEST}"
            assert (await site.ask("POST", move)).status == 400
            await cache(site, "a.txt")
            assert (await site.ask("POST", move)).status == 403
