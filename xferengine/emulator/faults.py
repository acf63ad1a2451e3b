"""Seeded faults: which request (or which stored instance) goes wrong, and how (IMP 10.15-16, FIL 11.17).

A plan is a list of rules. A rule names a kind, a pattern on the path, and when it fires: on the n-th match,
a limited number of times, or by chance from the plan's own seeded generator. Rules are written in code with
`FaultPlan.add` or on the command line as `KIND:key=value,key=value`.

Requests (`match` is searched in ``path?query``):
    reset-before-body, reset-in-body, reset-after-body   RST around the request's body (`after_bytes`)
    early-error (`status`), too-large (`limit_bytes`), too-many, unavailable (`retry_after_s`)
    bad-gateway, gateway-timeout (`delay_s`)             the work goes on behind the proxy's error page
    drop-login, login-page, html-page, redirect (`location`)
    stall-reading, stall-sending (`delay_s`, `after_bytes`)
Answers, disturbed after `after_bytes` of the body; an answer shorter than that is disturbed in its last chunk:
    reset-in-answer   RST                                cut-answer   FIN, without the end of the message
    end-answer        a chunked answer ends in good order, but too early; one with a length as cut-answer
    flip-byte         one byte has its bits turned
    ignore-range      200 with everything                strip-range  the same, and no Accept-Ranges
    shift-range       206 for a range that begins `limit_bytes` (default 1) later, and says so
Members of archives (`match` is searched in the member's name; `label` may hold ``{name}``):
    member-renamed    to `label`                         member-extra    another one called `label` before it
    member-link       a symbolic link to `label`         member-missing
    member-twice, with other bytes the second time       member-crc      wrong CRC in both headers of a zip
    member-longer     by `limit_bytes` (default 1)
Stored files (`match` is searched in the path on the server's disk):
    file-changes      on disk, after `after_bytes` of it were sent: what follows differs, and the time is newer
Import and prearchive (`match` is searched in the row's URL with the file name):
    instance-lost, late-lost, lock-leaked, concurrent-file, torn-entry, foreign-row (`label`), disk-full,
    archive-timeout
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """Every fault the emulator knows."""

    RESET_BEFORE_BODY = "reset-before-body"
    RESET_IN_BODY = "reset-in-body"
    RESET_AFTER_BODY = "reset-after-body"
    RESET_IN_ANSWER = "reset-in-answer"
    EARLY_ERROR = "early-error"
    DROP_LOGIN = "drop-login"
    TOO_LARGE = "too-large"
    TOO_MANY = "too-many"
    UNAVAILABLE = "unavailable"
    BAD_GATEWAY = "bad-gateway"
    GATEWAY_TIMEOUT = "gateway-timeout"
    LOGIN_PAGE = "login-page"
    STALL_READING = "stall-reading"
    STALL_SENDING = "stall-sending"
    ARCHIVE_TIMEOUT = "archive-timeout"
    INSTANCE_LOST = "instance-lost"
    LATE_LOST = "late-lost"
    LOCK_LEAKED = "lock-leaked"
    CONCURRENT_FILE = "concurrent-file"
    TORN_ENTRY = "torn-entry"
    FOREIGN_ROW = "foreign-row"
    DISK_FULL = "disk-full"
    CUT_ANSWER = "cut-answer"
    END_ANSWER = "end-answer"
    FLIP_BYTE = "flip-byte"
    IGNORE_RANGE = "ignore-range"
    STRIP_RANGE = "strip-range"
    SHIFT_RANGE = "shift-range"
    HTML_PAGE = "html-page"
    REDIRECT = "redirect"
    MEMBER_RENAMED = "member-renamed"
    MEMBER_EXTRA = "member-extra"
    MEMBER_LINK = "member-link"
    MEMBER_MISSING = "member-missing"
    MEMBER_TWICE = "member-twice"
    MEMBER_CRC = "member-crc"
    MEMBER_LONGER = "member-longer"
    FILE_CHANGES = "file-changes"


HTTP_KINDS = frozenset(
    {
        Kind.RESET_BEFORE_BODY,
        Kind.RESET_IN_BODY,
        Kind.RESET_AFTER_BODY,
        Kind.RESET_IN_ANSWER,
        Kind.EARLY_ERROR,
        Kind.DROP_LOGIN,
        Kind.TOO_LARGE,
        Kind.TOO_MANY,
        Kind.UNAVAILABLE,
        Kind.BAD_GATEWAY,
        Kind.GATEWAY_TIMEOUT,
        Kind.LOGIN_PAGE,
        Kind.STALL_READING,
        Kind.STALL_SENDING,
        Kind.CUT_ANSWER,
        Kind.END_ANSWER,
        Kind.FLIP_BYTE,
        Kind.IGNORE_RANGE,
        Kind.STRIP_RANGE,
        Kind.SHIFT_RANGE,
        Kind.HTML_PAGE,
        Kind.REDIRECT,
    }
)
"""Kinds decided once per request by the middleware; the others are asked for by hook points."""

MEMBER_KINDS = frozenset(kind for kind in Kind if kind.startswith("member-"))
"""Kinds that change what an archive holds."""


@dataclass(slots=True, kw_only=True)
class Rule:
    """One line of a plan, with its own counters.

    `after_bytes` belongs to the kinds that act within a body, `status` to early errors, `retry_after_s` to
    429 and 503, `delay_s` to gateway errors and stalls (how long before the proxy gives up, or the stall ends),
    `label` to the row of another sender and to members of archives, `location` to redirects.
    """

    kind: Kind
    match: re.Pattern[str] = re.compile("")
    method: str = ""
    nth: int = 0
    times: int = 0
    rate: float = 0.0
    after_bytes: int = 65536
    limit_bytes: int = 0
    status: int = 500
    retry_after_s: int = 1
    delay_s: float = 0.0
    label: str = ""
    location: str = "http://elsewhere.invalid/"
    seen: int = field(default=0, init=False)
    fired: int = field(default=0, init=False)

    def fires(self, method: str, target: str, chance: Callable[[], float]) -> bool:
        """Count a match of `target` and say whether the fault strikes it."""
        if (self.method and self.method != method) or not self.match.search(target):
            return False
        self.seen += 1
        if self.times and self.fired >= self.times:
            return False
        if self.nth and self.seen < self.nth:
            return False
        if self.rate and chance() >= self.rate:
            return False
        self.fired += 1
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A fault that struck: which rule, where."""

    kind: Kind
    method: str
    target: str


