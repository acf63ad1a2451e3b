"""Time as the emulator sees it; tests put in a clock of their own."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where handlers take the time from and how they wait."""

    def now(self) -> datetime:
        """Return the wall clock (aware, UTC)."""
        ...

    def monotonic(self) -> float:
        """Return seconds for measuring durations."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The real clock."""

    def now(self) -> datetime:
        """Return the wall clock (aware, UTC)."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds for measuring durations."""
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """Wait for real."""
        await asyncio.sleep(delay_s)


def sql_stamp(moment: datetime) -> str:
    """Format like the prearchive tables: ``2024-01-31 13:05:09.123`` (IMP 4.1)."""
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"


def folder_stamp(moment: datetime) -> str:
    """Format like a prearchive timestamp folder: ``yyyyMMdd_HHmmssSSS`` (IMP 2.1)."""
    return f"{moment:%Y%m%d_%H%M%S}{moment.microsecond // 1000:03d}"
