"""One logged-in client for commands that are no job: questions and single orders, with the job's retry policy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from xferengine.kit.clock import SystemClock
from xferengine.schedule.retry import RetryPolicy
from xferengine.settings.slices import Settings
from xferengine.xnat.client import XnatClient, open_client


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[XnatClient]:
    """Log in for the length of a block.

    Raises:
        SettingsError: no credentials, or an unusable URL.
        LoginRefused, ConnectFailed: the server does not take us, or is not there.
    """
    clock = SystemClock()
    policy = RetryPolicy(settings.retry, clock)
    async with open_client(
        settings.server, settings.credentials, settings.timeouts, clock=clock, policy=policy
    ) as client:
        yield client