class FaultPlan:
    """All rules of one emulator, decided in the order they were added, reproducible by seed."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._rules: list[Rule] = []
        self.hits: list[Hit] = []

    def add(
        self,
        kind: str,
        match: str = "",
        *,
        method: str = "",
        nth: int = 0,
        times: int | None = None,
        rate: float = 0.0,
        **details: object,
    ) -> Rule:
        """Add a rule and return it.

        Args:
            kind: A `Kind` value.
            match: Regular expression searched in the path with its query (or in the name a hook point gives).
            method: HTTP method, empty for any.
            nth: First match (counted from 1) that may be struck; 0 and 1 are the same.
            times: How often it strikes; default once with `nth`, else without limit. 0 is without limit.
            rate: Probability per match, 0 for always.
            details: Other fields of `Rule`.

        Raises:
            ValueError: Unknown kind or detail, or a pattern that does not compile.
        """
        if times is None:
            times = 1 if nth else 0
        try:
            rule = Rule(
                kind=Kind(kind),
                match=re.compile(match),
                method=method.upper(),
                nth=nth,
                times=times,
                rate=rate,
                **details,  # type: ignore[arg-type]
            )
        except (re.error, TypeError) as error:
            raise ValueError(f"fault {kind!r}: {error}") from error
        self._rules.append(rule)
        return rule

    def add_spec(self, spec: str) -> Rule:
        """Add a rule written as `KIND:key=value,key=value`; `path` is a synonym of `match`."""
        kind, _, rest = spec.partition(":")
        details: dict[str, object] = {}
        for part in filter(None, rest.split(",")):
            key, sign, value = part.partition("=")
            if not sign:
                raise ValueError(f"fault {spec!r}: {part!r} is not key=value")
            name = "match" if key.strip() == "path" else key.strip().replace("-", "_")
            details[name] = _converted(name, value.strip())
        return self.add(kind.strip(), **details)  # type: ignore[arg-type]

    def clear(self) -> None:
        """Forget all rules; the list of hits stays."""
        self._rules.clear()

    def has(self, kinds: Iterable[Kind]) -> bool:
        """Say whether there is a rule of these kinds, without striking."""
        wanted = frozenset(kinds)
        return any(rule.kind in wanted for rule in self._rules)

    def strike(self, method: str, target: str, kinds: Iterable[Kind] = HTTP_KINDS) -> Rule | None:
        """Return the first rule of these kinds that fires for a request or a hook point, else None."""
        if not self._rules:
            return None
        for rule in self._rules:
            if rule.kind in kinds and rule.fires(method, target, self._random.random):
                self.hits.append(Hit(kind=rule.kind, method=method, target=target))
                return rule
        return None


_INTEGERS = frozenset({"nth", "times", "after_bytes", "limit_bytes", "status", "retry_after_s"})
_FLOATS = frozenset({"rate", "delay_s"})


def _converted(name: str, value: str) -> object:
    try:
        if name in _INTEGERS:
            return int(value)
        if name in _FLOATS:
            return float(value)
    except ValueError as error:
        raise ValueError(f"fault option {name}={value!r} is not a number") from error
    if name in ("match", "method", "label", "location"):
        return value
    raise ValueError(f"unknown fault option {name!r}")
