"""One login for everybody: asked once, renewed once, never guessed, given back."""

from __future__ import annotations

import base64
import itertools

import anyio
import anyio.lowlevel
import pytest

from xferengine.errors import AccessDenied, Ambiguous, ConnectFailed, LoginRefused, NotFound, SettingsError, Throttled
from xferengine.settings.slices import Credentials, ServerConfig, TimeoutConfig
from xferengine.xnat.client import open_client
from xferengine.xnat.transport import Kind, Request

LISTING = Request(method="GET", segments=("data", "projects"))
BUILD = Request(method="POST", segments=("data", "build"), kind=Kind.COMMIT)


class NoTime:
    """A clock whose sleeps end when a test says so."""

    def __init__(self) -> None:
        self.beats = anyio.Event()

    async def sleep(self, seconds: float, /) -> None:
        await self.beats.wait()
        self.beats = anyio.Event()


class Site:
    """A small XNAT: logins by Basic, cookies, and the account's name."""

    def __init__(self, user: str = "ann", password: str = "secret") -> None:
        self.pair = f"{user}:{password}"
        self.user = user
        self.alive: set[str] = set()
        self.basics: list[str] = []
        self.ids = (f"ID{n:04d}" for n in itertools.count())
        self.guests = False
        self.work: list[str] = []
        self.ended: list[str] = []
        self.in_body = False
        self.name_paths = {"/xapi/users/username": "{}", "/data/auth": "User '{}' is logged in"}
        self.gate: anyio.Event | None = None

    def start(self) -> str:
        login = next(self.ids)
        self.alive.add(login)
        return login

    async def __call__(self, x) -> None:
        await x.body()
        if "authorization" in x.headers:
            return await self.login(x)
        login = x.headers.get("cookie", "").removeprefix("JSESSIONID=")
        ours = login in self.alive
        if not ours and not self.guests:
            return await x.answer(401, "<html>login</html>", "text/html")
        fresh = [] if ours else [f"Set-Cookie: JSESSIONID=GUEST{next(self.ids)}"]
        await self.serve(x, login if ours else "", fresh)

    async def login(self, x) -> None:
        self.basics.append(base64.b64decode(x.headers["authorization"].removeprefix("Basic ")).decode())
        if self.gate is not None:
            await self.gate.wait()
        if self.basics[-1] != self.pair:
            return await x.answer(401, "<html>Bad credentials</html>", "text/html")
        login = self.start()
        await x.answer(
            200, login, "text/plain", *([] if self.in_body else [f"Set-Cookie: JSESSIONID={login}; HttpOnly"])
        )

    async def serve(self, x, login: str, fresh: list[str]) -> None:
        name = self.user if login else "guest"
        if x.method == "DELETE":
            self.ended.append(login)
            return await x.answer(200, "")
        if x.path in {"/xapi/users/username", "/data/auth"}:
            form = self.name_paths.get(x.path)
            return await (x.answer(404) if form is None else x.answer(200, form.format(name), "text/plain", *fresh))
        if x.path == "/data/JSESSION":
            return await x.answer(200, login or "GUESTID", "text/plain", *fresh)
        self.work.append(f"{x.method} {name}")
        await x.answer(200, name, "text/plain", *fresh)


def opened(server, *, user: str = "ann", password: str = "secret", clock: NoTime | None = None):
    return open_client(server.config, Credentials(user, password), TimeoutConfig(), clock=clock or NoTime())


@pytest.mark.parametrize("in_body", [False, True])
async def test_one_login_is_reused_and_given_back(serve, in_body: bool) -> None:
    site = Site()
    site.in_body = in_body
    async with serve(site) as server, opened(server) as client:
        for _ in range(5):
            assert (await client.call(LISTING)).text == "ann"
        assert (client.user, client.stats.logins) == ("ann", 1)
    assert len(site.basics) == 1
    assert len(site.ended) == 1


@pytest.mark.parametrize(("user", "password"), [("jörg", "pässwört€"), ("prov/ann", "a:b:c"), ("alias-1", "s3cret")])
async def test_odd_credentials_arrive_as_they_are(serve, user: str, password: str) -> None:
    site = Site(user, password)
    async with serve(site) as server, opened(server, user=user, password=password):
        pass
    assert site.basics == [f"{user}:{password}"]


async def test_a_colon_in_the_user_name_is_refused_unsent(serve) -> None:
    site = Site()
    async with serve(site) as server:
        with pytest.raises(SettingsError, match="colon"):
            async with opened(server, user="a:b"):
                pass
    assert site.basics == []


