"""Aligned columns that fit the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """``least`` is the width below which it is not squeezed; a column with ``grows`` False is never cut."""

    title: str
    right: bool = False
    grows: bool = False
    least: int = 8


GAP = "  "


def text_width(text: str) -> int:
    """Return the number of terminal cells of printable text: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shorten(text: str, width: int) -> str:
    """Cut text to ``width`` cells; the end is what tells labels and paths apart, so the middle is left out."""
    if text_width(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    tail = (width - 1) // 2
    return f"{_fit(text, width - 1 - tail)}…{_fit(text[::-1], tail)[::-1]}"


def _fit(text: str, width: int) -> str:
    taken, used = 0, 0
    for character in text:
        used += _cells(character)
        if used > width:
            break
        taken += 1
    return text[:taken]


def table_lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return header and rows, each at most ``width`` cells wide where squeezing the growing columns allows it."""
    wanted = [
        max([text_width(column.title), *(text_width(row[n]) for row in rows)]) for n, column in enumerate(columns)
    ]
    widths = _squeeze(columns, wanted, width)
    cells = [[column.title for column in columns], *rows]
    return [
        GAP.join(_pad(shorten(cell, w), w, c.right) for cell, w, c in zip(row, widths, columns, strict=True)).rstrip()
        for row in cells
    ]


def _squeeze(columns: Sequence[Column], wanted: list[int], width: int) -> list[int]:
    """Take cells from the widest growing column until the row fits."""
    widths = list(wanted)
    spare = width - len(GAP) * (len(columns) - 1)
    while sum(widths) > spare:
        candidates = [n for n, c in enumerate(columns) if c.grows and widths[n] > c.least]
        if not candidates:
            break
        widest = max(candidates, key=lambda n: widths[n])
        widths[widest] -= 1
    return widths


def _pad(text: str, width: int, right: bool) -> str:
    fill = " " * (width - text_width(text))
    return fill + text if right else text + fill
