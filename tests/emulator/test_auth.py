"""Logins: Basic, JSESSION, services/auth, alias tokens, expiry, cap, lockout, browsers (FIL 5)."""

import pytest
from emulator.http_kit import BROWSER, basic, open_browser

from xferengine.emulator.records import User


async def test_basic_on_jsession_gives_id_and_cookie():
    async with open_browser(login=False) as site:
        answer = await site.log_in()
        assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
        assert answer.cookies["JSESSIONID"] == answer.text
        assert "HttpOnly" in answer.headers.getall("Set-Cookie")[1]


async def test_jsession_without_credentials_is_an_anonymous_session():
    """FIL 5: a 200 here does not prove login."""
    async with open_browser(login=False) as site:
        answer = await site.ask("GET", "/data/JSESSION")
        assert answer.status == 200
        later = await site.ask("GET", "/data/auth", headers={"Cookie": f"JSESSIONID={answer.text}"})
        assert later.status == 401


async def test_login_rotates_the_session_id():
    async with open_browser(login=False) as site:
        guest = (await site.ask("GET", "/data/JSESSION")).text
        headers = {"Cookie": f"JSESSIONID={guest}", **basic()}
        known = (await site.ask("GET", "/data/JSESSION", headers=headers)).text
        assert known != guest


async def test_csrf_suffix():
    async with open_browser() as site:
        assert "; XNAT_CSRF=" in (await site.ask("GET", "/data/JSESSION?CSRF=true")).text


async def test_every_answer_carries_the_expiration_cookie():
    """FIL 0: server epoch ms, comma, idle timeout ms."""
    async with open_browser() as site:
        for target in ("/data/projects", "/data/nothing", "/xapi/users/username"):
            value = (await site.ask("GET", target)).cookies["SESSION_EXPIRATION_TIME"]
            assert value.endswith(",900000")


async def test_unauthenticated_is_401_with_the_realm():
    async with open_browser(login=False) as site:
        for target in ("/data/projects", "/REST/projects", "/xapi/users/username"):
            answer = await site.ask("GET", target)
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="XNAT Protected Area"'


async def test_bad_password_is_401_and_malformed_basic_500():
    async with open_browser(login=False) as site:
        assert (await site.ask("GET", "/data/projects", headers=basic("admin", "no"))).status == 401
        assert (await site.ask("GET", "/data/projects", headers={"Authorization": "Basic !!"})).status == 500


async def test_cookieless_basic_opens_a_session_each_time_until_the_cap():
    """FIL 5: the cap refuses new logins with the generic 401; the idle timeout frees them."""
    async with open_browser(login=False, max_logins=3) as site:
        for _ in range(3):
            assert (await site.ask("GET", "/data/projects", headers=basic())).status == 200
        assert (await site.ask("GET", "/data/projects", headers=basic())).status == 401
        site.clock.elapsed_s += 901
        assert (await site.ask("GET", "/data/projects", headers=basic())).status == 200


async def test_cookie_with_basic_of_the_same_user_opens_no_session():
    async with open_browser() as site:
        for _ in range(3):
            await site.ask("GET", "/data/projects", headers=basic())
        assert (await site.ask("GET", "/data/user/admin/sessions")).json == {"admin": 1}


async def test_idle_session_expires_and_use_refreshes():
    async with open_browser() as site:
        for _ in range(3):
            site.clock.elapsed_s += 800
            assert (await site.ask("GET", "/data/auth")).status == 200
        site.clock.elapsed_s += 901
        assert (await site.ask("GET", "/data/auth")).status == 401


async def test_lockout_after_twenty_failures_for_one_hour():
    async with open_browser(login=False) as site:
        for _ in range(20):
            await site.log_in(password="wrong")
        assert (await site.log_in()).status == 401
        site.clock.elapsed_s += 3601
        assert (await site.log_in()).status == 200


async def test_nineteen_failures_do_not_lock():
    async with open_browser(login=False) as site:
        for _ in range(19):
            await site.log_in(password="wrong")
        assert (await site.log_in()).status == 200


async def test_delete_jsession_ends_it():
    async with open_browser() as site:
        assert (await site.ask("DELETE", "/data/JSESSION")).status == 200
        assert (await site.ask("GET", "/data/auth")).status == 401


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_services_auth(method):
    async with open_browser(login=False) as site:
        answer = await site.ask(method, "/data/services/auth", "username=admin&password=admin")
        assert answer.status == 200
        assert answer.cookies["JSESSIONID"] == answer.text
        who = await site.ask("GET", "/data/auth", headers={"Cookie": f"JSESSIONID={answer.text}"})
        assert who.text == "User 'admin' is logged in"


async def test_services_auth_refusals():
    """FIL 5: 401 for bad credentials, 400 for an unknown provider, 404 for GET and for an empty body."""
    async with open_browser(login=False) as site:
        target = "/data/services/auth"
        bad = await site.ask("PUT", target, "username=admin&password=x")
        assert (bad.status, bad.message) == (401, "Authentication failed.")
        assert (await site.ask("PUT", target, "username=admin&password=admin&provider=ldap")).status == 400
        assert (await site.ask("PUT", target)).status == 404
        assert (await site.ask("GET", target)).status == 404


