"""Whether an answer is the part of the file that was asked for (FIL 3): status, Content-Range, Last-Modified."""

from __future__ import annotations

import re

import msgspec

from xferengine.errors import ProtocolViolation, RemoteChanged
from xferengine.streams.ranged_shapes import Opened, RangesIgnored

_CONTENT_RANGE = re.compile(r"bytes[ =](\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII | re.IGNORECASE)


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What the head of an answer says about the file."""

    size: int
    """Bytes of the whole file; -1 unknown."""
    last_modified: str
    """Empty where there is none."""
    is_whole: bool
    """The body is the whole file, from byte 0."""


def read_head(opened: Opened, *, first: int | None, last: int | None) -> Head:
    """Return what an answer is.

    Args:
        first, last: the range that was asked for, both included; None for the whole file.

    Raises:
        RangesIgnored: it is another part than was asked for, or a whole file that was asked for from its middle.
        ProtocolViolation: a part, where the whole was asked for.

    Source: RFC 9110 14.4, 15.3.7; a body shorter than announced, past the end of the file, is no 416 (FIL 3).
    """
    modified = opened.headers.get("last-modified", "").strip()
    if opened.status != 206:
        if first:
            raise RangesIgnored("a range was answered with a whole file")
        length = opened.content_length
        return Head(size=-1 if length is None else length, last_modified=modified, is_whole=True)
    if first is None or last is None:
        raise ProtocolViolation("the server answered with a part of a file that nobody asked for", status=206)
    found = _CONTENT_RANGE.fullmatch(opened.headers.get("content-range", "").strip())
    if found is None or "content-encoding" in opened.headers:
        raise RangesIgnored("a part of a file came without a usable Content-Range, or encoded")
    start, end, total = (int(text) for text in found.groups())
    if start != first or end > last or end not in {last, total - 1}:
        raise RangesIgnored("another part of a file came than was asked for")
    length = opened.content_length
    if length is not None and length != end + 1 - start:
        raise RangesIgnored("the length of a part of a file is not that of its Content-Range")
    return Head(size=total, last_modified=modified, is_whole=False)


def check_same(head: Head, *, size: int, last_modified: str) -> None:
    """Compare with what was known of the file.

    Args:
        size: known bytes, -1 while unknown.
        last_modified: known date; empty while unknown, or where there is none.

    Raises:
        RemoteChanged: another size or another date.
        RangesIgnored: the date is missing now, so nothing shows whether it is the same file.
    """
    if head.size >= 0 and size >= 0 and head.size != size:
        raise RemoteChanged("a file changed its size on the server while it was being fetched")
    if not last_modified or head.last_modified == last_modified:
        return
    if head.last_modified:
        raise RemoteChanged("a file changed on the server while it was being fetched")
    raise RangesIgnored("a part of a file came without its date")
