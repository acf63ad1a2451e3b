"""Text that came from a server or a file, made harmless for the place it is shown in."""

from __future__ import annotations

import html
import unicodedata

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def for_terminal(text: str) -> str:
    """Return ``text`` with every control, direction and other invisible character spelled out (``\\x1b``).

    Line ends are spelled out too: the result is one line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def for_csv_cell(text: str) -> str:
    """Return ``text`` so that a spreadsheet shows it instead of running it as a formula.

    A cell that begins with ``=``, ``+``, ``-``, ``@`` (also in full width), a tab or a line end gets an apostrophe in
    front; quoting is the CSV writer's work.
    """
    shown = "".join(c if c in "\t\r\n" else _visible(c) for c in text)
    return f"'{shown}" if shown.lstrip(" ").startswith(_FORMULA_STARTS) else shown


def for_html(text: str) -> str:
    """Return ``text`` for an HTML text or a quoted attribute."""
    return html.escape("".join(c if c in "\t\r\n" else _visible(c) for c in text), quote=True)


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
        return character.encode("ascii", "backslashreplace").decode() if ord(character) > 0x7F else _spelled(character)
    return character


def _spelled(character: str) -> str:
    return f"\\x{ord(character):02x}"
