"""Operations that compare what the server lists with what the manifest says."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec

from xferengine.model.states import FileState


class Seen(msgspec.Struct, kw_only=True):
    """What one listing showed of one study's files."""

    stored: int = 0
    """Names that are ours, with the size sent, or a size that a rewritten header explains."""
    rewritten: int = 0
    """Of those, with another size than was sent."""
    torn: list[int] = []
    """Ids of files whose stored size is too small for their pixel data, or odd among its neighbours."""
    foreign: list[str] = []
    """Names that are not ours."""
    series: set[str] = set()
    """Series UIDs of our files in the listing."""
    has_leftovers: bool = False
    """An instance of this scan was given up as unreadable: a torn piece may lie there, listed or not (IMP 8)."""


def take_listing(con: sqlite3.Connection, study_id: int, listing: Iterable[tuple[str, int]]) -> Seen:
    """Compare one scan's names and sizes with the manifest and mark what is stored.

    A site script or another encoding of the header may change sizes (IMP 7), so a differing size is damage only when
    it cannot hold the pixel data, or when most neighbours kept theirs and this file has not yet shown the same odd
    size twice (``file.odd_size``): sent again, damage heals and a rewrite repeats itself.
    """
    seen = Seen(torn=[], foreign=[], series=set())
    odd: list[tuple[int, int, int | None]] = []
    good: list[int] = []
    for name, size in listing:
        row = _ours(con, study_id, name)
        if row is None:
            seen.foreign.append(name)
            continue
        seen.series.add(row["series_uid"])
        if size == row["size"]:
            good.append(row["id"])
        elif size < row["payload_bytes"] or size == 0:
            seen.torn.append(row["id"])
        else:
            odd.append((row["id"], size, row["odd_size"]))
    for file_id, size, before in odd:
        if before != size and len(odd) < len(good):
            seen.torn.append(file_id)
            con.execute("UPDATE file SET odd_size=? WHERE id=?", (size, file_id))
        else:
            seen.rewritten += 1
            good.append(file_id)
    con.executemany("UPDATE file SET state='stored' WHERE id=? AND state IN ('planned','sent')", [(i,) for i in good])
    seen.stored = len(good)
    given_up = {
        row[0]
        for row in con.execute(
            "SELECT DISTINCT series_uid FROM file WHERE study_id=? AND state='failed' AND note LIKE 'UnreadableEntry%'",
            (study_id,),
        )
    }
    seen.has_leftovers = bool(given_up & seen.series) or bool(given_up and not seen.series)
    return seen


def _ours(con: sqlite3.Connection, study_id: int, name: str) -> sqlite3.Row | None:
    uid = name.rsplit("/", 1)[-1].removesuffix(".dcm")
    return con.execute(
        "SELECT id, size, payload_bytes, series_uid, odd_size FROM file"
        " WHERE sop_uid=? AND study_id=? AND state NOT IN ('duplicate','failed')",
        (uid, study_id),
    ).fetchone()


def forget_stored(con: sqlite3.Connection, study_id: int) -> None:
    """Before a fresh look: what was seen stored counts as sent until it is seen again."""
    con.execute("UPDATE file SET state='sent' WHERE study_id=? AND state='stored'", (study_id,))


def series_files(con: sqlite3.Connection, study_id: int, series: Iterable[str]) -> list[int]:
    """Return ids of all files of some series that belong on the server."""
    ids: list[int] = []
    for uid in series:
        ids += [
            row[0]
            for row in con.execute(
                "SELECT id FROM file WHERE study_id=? AND series_uid=?"
                " AND state NOT IN ('duplicate','failed','present')",
                (study_id, uid),
            )
        ]
    return ids


def refuse_unseen(con: sqlite3.Connection, study_id: int) -> int:
    """What was accepted in every round and never kept: refused by a filter or script of the server."""
    return con.execute(
        "UPDATE file SET state=?, note='accepted and not kept: refused by a filter or script of the server'"
        " WHERE study_id=? AND state='sent'",
        (str(FileState.REFUSED), study_id),
    ).rowcount


def take_archived(con: sqlite3.Connection, study_id: int, names: Iterable[str], *, by_name: bool = False) -> int:
    """Mark instances that the archive's catalogs hold as verified; return how many of the study's rows matched.

    Args:
        names: SOP Instance UIDs, or with ``by_name`` entry names.
    """
    matched = 0
    for name in names:
        uid = name.rsplit("/", 1)[-1].removesuffix(".dcm") if by_name else name
        matched += con.execute(
            "UPDATE file SET state='verified' WHERE sop_uid=? AND study_id=? AND state IN ('sent','stored')",
            (uid, study_id),
        ).rowcount
    return matched


def take_present(con: sqlite3.Connection, study_id: int, uids: Iterable[str]) -> int:
    """Before sending: instances that are archived already are not sent; return how many."""
    count = 0
    for uid in uids:
        count += con.execute(
            "UPDATE file SET state='present', unit_id=NULL WHERE sop_uid=? AND study_id=?"
            " AND state IN ('planned','sent','stored')",
            (uid, study_id),
        ).rowcount
    return count


def unverified(con: sqlite3.Connection, study_id: int) -> int:
    """Return how many instances should be archived and were not seen there."""
    return con.execute(
        "SELECT count(*) FROM file WHERE study_id=? AND state IN ('sent','stored')", (study_id,)
    ).fetchone()[0]