async def test_alias_token_logs_in_until_it_expires():
    async with open_browser() as site:
        token = (await site.ask("GET", "/data/services/tokens/issue")).json
        assert (len(token["secret"]), token["xdatUserId"], token["singleUse"]) == (64, "admin", False)
        headers = basic(token["alias"], token["secret"])
        assert (await site.ask("GET", "/xapi/users/username", headers=headers, login=False)).text == "admin"
        site.clock.elapsed_s += 172801
        assert (await site.ask("GET", "/xapi/users/username", headers=headers, login=False)).status == 401


async def test_alias_token_operations():
    async with open_browser() as site:
        token = (await site.ask("GET", "/data/services/tokens/issue")).json
        base = "/data/services/tokens"
        assert [t["alias"] for t in (await site.ask("GET", f"{base}/show")).json] == [token["alias"]]
        good = await site.ask("GET", f"{base}/validate/{token['alias']}/{token['secret']}")
        assert good.json == {"valid": "admin"}
        assert (await site.ask("GET", f"{base}/validate/{token['alias']}/wrong")).json == {"valid": None}
        assert (await site.ask("GET", f"{base}/validate/{token['alias']}")).status == 401
        assert (await site.ask("GET", f"{base}/validate/unknown/x")).status == 404
        assert (await site.ask("GET", f"{base}/frobnicate")).status == 400
        assert (await site.ask("GET", f"{base}/invalidate/{token['alias']}")).json == {"result": "OK"}
        assert (await site.ask("GET", f"{base}/show")).json == []


async def test_cookie_wins_over_a_token_of_the_same_user():
    async with open_browser() as site:
        token = (await site.ask("GET", "/data/services/tokens/issue")).json
        await site.ask("GET", "/data/auth", headers=basic(token["alias"], token["secret"]))
        assert (await site.ask("GET", "/data/user/admin/sessions")).json == {"admin": 1}


async def test_browser_gets_login_html_on_data_and_a_redirect_elsewhere():
    """FIL 5, interactive agents: no challenge."""
    async with open_browser(login=False) as site:
        agent = {"User-Agent": BROWSER}
        answer = await site.ask("GET", "/data/projects", headers=agent)
        assert (answer.status, "WWW-Authenticate" in answer.headers) == (401, False)
        assert "<form" in answer.text
        away = await site.ask("GET", "/", headers=agent)
        assert (away.status, away.headers["Location"]) == (302, "/app/template/Login.vm")


@pytest.mark.parametrize(
    ("agent", "status"),
    [(BROWSER, 500), (BROWSER + " XNATDesktopClient", 201), (BROWSER + " Java/1.8", 201), ("curl/8", 201), ("", 201)],
)
async def test_csrf_rule_for_browsers(agent, status):
    async with open_browser() as site:
        answer = await site.ask("PUT", "/data/projects/P/subjects/S", headers={"User-Agent": agent})
        assert answer.status == status


async def test_csrf_token_lets_a_browser_write():
    async with open_browser() as site:
        token = (await site.ask("GET", "/data/JSESSION?CSRF=true")).text.partition("XNAT_CSRF=")[2]
        target = f"/data/projects/P/subjects/S?XNAT_CSRF={token}"
        assert (await site.ask("PUT", target, headers={"User-Agent": BROWSER})).status == 201


async def test_disabled_account_is_redirected():
    async with open_browser() as site:
        site.world.save(User(name="gone", password="x", enabled=False))
        answer = await site.log_in("gone", "x")
        assert (answer.status, answer.headers["Location"]) == (302, "/app/template/InactiveAccount.vm")


async def test_users_of_xapi():
    async with open_browser() as site:
        site.world.add_user("u", "pw")
        assert (await site.ask("GET", "/xapi/users/username")).text == "admin"
        assert (await site.ask("GET", "/xapi/users/u")).json["username"] == "u"
        await site.log_in("u", "pw")
        assert (await site.ask("GET", "/xapi/users/admin")).status == 403
        assert (await site.ask("GET", "/data/user/admin/sessions")).status == 403


async def test_build_info_is_open_and_data_version_unknown():
    async with open_browser(login=False) as site:
        assert (await site.ask("GET", "/xapi/siteConfig/buildInfo")).json["version"] == "1.8.10"
        assert (await site.ask("GET", "/xapi/siteConfig/buildInfo/version")).text == "1.8.10"
        assert (await site.ask("GET", "/data/version")).status == 404


async def test_unreadable_project_is_404_and_read_only_is_403():
    """FIL 9.1: invisible things are 404, visible but forbidden actions 403; FIL 6.1: its listings are 403."""
    async with open_browser() as site:
        site.world.add_user("stranger", "pw")
        site.world.add_user("reader", "pw", P="collaborator")
        await site.log_in("stranger", "pw")
        assert (await site.ask("GET", "/data/projects/P?format=json")).status == 404
        assert (await site.ask("GET", "/data/projects/P/subjects")).status == 403
        assert (await site.ask("GET", "/data/projects")).rows == []
        await site.log_in("reader", "pw")
        assert (await site.ask("GET", "/data/projects/P?format=json")).status == 200
        assert (await site.ask("PUT", "/data/projects/P/subjects/S")).status == 403
