"""Frozen slices of settings; every part of the engine receives only its own.

Durations are seconds, sizes bytes, rates bytes per second. In-flight memory of an upload is at most
``budget_bytes`` + ``workers`` × (``inline_bytes`` + two chunks).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Slice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: unknown keys are errors, values are checked when decoded."""


class TimeoutConfig(Slice, frozen=True):
    """The three clocks (design 5) and the connect limit."""

    connect_s: Positive = 15.0
    send_stall_s: Positive = 30.0
    """Longest time without a byte of the body being taken."""
    think_listing_s: Positive = 120.0
    """End of the request body to the first byte of the answer: listings."""
    think_commit_s: Positive = 900.0
    """The same for import, build, archive."""
    receive_stall_s: Positive = 60.0
    """Longest silence inside an answer."""
    heartbeat_s: Positive = 240.0
    """How often an idle-looking login is touched while bodies are in flight (server expiry is 15 minutes)."""


class RetryConfig(Slice, frozen=True):
    """Attempts of one unit, waits between them, and how long a job may be held."""

    attempts: Count = 6
    base_s: Positive = 0.5
    cap_s: Positive = 60.0
    budget: Count = 200
    """Retries one job may spend before it counts as failing; refilled by successes (one per three)."""
    breaker_failures: Count = 6
    """Failures in a row, over all lanes, that mean the server is down."""
    breaker_probe_s: Positive = 5.0
    """First pause of an open breaker; doubles up to ``cap_s``."""
    give_up_after_s: Positive = 3600.0
    """How long a job waits for a server that is down."""
    settle_s: Positive = 2.0
    """First pause before a build after a lost answer: the server may still be storing what it was sent."""
    poll_s: Positive = 0.25
    """First pause between two looks at a busy session; grows by half each time, up to 20 times this."""


class PoolConfig(Slice, frozen=True):
    """Lanes and units."""

    workers: Count = 8
    """First limit of the bulk lane; later jobs begin where the last one ended."""
    workers_max: Count = 24
    listing: Count = 16
    """Cheap requests side by side; fewer when the server shows that it is too many."""
    listing_max: Count = 24
    commit: Count = 4
    commit_max: Count = 12
    adaptive: bool = True
    studies_in_flight: Count = 32
    bundle_bytes: Count = 16 << 20
    """First size of a bundle; the cost model moves it."""
    bundle_bytes_max: Count = 256 << 20
    bundle_files_max: Count = 512
    first_bundle_files: Count = 2
    """The first bundle of a study goes alone and small."""
    budget_bytes: Count = 64 << 20
    """Bytes of file content held in memory by all workers together."""
    chunk_bytes: Count = 256 << 10
    inline_bytes: Count = 1 << 20
    """A file up to this size is read whole, in one hop."""
    grace_s: Positive = 30.0
    """How long the first signal waits for units in flight."""
    bwlimit: str = ""
    """``RATE`` or a timetable; empty is unlimited."""
    until: str = ""
    """``HH:MM`` local time."""
    max_bytes: int = 0
    """0 is unlimited."""
    ranges_from_bytes: Count = 64 << 20
    """A file from this size on is fetched alone and in ranges."""
    connections_max: Count = 16
    """Parallel ranges of one file."""


class ServerConfig(Slice, frozen=True):
    """How to reach one server."""

    url: str
    user: str = ""
    profile: str = ""
    ca_bundle: str = ""
    client_cert: str = ""
    proxy: str = ""
    verify_tls: bool = True
    insecure_http: bool = False


class Credentials:
    """A user name and its secret; the secret never shows in a repr, a log or an error."""

    __slots__ = ("_secret", "user")

    def __init__(self, user: str, secret: str) -> None:
        self.user = user
        self._secret = secret

    def reveal(self) -> str:
        """Return the secret (only the login request may ask)."""
        return self._secret

    def __repr__(self) -> str:
        return "Credentials(…)"


class Settings(Slice, frozen=True):
    """Everything a job needs besides its spec."""

    server: ServerConfig
    state_dir: Path
    credentials: Credentials | None = None
    """Found beforehand by ``settings.credentials``; never written anywhere."""
    timeouts: TimeoutConfig = TimeoutConfig()
    retry: RetryConfig = RetryConfig()
    pool: PoolConfig = PoolConfig()
    scan_workers: int = 0
    """Worker processes of a scan; 0 means one per core, at most 4."""
    other: Settings | None = None
    """Of the other server, where a job has two."""
