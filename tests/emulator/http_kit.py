"""Helpers of the tests that speak HTTP to an emulator in the same process."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from emulator.core_kit import FakeClock
from yarl import URL

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.server import Emulator, open_emulator

BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"
SESSION = "/data/projects/P/subjects/S/experiments/E"


def basic(user: str = "admin", password: str = "admin") -> dict[str, str]:
    """Return a Basic header."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@dataclass(slots=True)
class Answer:
    """An answer, read to its end."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def message(self) -> str:
        """Text of the status page's single h3."""
        found = re.findall(r"<h3>(.*?)</h3>", self.text, re.DOTALL)
        assert len(found) == 1, self.text
        return found[0]

    @property
    def json(self) -> Any:
        """Body as JSON."""
        return json.loads(self.body)

    @property
    def rows(self) -> list[dict[str, str]]:
        """Rows of a table."""
        return self.json["ResultSet"]["Result"]


class Browser:
    """A client that sends exactly what it is told: no cookie jar, no redirects, no retries."""

    def __init__(self, emulator: Emulator, http: aiohttp.ClientSession, clock: FakeClock) -> None:
        self.site = emulator
        self.clock = clock
        self.world = emulator.world
        self._http = http
        self.cookie = ""

    async def ask(
        self,
        method: str,
        target: str,
        data: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        login: bool = True,
    ) -> Answer:
        """Send one request; `login` sends the session cookie."""
        sent = dict(headers or {})
        if login and self.cookie:
            sent.setdefault("Cookie", f"JSESSIONID={self.cookie}")
        url = URL(self.site.url + target, encoded=True)
        async with self._http.request(method, url, data=data, headers=sent, allow_redirects=False) as got:
            cookies = {key: morsel.value for key, morsel in got.cookies.items()}
            return Answer(got.status, await got.read(), got.headers, cookies)

    async def log_in(self, user: str = "admin", password: str = "admin") -> Answer:
        """Log in with Basic and keep the cookie."""
        answer = await self.ask("GET", "/data/JSESSION", headers=basic(user, password), login=False)
        self.cookie = answer.text if answer.status == 200 else ""
        return answer

    async def make_session(self, *scans: str) -> str:
        """Create session E of subject S in project P with MR scans; return its accession id."""
        answer = await self.ask("PUT", f"{SESSION}?xsiType=xnat:mrSessionData")
        assert answer.status == 201, answer.text
        for scan in scans:
            made = await self.ask("PUT", f"{SESSION}/scans/{scan}?xsiType=xnat:mrScanData&type=T1")
            assert made.status == 200, made.text
        return answer.text


@asynccontextmanager
async def open_browser(*, login: bool = True, **switches: Any) -> AsyncIterator[Browser]:
    """Start an emulator with project P and a client logged in as its administrator."""
    clock = FakeClock()
    config = EmulatorConfig(projects=("P",), **switches)
    # Sent headers are those the test names: a type the client makes up would change what the server does.
    skipped = ("User-Agent", "Content-Type")
    async with (
        open_emulator(config, clock=clock) as emulator,
        aiohttp.ClientSession(skip_auto_headers=skipped, cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        browser = Browser(emulator, http, clock)
        if login:
            await browser.log_in()
        yield browser
