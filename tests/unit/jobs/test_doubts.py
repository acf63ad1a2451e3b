"""Whether bytes are what the catalog says."""

from __future__ import annotations

import pytest

from xferengine.errors import Disposition
from xferengine.jobs.doubts import Differs, DiffersInside, judge
from xferengine.manifest.transfers import EntryRow

MD5, OTHER = "a" * 32, "b" * 32


def entry(size: int, digest: str) -> EntryRow:
    return EntryRow(
        id=1,
        resource_id=1,
        path="a",
        size=size,
        digest=digest,
        local="LABEL/a",
        state="planned",
        note="",
        means="",
        real_digest="",
        local_size=-1,
        mtime_ns=0,
        inode=0,
        last_modified="",
    )


@pytest.mark.parametrize(
    ("listed_size", "listed_digest", "size", "md5", "means"),
    [
        (3, MD5, 3, MD5, "digest"),
        (-1, MD5, 3, MD5, "digest"),
        (3, "", 3, MD5, "size"),
        (3, "", 3, "", "size"),
        (0, "", 0, "", "size"),
        (-1, "", 3, MD5, "none"),
    ],
)
def test_it_says_by_what(listed_size: int, listed_digest: str, size: int, md5: str, means: str) -> None:
    assert judge(entry(listed_size, listed_digest), size, md5) == means


@pytest.mark.parametrize(
    ("listed_size", "listed_digest", "size", "md5", "kind"),
    [
        (3, MD5, 4, MD5, Differs),  # an equal digest does not heal another size
        (3, "", 4, "", Differs),
        (0, "", 1, "", Differs),
        (3, MD5, 3, OTHER, DiffersInside),
        (3, MD5, 3, "", DiffersInside),  # not computed is not equal
        (-1, MD5, 3, OTHER, DiffersInside),
        (3, MD5, 2, OTHER, Differs),
    ],
)
def test_it_says_what_differs(listed_size: int, listed_digest: str, size: int, md5: str, kind: type) -> None:
    found = judge(entry(listed_size, listed_digest), size, md5)
    assert type(found) is kind
    assert isinstance(found, Differs | DiffersInside)
    assert (found.size, found.md5, found.disposition) == (size, md5, Disposition.RESTART)
    assert "LABEL" not in found.message
