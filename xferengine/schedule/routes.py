"""Which way files come: in a zip the server writes, one request each, or in ranges; a cost model that learns.

A zip pays one request and the server's walk over the catalogs, some work per file, and moves everything it carries
(also what is not wanted) over one connection. Single requests pay each their own, but share the lane's slots. Both are
priced in seconds of slots, as measured under the load there is:

    zip    (a + b · MB carried + c · files carried) · (1 + what a broken one costs again), on one slot
    get    (a + b · MB of the file) for each file, on as many slots

While the lane is full, a slot that one does not use is used by another, so only the sums count; on an idle lane many
requests gain from being many. Nothing measured yet: zip, unless single requests look better by far. Another route is
tried when it may be better (nothing, or nothing recent, is known of it) and when the trial costs no more than a small
share of the time spent so far.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from xferengine.schedule.choice import Choice, Need, Route
from xferengine.schedule.connections import Connections
from xferengine.schedule.costs import MB
from xferengine.schedule.offers import Load, Offers
from xferengine.schedule.prices import Measured, PriceMemory, Prices, Way
from xferengine.schedule.trials import Trials
from xferengine.settings.slices import PoolConfig

__all__ = ["Choice", "Need", "Route", "RouteModel"]

_DOUBT = 2.0
"""While nothing was measured of one of both, single requests must look better by this factor to replace a zip."""
_PROBES = 6
"""Single requests of a server not known yet that are made for their measurement; some may fail."""
_GOAL_S = 5.0
"""A unit should take no longer: progress, and a short tail."""
_OVERHEAD = 0.02
"""Share of a zip's time that its request may be; larger ones gain nothing."""
_RISK = 0.1
"""Chance to break that a zip may have."""
_SMALLEST_BYTES = 1 << 20


