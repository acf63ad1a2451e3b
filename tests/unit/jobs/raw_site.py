"""A raw HTTP server that takes a login, and leaves every other answer to the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from unit.xnat.conftest import Exchange, Handler, Server, raw_server

from xferengine.settings.slices import Credentials, RetryConfig, ServerConfig, Settings

LOGIN_ID = "0123ABC"


@asynccontextmanager
async def open_site(handler: Handler) -> AsyncIterator[tuple[Server, Settings, list[Exchange]]]:
    """Serve login and logout; what else is asked goes to ``handler`` and into the list."""
    asked: list[Exchange] = []

    async def answer(exchange: Exchange) -> None:
        if exchange.path == "/data/JSESSION":
            await exchange.answer(200, LOGIN_ID, "text/plain", f"Set-Cookie: JSESSIONID={LOGIN_ID}")
        elif exchange.path == "/xapi/users/username":
            await exchange.answer(200, "u")
        else:
            asked.append(exchange)
            await handler(exchange)

    async with raw_server(answer) as server:
        settings = Settings(
            server=ServerConfig(url=server.url),
            state_dir=Path("/nowhere"),
            credentials=Credentials("u", "hunter2"),
            retry=RetryConfig(base_s=0.001, cap_s=0.002, attempts=3),
        )
        yield server, settings, asked
