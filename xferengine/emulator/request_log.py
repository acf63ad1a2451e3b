"""What came in: counts, bytes and the latest requests, for tests and benchmarks."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One answered (or cut) request; status 0 means that no answer was sent."""

    method: str
    path: str
    query: str
    status: int
    bytes_in: int
    user_agent: str
    bytes_out: int = 0


class RequestLog:
    """Count, bytes of bodies in both directions, and the latest requests."""

    def __init__(self, keep: int = 20000) -> None:
        self.count = 0
        self.bytes_in = self.bytes_out = 0
        self.recent: deque[Served] = deque(maxlen=keep)

    def add(self, served: Served) -> None:
        """Count a request."""
        self.count += 1
        self.bytes_in += served.bytes_in
        self.bytes_out += served.bytes_out
        self.recent.append(served)

    def matching(self, pattern: str, method: str = "") -> list[Served]:
        """Return recent requests whose path and query match a regular expression."""
        found = re.compile(pattern)
        return [s for s in self.recent if (not method or s.method == method) and found.search(f"{s.path}?{s.query}")]
