"""Value representations and tags that the element walk knows by heart.

Source: DICOM PS3.5 table 6.2-1 and 7.1.2 (32-bit lengths), PS3.6.
"""

from __future__ import annotations

PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
BULK_TAGS = PIXEL_TAGS | {0x56000020, 0x54000100, 0x00420011}
"""Pixels, spectra, waveforms, encapsulated documents."""
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
SHORT_VRS = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS"}
    | {b"ST", b"TM", b"UI", b"UL", b"US"}
)
KNOWN_VRS = LONG_VRS | SHORT_VRS
BYTE_VRS = frozenset({b"OB", b"OW"})