class RouteModel:
    """Learns what the routes cost and chooses between them.

    Args:
        cfg: thresholds and bounds.
        workers: current limit of the bulk lane.
        backlog: other requests that want or have a slot of the lane now; None means that it is always full.
        memory: of earlier runs against the same server.
    """

    def __init__(
        self,
        cfg: PoolConfig,
        *,
        workers: Callable[[], int],
        backlog: Callable[[], int] | None = None,
        memory: PriceMemory | None = None,
    ) -> None:
        self._cfg = cfg
        self._memory = memory or PriceMemory()
        self._prices = Prices(self._memory)
        self._connections = Connections(cfg.connections_max, self._memory.ranges)
        load = Load(workers=workers, backlog=backlog)
        self._offers = Offers(self._prices, self._connections, load, ranges_from_bytes=cfg.ranges_from_bytes)
        self._trials = Trials(self._prices)
        self._probes_left = _PROBES

    def __repr__(self) -> str:
        return f"RouteModel({self._prices!r})"

    @classmethod
    def from_state(
        cls,
        cfg: PoolConfig,
        state: dict[str, Any],
        *,
        workers: Callable[[], int],
        backlog: Callable[[], int] | None = None,
    ) -> RouteModel:
        """Continue from ``to_state``; a state that cannot be read, or holds what cannot be, is no state."""
        return cls(cfg, workers=workers, backlog=backlog, memory=PriceMemory.read(state))

    def to_state(self) -> dict[str, Any]:
        """Return what to remember, as JSON can hold it."""
        return msgspec.to_builtins(self._memory)

    @property
    def ranges_from_bytes(self) -> int:
        """A file from this size on is fetched alone and in ranges."""
        return self._cfg.ranges_from_bytes

    @property
    def is_known(self) -> bool:
        """Whether zips of this server were measured."""
        return self._prices.is_trusted(Way.ZIP)

    def free_slots(self) -> int:
        """Return how many slots nobody wants now; 0 where that is not known."""
        return max(self._offers.slots() - self.others(), 0)

    def singles_to_probe(self) -> int:
        """Return how many single requests are still to be made only because none were measured yet."""
        return 0 if self._prices.is_trusted(Way.GET) else self._probes_left

    def on_probes(self, count: int) -> None:
        """Count single requests that are planned although a larger zip would have brought the files."""
        self._probes_left = max(self._probes_left - count, 0)

    def others(self, siblings: int = 0) -> int:
        """Return how many other requests compete for slots, ``siblings`` of the same plan included."""
        return self._offers.backlog() + max(siblings, 0)

    def choose(self, need: Need, *, others: int | None = None) -> Choice:
        """Choose the route of one resource; now and then one that is only to be learned about.

        Args:
            need: what is wanted and what a zip would carry.
            others: requests that compete for slots; None asks the backlog.
        """
        best = self.best(need, others=others)
        return self.reconsider(best, need, others=others)

    def best(self, need: Need, *, others: int | None = None) -> Choice:
        """Choose the route expected to be fastest."""
        others = self.others() if others is None else others
        singly = self._offers.singly(need, others)
        if need.files <= 1 or not self._offers.is_zippable(need):
            return singly
        stored = self._offers.zip(Way.ZIP, need)
        is_known = self._prices.is_trusted(Way.GET) and self._prices.is_trusted(Way.ZIP)
        doubt = 1.0 if is_known else _DOUBT
        best = singly if singly.predicted_s * doubt < stored.predicted_s else stored
        if self._prices.shrinks() and self._prices.is_slow_link(self._offers.slots()):
            deflated = self._offers.zip(Way.DEFLATED, need)
            best = deflated if deflated.predicted_s < best.predicted_s else best
        return msgspec.structs.replace(best, why=_compare(stored, singly))

    def singly(self, need: Need, *, others: int | None = None) -> Choice:
        """Return the price of fetching it without a zip."""
        return self._offers.singly(need, self.others() if others is None else others)

    def choose_group(self, parts: Sequence[Choice], whole: Need, *, others: int | None = None) -> Choice | None:
        """Weigh one zip for several resources against what was chosen for each.

        Args:
            parts: the best choices for the resources.
            whole: all of them together; ``zip_*`` what the one zip carries, with resources nothing is wanted of.
            others: requests that compete for slots, those of the parts not counted; None asks the backlog.

        Returns:
            The one zip, or None when the parts do better: it would be too large to risk or to wait for, carry too much
            that is not wanted, or leave slots idle.
        """
        others = self.others() if others is None else others
        if not self._offers.is_zippable(whole) or whole.zip_bytes > self.unit_bytes(Route.ZIP):
            return None
        may_deflate = self._prices.shrinks() and self._prices.is_slow_link(self._offers.slots())
        ways = (Way.ZIP, Way.DEFLATED) if may_deflate else (Way.ZIP,)
        one = min((self._offers.zip(way, whole) for way in ways), key=lambda choice: choice.predicted_s)
        requests = sum(part.requests for part in parts)
        apart_s = self._offers.share(sum(part.slot_s for part in parts), requests, others)
        if not others:  # an idle lane waits for the longest of them
            apart_s = max([apart_s, *(self._offers.share(part.slot_s, part.requests, 0) for part in parts)])
        if one.predicted_s > min(apart_s, max(_GOAL_S, 2 * self._prices.costs(Way.ZIP)[0])):
            return None
        return msgspec.structs.replace(one, why=f"one zip {one.predicted_s:.3g} s, {len(parts)} apart {apart_s:.3g} s")

    def reconsider(self, best: Choice, need: Need, *, others: int | None = None) -> Choice:
        """Count a choice, and return ``best``, or another route where that is worth a trial."""
        self._trials.on_choice()
        if best.is_trial or need.files <= 1 or not self._offers.is_zippable(need):
            return best
        others = self.others() if others is None else others
        rivals = {Way.GET: self._offers.singly(need, others), Way.ZIP: self._offers.zip(Way.ZIP, need)}
        is_worth_deflating = need.zip_bytes >= _SMALLEST_BYTES and self._prices.is_slow_link(self._offers.slots())
        if best.route is Route.ZIP and is_worth_deflating:
            rivals[Way.DEFLATED] = self._offers.zip(Way.DEFLATED, need)
        for way, other in rivals.items():
            is_other = (other.route, other.deflate) != (best.route, best.deflate)
            if is_other and self._trials.is_due(way, other, best):
                return self._trials.begin(way, other, best)
            if is_other and way is not Way.DEFLATED and self._trials.is_mixed_in(way, other, best):
                return msgspec.structs.replace(
                    other, why=f"mixed in: {best.route} {best.predicted_s:.3g} s, {other.why}"
                )
        return best

    def observe(
        self,
        route: Route,
        *,
        files: int,
        bytes: int,  # noqa: A002  the word the records use, and callers with them
        seconds: float,
        first_byte_s: float,
        ok: bool,
        deflate: bool = False,
        wire_bytes: int = 0,
    ) -> None:
        """Learn from a request.

        Args:
            route: ZIP, or GET for a single request (of ``files`` alike, one after the other, where that is above 1);
                RANGES are told to ``observe_ranges``.
            files: what it brought, wanted or not.
            bytes: sum of the files' sizes.
            seconds: from the request to the last byte.
            first_byte_s: from the request to the first byte of the body.
            ok: False when it broke; its time says nothing then. Not for what one file answers (404, wrong digest).
            deflate: the zip was asked for deflated.
            wire_bytes: body of the answer; 0 where not counted.
        """
        if route is Route.RANGES:
            return
        way = Way.GET if route is Route.GET else Way.DEFLATED if deflate else Way.ZIP
        measured = Measured(
            way=way, files=files, bytes=bytes, seconds=seconds, first_byte_s=first_byte_s, wire_bytes=wire_bytes
        )
        self._prices.observe(measured, ok=ok)
        if measured.is_sane and ok:
            self._trials.on_spent(seconds)

    def unit_bytes(self, route: Route) -> int:
        """Return how large a unit of several resources should at most be: bounded by the chance to break, the tail and
        progress, and no larger than the cost of a request asks for. Routes that group nothing have no bound."""
        if route is not Route.ZIP:
            return sys.maxsize
        most = self._cfg.bundle_bytes_max
        if not self._prices.is_trusted(Way.ZIP):
            return min(self._cfg.bundle_bytes, most)
        a, b, _ = self._prices.costs(Way.ZIP)
        failures_per_mb = self._prices.failures_per_mb
        by_time = (_GOAL_S - a) / b if b > 0 else most
        by_overhead = a / _OVERHEAD / b if b > 0 else most
        by_risk = _RISK / failures_per_mb if failures_per_mb > 0 else most
        size_mb = min(by_time, by_risk, max(by_overhead, self._cfg.bundle_bytes / MB), most)
        return int(min(max(size_mb * MB, _SMALLEST_BYTES), most))

    def connections_for(self, size: int) -> int:
        """Return with how many parallel ranges, each on a slot, to begin a file of so many bytes.

        Ask again in a long file. One while the lane is full anyway: more would only take the slots of other files.
        """
        return self._offers.connections_for(size)

    def observe_ranges(self, *, connections: int, bytes: int, seconds: float) -> None:  # noqa: A002  as above
        """Learn what so many connections moved together, in a whole file or any stretch of one."""
        if connections == 1:
            one = Measured(way=Way.GET, files=1, bytes=bytes, seconds=seconds, first_byte_s=0.0)
            self._prices.observe(one, ok=True)
        if not self._offers.is_crowded():  # else it shows what the others left, not what so many connections bring
            self._connections.observe(connections, moved_bytes=bytes, seconds=seconds)


def _compare(stored: Choice, singly: Choice) -> str:
    return f"{stored.why}, {singly.why}"
