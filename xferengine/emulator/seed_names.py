"""Names that are hard on clients: what a Linux disk can hold, and XNAT's catalogs with it (FIL 9.3)."""

from __future__ import annotations

import unicodedata

_NAMES = (
    "blank in it.txt",
    "hash#1.txt",
    "what?.txt",
    "100%.txt",
    "per%20cent.txt",
    "a+b.txt",
    "semi;colon.txt",
    "it's.txt",
    "(paren).txt",
    "comma,amp&equals=.txt",
    'quote"less<more>.txt',
    "star*.txt",
    "tilde~$.txt",
    " leading and trailing ",
    ".hidden",
    "日本語.txt",
    "same.txt",
    "Case.txt",
    "case.txt",
    "CASE.txt",
    unicodedata.normalize("NFC", "é.txt"),
    unicodedata.normalize("NFD", "é.txt"),
    "empty",
)
_FOLDERS = ("a/b/c", "files", "resources", "1", "files_old", "scans/1", "in", "out", "ünï code", "hash#")

AWKWARD_FILES = (
    *_NAMES,
    *(f"{folder}/same.txt" for folder in _FOLDERS),
    "1/blank in it.txt",
    "resources/AWKWARD/files/same.txt",
    "a/b/c/empty",
)
"""Paths of files below a resource; those that end in `empty` have no bytes."""

AWKWARD_SCANS = (("1", "T1"), ("90", "T2/FLAIR, axial"), ("91", "1"), ("92", ""), ("a b-c", "BOLD (rest)"))
"""IDs and types of scans: a type that needs escapes, one that is another scan's ID, none at all, an ID with a dash."""
