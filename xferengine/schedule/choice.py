"""The routes files can take, what is wanted, and what was chosen."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Route(StrEnum):
    """How the bytes come."""

    ZIP = "zip"
    GET = "get"
    RANGES = "ranges"


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of one resource, or of a group of resources that one zip request can bring."""

    files: int
    bytes: int
    zip_files: int
    """What the zip would carry: the wanted and what is already there."""
    zip_bytes: int
    largest: int
    """Bytes of the largest wanted file."""
    big: tuple[int, ...] = ()
    """Sizes of the wanted files that come in ranges unless a zip brings them."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A route and its price."""

    route: Route
    predicted_s: float
    """Seconds until the need is met, with the slots it can get while others want some too."""
    why: str
    deflate: bool = False
    """Ask for a deflated zip (``compression=8``)."""
    is_trial: bool = False
    """Chosen to learn, not because it is expected to be best."""
    slot_s: float = 0.0
    """Seconds of slots it takes altogether."""
    requests: int = 1
    """Requests that can run side by side."""
