"""What follows a failed request, without a network."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from xferengine.errors import (
    AccessDenied,
    Ambiguous,
    BodyTooLarge,
    LocalError,
    LoginRefused,
    ReadInterrupted,
    Rejected,
    RemoteError,
    SourceChanged,
    Throttled,
)
from xferengine.jobs.core import Core
from xferengine.jobs.files_bundle import Sent
from xferengine.jobs.files_trouble import FilesTrouble
from xferengine.manifest import outgoing, outgoing_units, outgoing_walk, units
from xferengine.manifest.outgoing import OutFile
from xferengine.manifest.outgoing_units import OutUnit
from xferengine.manifest.schema import prepare
from xferengine.manifest.transfers import add_item
from xferengine.model.dicom import SourceRef
from xferengine.model.events import AttemptFailed, Event
from xferengine.model.items import ItemRef, Level
from xferengine.schedule.retry import RetryPolicy
from xferengine.schedule.sizer import Sizer
from xferengine.settings.slices import PoolConfig, RetryConfig


@dataclass
class Bench:
    """A manifest in memory, a clock that only notes, a policy without luck."""

    con: sqlite3.Connection = field(default_factory=lambda: sqlite3.connect(":memory:", isolation_level=None))
    slept: list[float] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    is_down: bool = False

    def __post_init__(self) -> None:
        self.con.row_factory = sqlite3.Row
        prepare(self.con, Path("m.db"))
        outgoing.prepare(self.con)
        add_item(self.con, ItemRef(level=Level.PROJECT, project="P"), 0)
        outgoing.open_target(self.con, 1, "R", "project", ("", "", ""))
        cfg = RetryConfig(attempts=3)
        self.sizer = Sizer(PoolConfig())
        self.core = SimpleNamespace(
            emit=self.events.append,
            manifest=SimpleNamespace(write=self.write),
            clock=SimpleNamespace(sleep=self.sleep),
            retry=RetryPolicy(cfg, cast("Any", self)),
            breaker=SimpleNamespace(is_open=self.is_down),
            sizer=Sizer(PoolConfig()),
            settings=SimpleNamespace(retry=cfg),
        )
        self.trouble = FilesTrouble(cast("Core", self.core), self.sizer, "E1")

    async def write(self, op: Callable[[sqlite3.Connection], Any]) -> Any:
        return op(self.con)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def unit(self, count: int = 1, *, replace: bool = False) -> OutUnit:
        names = [f"f{number}" for number in range(count)]
        files = [OutFile(path=n, source=SourceRef(path=f"/in/{n}", size=10, mtime_ns=1)) for n in names]
        outgoing_walk.add_files(self.con, 1, 1, files, 1)
        self.con.execute("UPDATE entry SET state=?", ("replace" if replace else "planned",))
        unit = outgoing_units.form(self.con, 1, max_bytes=10_000, max_files=count, alone_bytes=10_000)
        assert unit is not None
        return unit

    async def settle(
        self, unit: OutUnit, error: RemoteError | LocalError, sent: int = 5, *, whole: bool = True
    ) -> bool:
        ended = Sent(error=error, taken=frozenset(), md5s={}, bytes_sent=sent, seconds=1.0, is_whole=whole)
        return await self.trouble.settle(unit, ended)

    @property
    def states(self) -> list[str]:
        return [row[0] for row in self.con.execute("SELECT state FROM entry ORDER BY id")]


async def test_a_torn_body_is_sent_again_over_what_came_and_one_that_never_began_as_before() -> None:
    bench = Bench()
    assert await bench.settle(bench.unit(), ReadInterrupted("x")) is False
    assert bench.states == ["replace"]
    assert len(bench.slept) == 1
    assert await bench.settle(bench.unit(), ReadInterrupted("x"), sent=0) is False
    assert bench.states == ["planned"]


async def test_a_lost_answer_needs_a_look_and_a_500_says_that_the_server_has_ended() -> None:
    bench = Bench()
    assert await bench.settle(bench.unit(), Ambiguous("x", status=504)) is True
    assert (bench.states, bench.trouble.is_over) == (["doubtful"], False)
    assert await bench.settle(bench.unit(), Ambiguous("x")) is True
    assert bench.trouble.is_over is False
    bench = Bench()
    assert await bench.settle(bench.unit(), Ambiguous("x", status=500)) is True
    assert bench.trouble.is_over is True


async def test_a_server_that_fails_on_a_bundle_gets_ever_smaller_ones_down_to_the_file() -> None:
    bench = Bench()
    sizes = [64]
    for _ in range(40):
        count = bench.trouble.files_max(64)
        unit = bench.unit(count)
        await bench.settle(unit, Ambiguous("x", status=500))
        sizes.append(count)
        if "failed" in bench.states:
            break
    assert bench.states[0] == "failed"
    assert min(sizes) == 1
    assert bench.trouble.files_max(64) == 1
    for _ in range(4):
        bench.trouble.succeeded()
    assert bench.trouble.files_max(64) == 64


async def test_an_answer_before_the_whole_body_proves_that_it_was_sent_in_vain() -> None:
    bench = Bench()
    assert await bench.settle(bench.unit(), Ambiguous("x", status=500), whole=False) is True
    assert bench.states == ["replace"]
    outgoing.judge(bench.con, 1)
    assert units.resent_bytes(bench.con) == 5, "what was taken, once"


async def test_a_server_that_fails_on_every_file_is_not_tried_with_all_of_them() -> None:
    bench = Bench()
    requests = 0
    while not bench.trouble.hopeless:
        await bench.settle(bench.unit(bench.trouble.files_max(64)), Ambiguous("the server failed (500)", status=500))
        requests += 1
        assert requests < 20
        bench.con.execute("DELETE FROM entry")
    assert bench.trouble.hopeless.startswith("Ambiguous: the server failed (500); not tried")
    waits = [event.wait_s for event in bench.events if isinstance(event, AttemptFailed)]
    assert sum(wait > 0 for wait in waits) == len(bench.slept) >= 5, "waits are told, and waited"


async def test_one_success_is_hope_again() -> None:
    bench = Bench()
    for _ in range(9):
        while "failed" not in bench.states:
            await bench.settle(bench.unit(), Ambiguous("x", status=500))
        bench.con.execute("DELETE FROM entry")
        bench.trouble.succeeded()
    assert not bench.trouble.hopeless


async def test_a_refused_bundle_is_halved_at_once_and_a_refused_file_given_up() -> None:
    bench = Bench()
    assert await bench.settle(bench.unit(9), Rejected("x", status=400)) is False
    assert (bench.trouble.files_max(100), bench.slept) == (4, [])
    bench = Bench()
    await bench.settle(bench.unit(), Rejected("no", status=400))
    assert bench.states == ["failed"]
    assert outgoing.troubles(bench.con, 0, 1)[0]["note"] == "Rejected: no"


async def test_too_large_a_body_halves_the_bound_here_and_for_the_server() -> None:
    bench = Bench()
    await bench.settle(bench.unit(20), BodyTooLarge("x", status=413))
    assert bench.sizer.bound_bytes == bench.core.sizer.bound_bytes == 100
    assert set(bench.states) == {"replace"}
    bench = Bench()
    await bench.settle(bench.unit(), BodyTooLarge("x", status=413))
    assert bench.states == ["failed"]


async def test_a_file_that_changed_is_named_and_its_neighbours_go_again() -> None:
    bench = Bench()
    assert await bench.settle(bench.unit(3), SourceChanged("gone", path="/in/f1"), sent=0) is False
    assert bench.states == ["planned", "failed", "planned"]
    assert outgoing.troubles(bench.con, 0, 1)[0]["note"] == "SourceChanged: gone"
    assert bench.slept == []
    await bench.settle(bench.unit(3), SourceChanged("gone", path="/in/f2"), sent=5)
    note = outgoing.troubles(bench.con, 2, 1)[0]["note"]
    assert note.startswith("SourceChanged: gone; a part of it may lie on the server"), "nobody else would know"


async def test_a_local_error_about_no_file_of_the_unit_is_not_hidden() -> None:
    bench = Bench()
    with pytest.raises(SourceChanged):
        await bench.settle(bench.unit(3), SourceChanged("gone", path="/in/other"))


@pytest.mark.parametrize("error", [AccessDenied("x", status=403), LoginRefused("x")])
async def test_what_no_other_try_would_cure_ends_the_job_and_leaves_the_files_open(error: RemoteError) -> None:
    bench = Bench()
    with pytest.raises(type(error)):
        await bench.settle(bench.unit(), error)
    assert bench.states == ["replace"]


async def test_retries_end_some_time() -> None:
    bench = Bench()
    for _ in range(2):
        await bench.settle(bench.unit(), ReadInterrupted("x"))
    with pytest.raises(ReadInterrupted):
        await bench.settle(bench.unit(), ReadInterrupted("x"))


async def test_a_lost_answer_that_brought_files_is_no_failure_in_a_row() -> None:
    bench = Bench()
    for _ in range(9):
        await bench.settle(bench.unit(), Ambiguous("x", status=504))
        bench.trouble.progressed()
    assert bench.states == ["doubtful"]


async def test_while_the_breaker_is_open_it_decides() -> None:
    bench = Bench(is_down=True)
    for _ in range(9):
        await bench.settle(bench.unit(), ReadInterrupted("x"))
    assert bench.states == ["replace"]


async def test_a_busy_server_says_how_long() -> None:
    bench = Bench()
    await bench.settle(bench.unit(), Throttled("x", retry_after_s=7.0, status=503))
    assert bench.slept == [7.0]


async def test_every_failure_is_an_event_without_labels() -> None:
    bench = Bench()
    await bench.settle(bench.unit(), ReadInterrupted("the connection broke"))
    (event,) = bench.events
    assert isinstance(event, AttemptFailed)
    assert (event.study, event.error) == ("E1", "ReadInterrupted")