async def test_a_wrong_password_is_tried_once_and_shown_nowhere(serve, caplog) -> None:
    caplog.set_level("DEBUG")
    site = Site()
    async with serve(site) as server:
        with pytest.raises(LoginRefused) as caught:
            async with opened(server, password="hunter2"):
                pass
    assert site.basics == ["ann:hunter2"]
    assert "hunter2" not in caplog.text + str(caught.value) + repr(caught.value)


async def test_a_password_changed_mid_run_is_tried_once_by_twenty_requests(serve) -> None:
    site, refused = Site(), []
    async with serve(site) as server, opened(server) as client:
        site.alive.clear()
        site.pair = "ann:other"

        async def ask() -> None:
            try:
                await client.call(LISTING)
            except LoginRefused as error:
                refused.append(error)

        async with anyio.create_task_group() as tg:
            for _ in range(20):
                tg.start_soon(ask)
    assert len(refused) == 20
    assert len(site.basics) == 2


async def test_an_expired_login_is_renewed_once_for_all(serve) -> None:
    site = Site()
    async with serve(site) as server, opened(server) as client:
        site.alive.clear()
        async with anyio.create_task_group() as tg:
            for _ in range(20):
                tg.start_soon(client.call, LISTING)
        assert client.stats.logins == 2
    assert len(site.basics) == 2
    assert site.work == ["GET ann"] * 20


async def test_work_is_sent_again_after_a_401_and_done_once(serve) -> None:
    site = Site()
    async with serve(site) as server, opened(server) as client:
        site.alive.clear()
        await client.call(BUILD)
    assert site.work == ["POST ann"]


async def test_a_login_that_never_holds_is_given_up(serve) -> None:
    site = Site()

    async def forgetful(x) -> None:
        if x.path == "/data/projects":
            return await x.answer(401)
        await site(x)

    async with serve(forgetful) as server, opened(server) as client:
        with pytest.raises(AccessDenied, match="again"):
            await client.call(LISTING)
        assert client.stats.logins == 4


async def test_an_expired_login_on_a_site_with_guests_is_not_taken_for_an_answer(serve) -> None:
    site = Site()
    async with serve(site) as server, opened(server) as client:
        site.guests = True
        site.alive.clear()
        assert (await client.call(LISTING)).text == "ann"
    assert site.work == ["GET guest", "GET ann"]


async def test_a_rotated_id_of_our_own_is_kept_and_the_work_not_repeated(serve) -> None:
    site, cookies = Site(), []

    async def rotating(x) -> None:
        if x.path != "/data/build":
            return await site(x)
        cookies.append(x.headers["cookie"])
        fresh = site.start()
        site.alive -= {x.headers["cookie"].removeprefix("JSESSIONID=")}
        await x.answer(200, "done", "text/plain", f"Set-Cookie: JSESSIONID={fresh}")

    async with serve(rotating) as server, opened(server) as client:
        for _ in range(3):
            await client.call(BUILD)
        assert client.stats.logins == 1
    assert len(set(cookies)) == 3


async def test_an_answer_inside_the_login_of_somebody_else_does_not_count(serve) -> None:
    site = Site()

    async def mixed_up(x) -> None:
        if x.path == "/data/build" and "OTHER" not in site.alive:
            site.alive.add("OTHER")
            return await x.answer(200, "done?", "text/plain", "Set-Cookie: JSESSIONID=OTHER")
        if x.headers.get("cookie") == "JSESSIONID=OTHER":
            return await x.answer(200, "bob")
        await site(x)

    async with serve(mixed_up) as server, opened(server) as client:
        assert (await client.call(BUILD)).text == "ann"
        assert client.stats.logins == 2


async def test_a_late_answer_of_an_old_login_does_not_replace_the_new_one(serve, until) -> None:
    site, late = Site(), anyio.Event()

    async def slow(x) -> None:
        if x.target != "/data/slow":
            return await site(x)
        await late.wait()
        await x.answer(200, "late", "text/plain", f"Set-Cookie: JSESSIONID={site.start()}")

    async with serve(slow) as server, opened(server) as client:
        async with anyio.create_task_group() as tg:
            tg.start_soon(client.call, Request(method="GET", segments=("data", "slow")))
            await until(lambda: any(x.target == "/data/slow" for x in server.asked))
            site.alive.clear()
            await client.call(LISTING)
            late.set()
        await client.call(LISTING)
        used = [x.headers["cookie"] for x in server.asked if x.target == "/data/projects"]
        assert used[-1] == used[-2]
        assert client.stats.logins == 2


