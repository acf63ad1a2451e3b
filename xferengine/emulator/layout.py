"""Paths inside downloaded archives: the four `structure=` layouts with their textual replacements (FIL 2.1)."""

from __future__ import annotations

import re

from xferengine.emulator.holders import Holder
from xferengine.emulator.http import Query

_UPPER = {"/scans/": "/SCANS/", "/assessors/": "/ASSESSORS/"}


def archive_path(holder: Holder, label: str, uri: str, query: Query, *, named_scans: bool) -> str:
    """Return the path of a file in an archive.

    Args:
        holder: What has the resource.
        label: Label of the resource, or its number.
        uri: Path of the file below the resource.
        query: Holds `structure`.
        named_scans: The URL named scans, which adds the scan type to the scan's folder.
    """
    structure = query.get("structure")
    if structure == "improved":
        return f"{holder.category}/{_reserved(f'{holder.cat_id}_{holder.cat_desc}')}/{label}/{uri}"
    if structure == "legacy":
        path = f"{holder.archive_path}/{label}/{uri}"
        for lower, upper in _UPPER.items():
            path = path.replace(lower, upper, 1)
        return path
    path = f"{holder.archive_path}/resources/{label}/files/{uri}"
    if structure == "simplified":
        # Every occurrence goes, also inside the file's own path (FIL 2.1).
        return path.replace("/resources", "").replace("/files", "")
    if named_scans and holder.category == "scans" and holder.cat_desc:
        # Textual as well: every folder named like the scan gets the suffix.
        kind = re.sub(r"\W", "_", holder.cat_desc, flags=re.ASCII)
        path = path.replace(f"/{holder.cat_id}/", f"/{holder.cat_id}-{kind}/")
    return path


def _reserved(name: str) -> str:
    return re.sub(r'[<>:"/\\|?*]', "_", name)
