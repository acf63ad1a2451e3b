"""The user's cache, inverted and as named (FIL 1.8, IMP 5.1)."""

import io
import tarfile
import zipfile

import pytest
from emulator.core_kit import instances, zipped
from emulator.files_kit import IMPORT, whole_zip
from emulator.http_kit import open_browser

BASE = "/data/user/cache/resources"
FORM = {"Content-Type": "multipart/form-data; boundary=B"}


def form(name: str, data: bytes) -> bytes:
    """Return a form with one file."""
    head = f'--B\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'
    return head.encode() + data + b"\r\n--B--\r\n"


class TestPut:
    async def test_put_then_import_by_src(self):
        """IMP 5.1, IMP 1.3."""
        async with open_browser() as site:
            cache = "/user/cache/resources/UP/files/a.zip"
            assert (await site.ask("PUT", f"/data{cache}?inbody=true", zipped(instances(2)))).status == 200
            answer = await site.ask("POST", f"{IMPORT}&src={cache}")
            assert (answer.status, answer.text.startswith("/data/prearchive/projects/P/")) == (200, True)

    async def test_it_always_overwrites_and_takes_nested_names(self):
        async with open_browser(user_cache_inverted=False) as site:
            for data in (b"one", b"two", b""):
                assert (await site.ask("PUT", f"{BASE}/X/files/d/e%20f.txt?inbody=true", data)).status == 200
                assert (await site.ask("GET", f"{BASE}/X/files/d/e%20f.txt")).body == data

    async def test_multipart_extract(self):
        async with open_browser(user_cache_inverted=False) as site:
            body = form("u.zip", whole_zip([("d/a", b"1"), ("b", b"2")]))
            assert (await site.ask("PUT", f"{BASE}/X/files?extract=true", body, headers=FORM)).status == 200
            rows = (await site.ask("GET", f"{BASE}/X/files?format=json")).rows
            assert [row["URI"] for row in rows] == [f"{BASE}/X/files/b", f"{BASE}/X/files/d/a"]
            broken = await site.ask("PUT", f"{BASE}/X/files?extract=true", form("u.zip", b"no"), headers=FORM)
            assert broken.status == 422

    async def test_it_never_leaves_the_users_folder(self):
        async with open_browser(firewall=False) as site:
            for target in ("..", "X/files/../../x", "X/files/%20/../../../x"):
                assert (await site.ask("PUT", f"{BASE}/{target}?inbody=true", b"x")).status in (400, 404)

    async def test_folders(self):
        async with open_browser() as site:
            assert (await site.ask("PUT", f"{BASE}/X")).status == 200
            again = await site.ask("PUT", f"{BASE}/X")
            assert (again.status, again.message) == (412, "Resource with this name already exists.")


class TestInverted:
    """FIL 1.8: a file's URL lists or deletes the folder, the folder's own URLs are unknown."""

    async def test_get_and_delete(self):
        async with open_browser() as site:
            await site.ask("PUT", f"{BASE}/X/files/d/a.txt?inbody=true", b"abc")
            listed = await site.ask("GET", BASE)
            assert (listed.status, listed.body) == (200, b"")
            assert (await site.ask("GET", f"{BASE}/X")).status == 404
            assert (await site.ask("GET", f"{BASE}/X/files")).status == 404
            answer = await site.ask("GET", f"{BASE}/X/files/d/a.txt?format=json")
            assert ([row["Name"] for row in answer.rows], answer.json["ResultSet"]["totalRecords"]) == (["a.txt"], "1")
            assert (await site.ask("DELETE", f"{BASE}/X")).status == 404
            assert (await site.ask("DELETE", f"{BASE}/X/files/other.txt")).status == 200
            assert (await site.ask("GET", f"{BASE}/X/files/d/a.txt")).status == 404

    @pytest.mark.parametrize(("kind", "name"), [("zip", "X.zip"), ("tar", "X.tar.gz")])
    async def test_the_whole_folder_as_an_archive(self, kind, name):
        async with open_browser() as site:
            await site.ask("PUT", f"{BASE}/X/files/d/a.txt?inbody=true", b"abc")
            answer = await site.ask("GET", f"{BASE}/X/files/anything?format={kind}")
            assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}";'
            if kind == "zip":
                assert zipfile.ZipFile(io.BytesIO(answer.body)).namelist() == ["d/a.txt"]
            else:
                with tarfile.open(fileobj=io.BytesIO(answer.body), mode="r:") as archive:
                    assert archive.getnames() == ["d/a.txt"]

    async def test_post(self):
        async with open_browser() as site:
            assert (await site.ask("POST", f"{BASE}/X/files", form("a", b"x"), headers=FORM)).status == 400
            assert (await site.ask("POST", f"{BASE}/X/files/a", form("b", b"x"), headers=FORM)).status == 201


class TestAsNamed:
    """FIL 1.8: what older releases presumably do."""

    async def test_everything(self):
        async with open_browser(user_cache_inverted=False) as site:
            assert (await site.ask("POST", f"{BASE}/X/files", form("b.txt", b"b"), headers=FORM)).status == 201
            await site.ask("PUT", f"{BASE}/X/files/d/a.txt?inbody=true", b"abc")
            assert [row["Name"] for row in (await site.ask("GET", f"{BASE}?format=json")).rows] == ["X"]
            for target in (f"{BASE}/X", f"{BASE}/X/files"):
                rows = (await site.ask("GET", f"{target}?format=json")).rows
                assert [row["Name"] for row in rows] == ["b.txt", "a.txt"]
            assert (await site.ask("DELETE", f"{BASE}/X/files/b.txt")).status == 200
            assert (await site.ask("GET", f"{BASE}/X/files/b.txt")).status == 404
            assert (await site.ask("GET", f"{BASE}/X/files/d/a.txt")).body == b"abc"
            assert (await site.ask("DELETE", f"{BASE}/X/files")).status == 404
            assert (await site.ask("DELETE", f"{BASE}/X")).status == 200
            assert (await site.ask("DELETE", f"{BASE}/X")).status == 404