async def test_requests_during_a_renewal_keep_the_old_cookie(serve, until) -> None:
    site = Site()
    async with serve(site) as server, opened(server) as client:
        old = server.asked[-1].headers["cookie"]
        site.gate = anyio.Event()
        async with anyio.create_task_group() as tg:
            site.alive.clear()
            tg.start_soon(client.call, LISTING)
            await until(lambda: len(site.basics) == 2)
            tg.start_soon(client.call, BUILD)
            await until(lambda: any(x.method == "POST" for x in server.asked))
            assert server.asked[-1].headers["cookie"] == old
            site.gate.set()
    assert sorted(site.work) == ["GET ann", "POST ann"]


@pytest.mark.parametrize(
    ("paths", "user"),
    [
        ({"/xapi/users/username": '"ann"'}, "ann"),
        ({"/data/auth": "User '{}' is logged in"}, "ann"),
        ({"/data/auth": "Logged in as {}."}, "ann"),
        ({}, "ann"),
    ],
)
async def test_who_we_are_in_several_dialects(serve, paths: dict[str, str], user: str) -> None:
    site = Site()
    site.name_paths = paths
    async with serve(site) as server, opened(server) as client:
        assert client.user == user


@pytest.mark.parametrize("name", ["guest", "", "GUEST"])
async def test_a_login_that_makes_a_guest_is_refused(serve, name: str) -> None:
    site = Site()
    site.name_paths = {"/xapi/users/username": name}
    async with serve(site) as server:
        with pytest.raises(LoginRefused):
            async with opened(server):
                pass


@pytest.mark.parametrize(
    ("status", "headers", "error", "words"),
    [
        (401, (), LoginRefused, "wrong user or password"),
        (403, (), LoginRefused, "expired, disabled"),
        (302, ("Location: /app/template/XDATScreen_UpdateUser.vm",), LoginRefused, "password expired"),
        (301, ("Location: https://a.example/",), Exception, "is its URL right"),
        (404, (), NotFound, "no XNAT answers"),
        (503, ("Retry-After: 7",), Throttled, "busy"),
    ],
)
async def test_what_a_failed_first_login_means(serve, status: int, headers, error: type[Exception], words: str) -> None:
    async def refuse(x) -> None:
        await x.answer(status, "", "text/plain", *headers)

    async with serve(refuse) as server:
        with pytest.raises(error, match=words):
            async with opened(server):
                pass
        assert len(server.asked) == 1


async def test_a_login_page_with_200_is_no_login(serve) -> None:
    async def page(x) -> None:
        await x.answer(200, "<html>please log in</html>", "text/html; charset=UTF-8", "Set-Cookie: JSESSIONID=abc")

    async with serve(page) as server:
        with pytest.raises(LoginRefused):
            async with opened(server):
                pass


async def test_the_heartbeat_renews_a_login_that_has_ended(serve, until) -> None:
    site, clock = Site(), NoTime()
    async with serve(site) as server, opened(server, clock=clock) as client:
        site.guests = True
        site.alive.clear()
        await anyio.lowlevel.checkpoint()
        clock.beats.set()
        await until(lambda: client.stats.logins == 2)
        await client.call(BUILD)
    assert site.work == ["POST ann"]


async def test_an_error_of_the_block_comes_out_as_itself_and_the_login_ends(serve) -> None:
    site = Site()
    async with serve(site) as server:
        with pytest.raises(Ambiguous, match="mine"):
            async with opened(server):
                raise Ambiguous("mine")
    assert len(site.ended) == 1


async def test_no_credentials_and_no_server() -> None:
    with pytest.raises(SettingsError, match="no credentials"):
        async with open_client(ServerConfig(url="http://127.0.0.1:1"), None, TimeoutConfig(), clock=NoTime()):
            pass
    with pytest.raises(ConnectFailed):
        async with open_client(
            ServerConfig(url="http://127.0.0.1:1"), Credentials("a", "b"), TimeoutConfig(), clock=NoTime()
        ):
            pass


async def test_listings_go_through_the_policy_and_work_does_not(serve) -> None:
    site, runs = Site(), []

    class Policy:
        async def run(self, op):
            runs.append(1)
            return await op()

    async with (
        serve(site) as server,
        open_client(
            server.config, Credentials("ann", "secret"), TimeoutConfig(), clock=NoTime(), policy=Policy()
        ) as client,
    ):
        runs.clear()
        await client.call(LISTING)
        await client.call(BUILD)
    assert len(runs) == 1
