"""Zips to begin with, and ways to damage them that know where the records and their fields are."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable, Sequence
from functools import cache

from proofs.unzip_kit import (
    DESCRIPTORS,
    LOCATOR64,
    Entry,
    deflate,
    end_part,
    make_zip,
    unicode_path,
    zip64_field,
)

Mutation = Callable[[random.Random, bytearray, Sequence[bytes]], None]

FIELDS = {
    b"PK\x03\x04": [(4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)],
    b"PK\x01\x02": [(8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2), (38, 4), (42, 4)],
    b"PK\x05\x06": [(4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
    b"PK\x06\x06": [(4, 8), (12, 2), (14, 2), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 8)],
    b"PK\x06\x07": [(4, 4), (8, 8), (16, 4)],
    b"PK\x07\x08": [(4, 4), (8, 4), (12, 4), (8, 8), (16, 8)],
}
VALUES = [0, 1, 2, 3, 4, 7, 8, 12, 0x14, 0x2D, 0x800, 0x808, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF,
          1 << 32, (1 << 64) - 1]  # fmt: skip
SIGNS = list(FIELDS)


def records_of(raw: bytes | bytearray) -> list[int]:
    """Return where records seem to begin."""
    found, at = [], raw.find(b"PK")
    while at >= 0:
        if bytes(raw[at : at + 4]) in FIELDS:
            found.append(at)
        at = raw.find(b"PK", at + 1)
    return found


def flip(rng: random.Random, raw: bytearray, others: Sequence[bytes]) -> None:
    """Flip a bit, or replace some bytes."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(raw))
        raw[at] = raw[at] ^ (1 << rng.randrange(8)) if rng.random() < 0.5 else rng.randrange(256)


def cut(rng: random.Random, raw: bytearray, others: Sequence[bytes]) -> None:
    """Lose the end, the beginning, or a piece between."""
    start, stop = sorted((rng.randrange(len(raw) + 1), rng.randrange(len(raw) + 1)))
    kind = rng.randrange(3)
    if kind == 0:
        del raw[start:]
    elif kind == 1:
        del raw[:start]
    else:
        del raw[start : min(stop, start + rng.choice((1, 4, 30, 400)))]


def add(rng: random.Random, raw: bytearray, others: Sequence[bytes]) -> None:
    """Put bytes in: noise, zeros, a signature, or a piece of the archive again."""
    at = rng.randrange(len(raw) + 1)
    start = rng.randrange(len(raw) or 1)
    piece = raw[start : start + rng.choice((1, 16, 60, 200))]
    raw[at:at] = rng.choice((rng.randbytes(rng.randint(1, 30)), bytes(rng.randint(1, 30)), rng.choice(SIGNS), piece))


def splice(rng: random.Random, raw: bytearray, others: Sequence[bytes]) -> None:
    """Go on with another archive, at a record or anywhere."""
    other = rng.choice(others)
    if rng.random() < 0.5:
        here, there = records_of(raw) or [0], records_of(other) or [0]
        raw[rng.choice(here) :] = other[rng.choice(there) :]
    else:
        raw[rng.randrange(len(raw) + 1) :] = other[rng.randrange(len(other) + 1) :]


