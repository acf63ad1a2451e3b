"""What each route would take for one need, with the slots there are."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from xferengine.schedule.choice import Choice, Need, Route
from xferengine.schedule.connections import Connections
from xferengine.schedule.prices import Prices, Way

_WAYS: dict[Way, tuple[Route, bool]] = {
    Way.ZIP: (Route.ZIP, False),
    Way.DEFLATED: (Route.ZIP, True),
    Way.GET: (Route.GET, False),
}


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How busy the lane is."""

    workers: Callable[[], int]
    """Its current limit."""
    backlog: Callable[[], int] | None = None
    """Requests that want or have a slot; None means that it is always full."""


class Offers:
    """Turns prices of requests into prices of needs.

    Args:
        prices: of the requests.
        connections: what parallel ranges bring.
        load: of the lane.
        ranges_from_bytes: a file from this size on comes in ranges.
    """

    def __init__(self, prices: Prices, connections: Connections, load: Load, *, ranges_from_bytes: int) -> None:
        self._prices = prices
        self._connections = connections
        self._load = load
        self._ranges_from_bytes = ranges_from_bytes

    def slots(self) -> int:
        """Return how many slots the lane has."""
        return max(self._load.workers(), 1)

    def backlog(self) -> int:
        """Return how many requests want or have a slot; where that is not known, the lane counts as full."""
        return self.slots() if self._load.backlog is None else max(self._load.backlog(), 0)

    def is_crowded(self) -> bool:
        """Tell whether the lane is known to be full."""
        return self._load.backlog is not None and self.backlog() >= self.slots()

    def connections_for(self, size: int) -> int:
        """Return with how many parallel ranges to begin a file: one below the threshold or where no slot is free."""
        if size < self._ranges_from_bytes:
            return 1
        most = self.slots() if self._load.backlog is None else max(self.slots() - self.backlog(), 1)
        return min(self._connections.pick(size, latency_s=self._prices.latency_s), most)

    def share(self, slot_s: float, requests: int, others: int) -> float:
        """Return the seconds that slots of a request among others would take: slots nobody else wants count as won."""
        slots = self.slots()
        return slot_s * min(slots, 1 + others) / min(slots, max(requests, 1) + others)

    def is_zippable(self, need: Need) -> bool:
        """A zip that is mostly big files would move over one connection what ranges move better, and not resumably."""
        return need.zip_files > 0 and 2 * sum(need.big) <= need.zip_bytes

    def zip(self, way: Way, need: Need) -> Choice:
        """Price a zip."""
        seconds = self._prices.zip_s(way, need.zip_bytes, need.zip_files, workers=self.slots())
        route, deflate = _WAYS[way]
        why = f"{way} of {need.zip_files} files {seconds:.3g} s"
        return Choice(route=route, predicted_s=seconds, why=why, deflate=deflate, slot_s=seconds)

    def singly(self, need: Need, others: int) -> Choice:
        """Price single requests, and ranges for the big files."""
        big = need.big or ((need.largest,) if need.files == 1 and need.largest >= self._ranges_from_bytes else ())
        small = max(need.files - len(big), 0)
        slot_s = self._prices.get_s(max(need.bytes - sum(big), 0), small, workers=self.slots()) if small else 0.0
        requests = small
        for size in big:
            connections = self.connections_for(size)
            slot_s += connections * self._ranges_s(size, connections)
            requests += connections
        seconds = self.share(slot_s, requests, others)
        route = Route.RANGES if big and not small else Route.GET
        what = "one file" if need.files == 1 else f"{need.files} single files"
        return Choice(
            route=route, predicted_s=seconds, why=f"{what} {seconds:.3g} s", slot_s=slot_s, requests=max(requests, 1)
        )

    def _ranges_s(self, size: int, connections: int) -> float:
        bps = self._connections.rate_bps(connections)
        if bps:
            return size / bps + (self._prices.latency_s or 0.0)
        return self._prices.get_s(size / connections, 1, workers=self.slots())
