"""Looks at a connection without touching it."""

from __future__ import annotations

import select
from typing import Any, Protocol


class Outlet(Protocol):
    """The transport of a connection, as far as clocks and feeds look at it."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the system has not taken yet."""
        ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the socket, among others."""
        ...


def is_readable(outlet: Outlet | None) -> bool:
    """Tell whether something lies unread on a connection: an answer, or the news that the server has closed it."""
    endpoint = outlet.get_extra_info("socket") if outlet is not None else None
    number = endpoint.fileno() if endpoint is not None else -1
    if number < 0:
        return False
    if not hasattr(select, "poll"):
        return bool(select.select([number], [], [], 0)[0])
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))
