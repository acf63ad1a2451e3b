"""Faults inside the work: instances lost, torn or refused, locks leaked, slow archiving (IMP 10.15-16)."""

from __future__ import annotations

from pathlib import Path

from xferengine.emulator.archive_members import Member
from xferengine.emulator.clock import Clock, folder_stamp
from xferengine.emulator.faults import MEMBER_KINDS, FaultPlan, Kind, Rule
from xferengine.emulator.hooks import Hooks, Pacer
from xferengine.emulator.member_faults import changed
from xferengine.emulator.prearc_table import PrearcTable
from xferengine.emulator.records import PrearcRow


class FaultHooks(Hooks):
    """Asks the fault plan at each hook point; the target a rule matches is the row's URL plus the file name."""

    def __init__(self, plan: FaultPlan, clock: Clock, pacer: Pacer, archive_timeout_s: float) -> None:
        self._plan = plan
        self._clock = clock
        self._pacer = pacer
        self._archive_timeout_s = archive_timeout_s
        self._archiving: set[str] = set()
        self.table: PrearcTable | None = None  # set once the core is open

    async def on_entry(self, row: PrearcRow, name: str) -> None:
        """Take the service time of an instance; perhaps another sender shows up meanwhile."""
        await self._pacer.wait_instance()
        rule = self._strike(Kind.FOREIGN_ROW, row, name)
        if rule is not None:
            self._add_foreign_row(row, rule)

    def concurrent_file(self, row: PrearcRow, name: str) -> bool:
        """Refuse the instance with `Concurrent file sends ...` (IMP 1.6)."""
        return self._strike(Kind.CONCURRENT_FILE, row, name) is not None

    def disk_full(self) -> bool:
        """Fail to store (IMP 1.6)."""
        return self._plan.strike("", "", (Kind.DISK_FULL,)) is not None

    def torn(self, row: PrearcRow, name: str) -> bool:
        """Leave the instance cut on disk (IMP 8, race 4)."""
        return self._strike(Kind.TORN_ENTRY, row, name) is not None

    def lose(self, row: PrearcRow, path: Path) -> bool:
        """Lose a stored instance, always or when it came while the row was being archived (IMP 10.15)."""
        if row.key in self._archiving and self._strike(Kind.LATE_LOST, row, path.name) is not None:
            return True
        return self._strike(Kind.INSTANCE_LOST, row, path.name) is not None

    def leak_lock(self, row: PrearcRow) -> bool:
        """Leave a lock file, so that the row stays RECEIVING for ever (IMP 2.5)."""
        return self._strike(Kind.LOCK_LEAKED, row, "") is not None

    async def on_building(self, row: PrearcRow) -> None:
        """A row that is built again is not being archived any more."""
        self._archiving.discard(row.key)

    async def on_archiving(self, row: PrearcRow) -> None:
        """Take longer than the request waits: 500 for the client, success later (IMP 3.2)."""
        self._archiving.add(row.key)
        rule = self._strike(Kind.ARCHIVE_TIMEOUT, row, "")
        if rule is not None:
            await self._clock.sleep(rule.delay_s or self._archive_timeout_s + 1.0)

    def on_members(self, members: list[Member]) -> list[Member]:
        """Rename, repeat, drop, add or falsify members."""
        if not self._plan.has(MEMBER_KINDS):
            return members
        struck = ((member, self._plan.strike("", member.name, MEMBER_KINDS)) for member in members)
        return [each for member, rule in struck for each in ([member] if rule is None else changed(member, rule))]

    def change_after(self, path: Path) -> int | None:
        """Change a file while it is sent."""
        rule = self._plan.strike("", str(path), (Kind.FILE_CHANGES,))
        return None if rule is None else rule.after_bytes

    def _strike(self, kind: Kind, row: PrearcRow, name: str) -> Rule | None:
        return self._plan.strike("", f"{row.url}/{name}", (kind,))

    def _add_foreign_row(self, row: PrearcRow, rule: Rule) -> None:
        """Another sender: the same study under `label`, or another study under the same label."""
        if self.table is None:
            return
        label = rule.label or row.name
        tag = row.tag if rule.label else f"{row.tag}.99"
        stamp = folder_stamp(self._clock.now())
        self.table.join(
            PrearcRow(
                project=row.project,
                timestamp=stamp if stamp != row.timestamp else f"{stamp[:-1]}{(int(stamp[-1]) + 1) % 10}",
                folder=label,
                name=label,
                tag=tag,
                subject="OTHER_SENDER",
            )
        )
