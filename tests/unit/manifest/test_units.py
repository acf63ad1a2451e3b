"""Units and leases: whatever happens in between, every file is sent, and none is forgotten."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from xferengine.manifest import evidence, intake, overview, studies, units
from xferengine.manifest.rows import UnitRow
from xferengine.manifest.schema import prepare
from xferengine.model.dicom import ProblemKind, ScanBatch, ScannedFile, ScanProblem, SourceRef
from xferengine.model.states import FileState, StudyState


def database() -> sqlite3.Connection:
    con = sqlite3.connect(":memory:", isolation_level=None)
    con.row_factory = sqlite3.Row
    prepare(con, Path("memory"))
    return con


def scanned(n: int, *, study: str = "1.2", size: int = 100, series: str = "1", path: str = "", **more) -> ScannedFile:
    source = SourceRef(path=path or f"/in/{study}/{n:04}", size=size, mtime_ns=more.pop("mtime_ns", 5), inode=n)
    return ScannedFile(
        source=source, sop_uid=more.pop("sop_uid", f"{study}.{n}"), sop_class_uid="1", study_uid=study,
        series_uid=f"{study}.s{series}", series_number=series, transfer_syntax="", payload_bytes=size // 2,
        fields={"PatientID": "P", **more},
    )  # fmt: skip


def filled(count: int, **more) -> sqlite3.Connection:
    con = database()
    intake.insert_batch(con, ScanBatch(files=tuple(scanned(n, **more) for n in range(count))), 1)
    intake.count_studies(con)
    return con


def test_units_follow_series_order_and_stay_below_their_bounds() -> None:
    con = database()
    files = [scanned(n, series=str(10 - n % 3)) for n in range(9)]
    intake.insert_batch(con, ScanBatch(files=tuple(files)), 1)
    order: list[str] = []
    while (unit := units.form(con, 1, max_bytes=250, max_files=8)) is not None:
        assert unit.bytes <= 250
        order += [file.series_uid for file in unit.files]
    assert order == ["1.2.s8"] * 3 + ["1.2.s9"] * 3 + ["1.2.s10"] * 3


def test_a_file_above_the_bound_goes_alone() -> None:
    unit = units.form(filled(3, size=1000), 1, max_bytes=10, max_files=8)
    assert unit is not None
    assert len(unit.files) == 1


def test_a_leased_unit_of_a_dead_run_goes_back_and_counts_as_sent_more_than_once() -> None:
    con = filled(4)
    assert units.form(con, 1, 10_000, 2) is not None
    assert units.recover(con) == 1
    assert units.resent_bytes(con) == 200
    study = studies.get(con, 1)
    assert study.resent
    assert not study.settled
    again = units.form(con, 1, 10_000, 100)
    assert again is not None
    assert len(again.files) == 4


def test_resent_bytes_count_only_attempts_that_failed() -> None:
    con = filled(2)
    unit = units.form(con, 1, 10_000, 100)
    assert unit is not None
    units.end_attempt(con, unit.attempt_id, "ReadInterrupted", 150)
    unit = units.lease_again(con, unit)
    units.end_attempt(con, unit.attempt_id, "done", 200)
    units.finish(con, unit, {0: 7})
    assert overview.totals(con).bytes_resent == 150
    assert con.execute("SELECT crc32 FROM file ORDER BY id").fetchone()[0] == 7


def test_a_rescan_keeps_what_is_known_and_notices_what_changed_or_vanished() -> None:
    con = filled(3)
    unit = units.form(con, 1, 10_000, 1)
    assert unit is not None
    units.finish(con, unit, {})
    evidence.take_archived(con, 1, ["1.2.0"])
    changed = (scanned(0, mtime_ns=9), scanned(1, size=50))
    intake.insert_batch(con, ScanBatch(files=changed), 2)
    assert intake.missing_since(con, 2) == 1
    rows = {r["sop_uid"]: (r["state"], r["size"]) for r in con.execute("SELECT * FROM file")}
    assert rows == {"1.2.0": ("present", 100), "1.2.1": ("planned", 50), "1.2.2": ("failed", 100)}


def test_problems_of_a_scan_are_kept_once() -> None:
    con = database()
    batch = ScanBatch(problems=(ScanProblem(shown="/a", kind=ProblemKind.CUT_PIXELS, detail="cut"),))
    intake.insert_batch(con, batch, 1)
    intake.insert_batch(con, batch, 2)
    assert overview.count(con, "problem") == 1
    assert [f.ref for f in overview.failures(con)] == ["/a"]


def test_listing_tells_stored_torn_foreign_and_missing_apart() -> None:
    con = filled(6, size=1000)
    unit = units.form(con, 1, 1 << 30, 100)
    assert unit is not None
    units.finish(con, unit, {})
    listing = [("1.2.0.dcm", 1000), ("1.2.1.dcm", 1000), ("1.2.2.dcm", 1000), ("1.2.3.dcm", 990), ("1.2.4.dcm", 100),
               ("strange-name.dcm", 5)]  # fmt: skip
    seen = evidence.take_listing(con, 1, listing)
    assert (seen.stored, len(seen.torn), seen.foreign) == (3, 2, ["strange-name.dcm"])
    assert studies.file_counts(con, 1) == {"stored": 3, "sent": 3}


def test_an_odd_size_that_repeats_itself_after_a_second_send_is_the_servers_own() -> None:
    con = filled(4, size=1000)
    listing = [("1.2.0.dcm", 1000), ("1.2.1.dcm", 1000), ("1.2.2.dcm", 1000), ("1.2.3.dcm", 990)]
    first, second = evidence.take_listing(con, 1, listing), evidence.take_listing(con, 1, listing)
    assert len(first.torn) == 1
    assert (second.torn, second.rewritten) == ([], 1)


def test_a_site_script_that_rewrites_every_header_is_no_damage() -> None:
    con = filled(4, size=1000)
    seen = evidence.take_listing(con, 1, [(f"1.2.{n}.dcm", 1012) for n in range(4)])
    assert (seen.stored, seen.rewritten, seen.torn) == (4, 4, [])


def test_clashes_of_labels_by_case_and_of_people_are_found() -> None:
    con = database()
    intake.insert_batch(con, ScanBatch(files=tuple(scanned(n, study=f"1.{n}") for n in range(4))), 1)
    for n, (subject, session, raw) in enumerate(
        [("S", "E1", "a"), ("s", "e1", "a"), ("T", "E2", "b"), ("T", "E3", "c")]
    ):
        studies.set_target(con, n + 1, project="P", subject=subject, session=session, raw_subject=raw)
    assert [[s.id for s in group] for group in studies.label_clashes(con)] == [[1, 2]]
    assert [[s.id for s in group] for group in studies.subject_clashes(con)] == [[1, 2], [3, 4]]


class Sending(RuleBasedStateMachine):
    """Attempts end in every way, runs die, and the server keeps what it was sent or loses it."""

    def __init__(self) -> None:
        super().__init__()
        self.con = filled(30, size=10)
        self.server: set[str] = set()
        self.leased: list[UnitRow] = []

    @rule(size=st.integers(1, 120), files=st.integers(1, 9))
    def form(self, size: int, files: int) -> None:
        unit = units.form(self.con, 1, size, files)
        if unit is not None:
            self.leased.append(unit)

    @rule(keep=st.booleans())
    def answered(self, keep: bool) -> None:
        if self.leased:
            unit = self.leased.pop()
            if keep:
                self.server |= {f.sop_uid for f in unit.files}
            units.end_attempt(self.con, unit.attempt_id, "done", unit.bytes)
            units.finish(self.con, unit, {})

    @rule()
    def broken(self) -> None:
        if self.leased:
            unit = self.leased.pop()
            self.server |= {f.sop_uid for f in unit.files[: len(unit.files) // 2]}
            units.end_attempt(self.con, unit.attempt_id, "ReadInterrupted", unit.bytes // 2)
            self.leased.append(units.lease_again(self.con, unit))

    @rule()
    def given_up(self) -> None:
        if self.leased:
            unit = self.leased.pop()
            units.end_attempt(self.con, unit.attempt_id, "ServerFault", 0)
            units.dissolve(self.con, unit)

    @rule()
    def killed(self) -> None:
        self.leased.clear()
        units.recover(self.con)

    @rule()
    def gate(self) -> None:
        if not self.leased:
            evidence.forget_stored(self.con, 1)
            evidence.take_listing(self.con, 1, [(f"{uid}.dcm", 10) for uid in sorted(self.server)])
            units.resend(self.con, 1, None)

    @invariant()
    def nothing_is_in_two_units_and_leases_match(self) -> None:
        held = [f.id for unit in self.leased for f in unit.files]
        assert len(held) == len(set(held))
        free = {r[0] for r in self.con.execute("SELECT id FROM file WHERE state='planned' AND unit_id IS NULL")}
        assert not free & set(held)
        waiting = {r[0] for r in self.con.execute("SELECT id FROM file WHERE state='planned'")}
        assert waiting == free | set(held)

    def teardown(self) -> None:
        """In the end, sending until the gate is content brings every file to the server."""
        self.killed()
        for _ in range(2):
            while (unit := units.form(self.con, 1, 1000, 10)) is not None:
                self.server |= {f.sop_uid for f in unit.files}
                units.finish(self.con, unit, {})
            self.gate()
        assert len(self.server) == 30
        assert studies.file_counts(self.con, 1) == {str(FileState.STORED): 30}


TestSending = Sending.TestCase
TestSending.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_states_that_are_final_are_not_open() -> None:
    con = database()
    intake.insert_batch(con, ScanBatch(files=tuple(scanned(n, study=f"1.{n}") for n in range(len(StudyState)))), 1)
    for n, state in enumerate(StudyState):
        studies.set_state(con, n + 1, state)
    open_ones = {study.state for study in studies.next_open(con, set(), 100)}
    assert open_ones == {state for state in StudyState if not state.is_final}