def edit(rng: random.Random, raw: bytearray, others: Sequence[bytes]) -> None:
    """Give a field of a record another value: a special one, a near one, or that of another place."""
    places = records_of(raw)
    if not places:
        return
    at = rng.choice(places)
    offset, width = rng.choice(FIELDS[bytes(raw[at : at + 4])])
    at += offset
    if at + width > len(raw):
        return
    true = int.from_bytes(raw[at : at + width], "little")
    value = rng.choice(
        (rng.choice(VALUES), true + rng.choice((-1, 1, 4, 8)), true ^ (1 << rng.randrange(16)), len(raw))
    )
    raw[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")


def shuffle(rng: random.Random, raw: bytearray, others: Sequence[bytes]) -> None:
    """Swap, double, lose or move whole records with what lies behind them."""
    edges = [*records_of(raw), len(raw)]
    parts = [bytes(raw[a:b]) for a, b in itertools.pairwise(edges)]
    if not parts:
        return
    a, b = rng.randrange(len(parts)), rng.randrange(len(parts))
    kind = rng.randrange(4)
    if kind == 0:
        parts[a], parts[b] = parts[b], parts[a]
    elif kind == 1:
        parts.insert(b, parts[a])
    elif kind == 2:
        del parts[a]
    else:
        parts.insert(b, parts.pop(a))
    raw[edges[0] :] = b"".join(parts)


MUTATIONS: list[Mutation] = [flip, flip, cut, add, splice, edit, edit, edit, shuffle]


def mutate(rng: random.Random, seeds: Sequence[bytes]) -> tuple[bytes, str]:
    """Return a damaged archive, or one that was put together from odd parts, and how it was made."""
    if rng.random() < 0.2:
        return compose(rng), "compose"
    raw = bytearray(rng.choice(seeds))
    name = ""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not raw:
            break
        mutation = rng.choice(MUTATIONS)
        mutation(rng, raw, seeds)
        name = name or mutation.__name__
    return bytes(raw), name


@cache
def _packed(data: bytes, level: int) -> bytes:
    return deflate(data, level)


DATA = [b"", b"x", b"data", b"abc" * 30, bytes(70), bytes(3_000), bytes(range(256)), b"PK\x03\x04" * 4, b"PK\x01\x02"]
NAMES = [b"a", b"S/scans/1/b.dcm", b"f/", b"", b"\x81", "ü".encode(), b"a\0b", b"PK\x05\x06", b"n" * 300, b"../x"]
LIES = ["crc", "packed", "size"]


def compose(rng: random.Random) -> bytes:
    """Put an archive together whose records agree with each other, but for a lie now and then."""
    entries = [_entry(rng) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
    end: dict[str, object] = {"is_wide": rng.random() < 0.4}
    if rng.random() < 0.2:
        end["comment"] = rng.choice((b"comment", b"PK\x05\x06", b"PK\x05\x06" + bytes(18), bytes(40)))
    if rng.random() < 0.15:
        lie = rng.choice(("disk", "start_disk", "here", "members", "size", "offset"))
        end[rng.choice(("in_end", "in_wide"))] = {lie: rng.choice((0, 1, 2, 0xFFFF))}
    if rng.random() < 0.1:
        lie = rng.choice(("length", "locator_disk", "disks", "place"))
        end["in_wide"] = {lie: rng.choice((0, 1, 2, 44, 45))}
    if rng.random() < 0.1:
        end["order"] = lambda records: rng.sample(records, len(records))
    if rng.random() < 0.05:
        end[rng.choice(("tail", "before_directory"))] = rng.choice((b"\0", b"PK", b"PK\x07\x08"))
    return make_zip(entries, **end)  # type: ignore[arg-type]


def _entry(rng: random.Random) -> Entry:
    method = rng.choice((0, 8, 8, 8))
    descriptor = rng.choice(("", *DESCRIPTORS)) if method or rng.random() < 0.2 else ""
    name, data = rng.choice(NAMES), rng.choice(DATA)
    extra = b""
    lies: list[dict[str, int]] = [{}, {}, {}]
    if rng.random() < 0.2:
        extra = rng.choice(EXTRAS)
        for size in rng.sample(("size", "packed"), rng.randrange(3)):
            lies[0][size] = 0xFFFFFFFF
    central_extra = extra if rng.random() < 0.7 else b""
    path = unicode_path("名", name, crc=rng.choice((None, None, 1))) if rng.random() < 0.15 else b""
    packed = _packed(data, rng.choice((0, 1, 9))) if method else None
    if rng.random() < 0.1:
        packed = (packed or b"") + rng.choice((b"\0", b"\xff" * 9)) if rng.random() < 0.5 else (packed or data)[:-1]
    if rng.random() < 0.2:
        rng.choice(lies)[rng.choice(LIES)] = rng.choice((0, 1, 4, 0xFFFFFFFF))
    return Entry(
        name=name,
        data=data,
        method=method,
        descriptor=descriptor,
        packed=packed,
        flags=rng.choice((0, 0, 0, 0x800, 0x800, 6, 1, 0x2000)) if rng.random() < 0.5 else 0,
        extra=extra + path,
        central_extra=central_extra + path,
        mode=rng.choice((0, 0o100644, 0o100644, 0o120777, 0o060600)),
        comment=rng.choice((b"", b"", b"", b"comment", LOCATOR)),
        is_wide=rng.random() < 0.2,
        gap=b"\0" if rng.random() < 0.02 else b"",
        in_local=lies[0],
        in_descriptor=lies[1],
        in_central=lies[2],
        disk=rng.choice((1, 0xFFFF)) if rng.random() < 0.05 else 0,
    )


LOCATOR = LOCATOR64.pack(b"PK\x06\x07", 0, 0, 1)
EXTRAS = [
    zip64_field(4), zip64_field(4, 4), zip64_field(0xFFFFFFFF, 0xFFFFFFFF), zip64_field(4, 6, 0),
    struct.pack("<2H", 1, 3) + b"abc", struct.pack("<2H", 7, 9), b"\0\0\0", struct.pack("<2HI", 0x5455, 4, 0),
    struct.pack("<2HB", 0x7075, 1, 1), struct.pack("<2H", 0x7075, 0) * 2,
]  # fmt: skip


def seeds() -> list[bytes]:
    """Return sound archives of every kind the reader knows."""
    kinds = [("", 0), ("", 8), *((name, 8) for name in DESCRIPTORS), ("signed32", 0)]
    singles = [
        make_zip([Entry(descriptor=descriptor, method=method, data=data, is_wide=is_wide, name=b"S/f")])
        for descriptor, method in kinds
        for data in (b"", b"abc" * 9, bytes(range(99)))
        for is_wide in (False, True)
    ]
    many = [Entry(name=b"f%d" % n, method=m, descriptor=d, data=b"%d" % n * 20) for n, (d, m) in enumerate(kinds)]
    odd = [
        Entry(name=b"\x81", extra=unicode_path("名", b"\x81"), central_extra=unicode_path("名", b"\x81")),
        Entry(name=b"link", mode=0o120777),
        Entry(name=b"f/", data=b""),
    ]
    empties = [end_part(members=0, size=0, offset=0, is_wide=is_wide) for is_wide in (False, True)]
    return [
        *singles, *empties, make_zip(many), make_zip(many, is_wide=True, comment=b"comment"), make_zip(odd),
        make_zip([Entry(data=bytes(5_000), method=8, descriptor="signed32")]),
    ]  # fmt: skip


def odd() -> list[bytes]:
    """Return archives that are odd or at fault in one thing each."""
    link = unicode_path("名", b"\x81")
    wide: list[tuple[dict[str, int], bytes]] = [
        ({"size": 0xFFFFFFFF}, zip64_field(4)),
        ({"packed": 0xFFFFFFFF}, zip64_field(len(deflate(b"data")))),
        ({"packed": 0xFFFFFFFF, "size": 0xFFFFFFFF}, zip64_field(4)),
        ({"packed": 0xFFFFFFFF}, zip64_field(4, len(deflate(b"data")))),
        ({"size": 0xFFFFFFFF}, zip64_field(4, 9)),
        ({"size": 0xFFFFFFFF}, struct.pack("<2H", 1, 3) + b"abc"),
        ({"size": 0xFFFFFFFF}, b""),
    ]
    entries = [Entry(method=8, in_local=lie, extra=extra) for lie, extra in wide]
    entries += [Entry(method=8, in_central=lie, central_extra=extra) for lie, extra in wide]
    entries += [Entry(disk=0xFFFF, central_extra=struct.pack("<2HI", 1, 4, disk)) for disk in (0, 1)]
    entries += [Entry(disk=disk) for disk in (1, 0xFFFF)]
    entries += [Entry(extra=extra) for extra in EXTRAS]
    entries += [Entry(flags=flags) for flags in (1, 0x20, 0x40, 0x800, 0x2000)]
    entries += [Entry(method=97, packed=b"data"), Entry(in_local={"size": 3}), Entry(in_local={"crc": 3})]
    entries += [Entry(name=b"\x81", flags=flags, extra=link, central_extra=link) for flags in (0, 0x800)]
    entries += [Entry(mode=mode) for mode in (0, 0o120777, 0o060600)]
    entries += [Entry(in_central=lie) for lie in ({"offset": 1}, {"offset": 999}, {"crc": 1}, {"method": 8})]
    packed = deflate(b"data" * 9)
    for sizes in ("", *DESCRIPTORS):
        for raw in (packed, packed + b"more than that", packed[:-2], b"", b"\xff" * 40):
            entries.append(Entry(data=b"data" * 9, method=8, packed=raw, descriptor=sizes))
        entries.append(Entry(method=8, data=bytes(32), descriptor=sizes))
        entries.append(Entry(method=8, data=bytes(3_000), descriptor=sizes))
    for name in DESCRIPTORS:
        entries += [Entry(method=8, descriptor=name, in_descriptor={lie: 1}) for lie in LIES]
        entries.append(Entry(data=b"x" * 99, descriptor=name, in_local={"size": 0, "packed": 0}))
        entries.append(Entry(data=b"x" * 99, descriptor=name, in_descriptor={"crc": 0}))
    archives = [make_zip([entry, Entry(name=b"b")]) for entry in entries]
    two = [Entry(name=b"a"), Entry(name=b"b")]
    for lie in ("disk", "start_disk", "here", "members", "size", "offset"):
        archives += [make_zip(two, in_end={lie: 1}), make_zip(two, in_end={lie: 1}, is_wide=True)]
        archives.append(make_zip(two, in_wide={lie: 1}, is_wide=True))
    archives += [make_zip(two, is_wide=True, in_wide={lie: 2}) for lie in ("length", "locator_disk", "disks", "place")]
    orders = [lambda r: r[::-1], lambda r: r[:1], lambda r: r * 2, lambda r: r[:1] * 2]
    archives += [make_zip(two, order=order) for order in orders]
    archives += [make_zip(two, before_directory=b"\0"), make_zip(two, tail=b"\0"), b"<html>", b"PK"]
    archives.append(make_zip([Entry(name=b"a"), Entry(name=b"b", gap=b"PK\x07\x08")]))
    archives.append(make_zip([Entry(comment=LOCATOR)]))
    archives.append(make_zip([Entry()], comment=b"PK\x05\x06"))
    # two layouts of a descriptor at once: an empty member whose values are followed by zeros, and two signatures
    archives.append(make_zip([Entry(data=b"", method=8, descriptor="signed32"), Entry(gap=bytes(12))]))
    archives.append(make_zip([Entry(data=b"", method=8, descriptor="signed32", in_descriptor={"crc": 9})]) + bytes(9))
    clash = LOCAL_BEGIN + deflate(b"data") + b"PK\x07\x08" + bytes(8) + b"PK\x03\x04" * 4
    archives.append(clash)
    return archives


LOCAL_BEGIN = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 8, 8, 0, 33, 0, 0, 0, 1, 0) + b"a"
