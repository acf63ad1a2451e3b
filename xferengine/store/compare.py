"""Are two local files equal, byte for byte? Is one equal to what a server knows by its MD5?"""

from __future__ import annotations

import hashlib
from itertools import zip_longest

from xferengine.errors import SourceChanged
from xferengine.model.dicom import SourceRef
from xferengine.store.reader import SourceReader

CHUNK = 1 << 20


def md5_of(reader: SourceReader, source: SourceRef) -> str:
    """Return the MD5 of a local file (blocking), empty when it is no longer as scanned: then nothing is proven."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        for chunk in reader.chunks(source, CHUNK):
            digest.update(chunk)
    except SourceChanged:
        return ""
    return digest.hexdigest()


def equal_bytes(reader: SourceReader, a: SourceRef, b: SourceRef) -> bool:
    """Tell whether two sources hold the same bytes (blocking; stops at the first difference).

    Raises:
        SourceChanged, BadInput: one of them cannot be read as it was scanned.
    """
    if a.size != b.size:
        return False
    return all(x == y for x, y in zip_longest(reader.chunks(a, CHUNK), reader.chunks(b, CHUNK)))
