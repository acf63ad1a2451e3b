"""Sizes, durations and counts as people read them."""

from __future__ import annotations

_SCALES = ("B", "kB", "MB", "GB", "TB", "PB")


def size_text(size_bytes: float) -> str:
    """Return a size for people: ``831 B``, ``1.2 GB`` (decimal units)."""
    value, scale = float(size_bytes), 0
    while abs(value) >= 999.5 and scale < len(_SCALES) - 1:
        value, scale = value / 1000, scale + 1
    return f"{value:.0f} {_SCALES[scale]}" if scale == 0 or value >= 99.95 else f"{value:.1f} {_SCALES[scale]}"


def duration_text(seconds: float) -> str:
    """Return a duration for people: ``0.4 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count_text(number: int, noun: str) -> str:
    """Return ``1 session``, ``1,200 sessions``; ``noun`` is singular."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
