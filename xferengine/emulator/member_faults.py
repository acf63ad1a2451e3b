"""What faults make of a member of an archive: other names, links, extra and missing members, wrong CRCs (FIL 11.17)."""

from __future__ import annotations

from dataclasses import replace

from xferengine.emulator.archive_members import Member
from xferengine.emulator.faults import Kind, Rule

_OTHER_BYTES = b"these bytes belong to no file\n"


def changed(member: Member, rule: Rule) -> list[Member]:
    """Return what stands in an archive in the place of a member that a fault strikes."""
    name = rule.label.replace("{name}", member.name)
    match rule.kind:
        case Kind.MEMBER_RENAMED:
            return [replace(member, name=name)]
        case Kind.MEMBER_EXTRA:
            return [replace(member, name=name, data=_OTHER_BYTES, may_repeat=True), member]
        case Kind.MEMBER_LINK:
            return [replace(member, data=name.encode(), is_link=True)]
        case Kind.MEMBER_MISSING:
            return []
        case Kind.MEMBER_TWICE:
            return [member, replace(member, data=_OTHER_BYTES, may_repeat=True)]
        case Kind.MEMBER_CRC:
            return [replace(member, has_wrong_crc=True)]
        case Kind.MEMBER_LONGER:
            return [replace(member, extra=bytes(rule.limit_bytes or 1))]
        case _:
            return [member]
