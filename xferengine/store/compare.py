"""Are two local files equal, byte for byte?"""

from __future__ import annotations

from itertools import zip_longest

from xferengine.model.dicom import SourceRef
from xferengine.store.reader import SourceReader

CHUNK = 1 << 20


def equal_bytes(reader: SourceReader, a: SourceRef, b: SourceRef) -> bool:
    """Tell whether two sources hold the same bytes (blocking; stops at the first difference).

    Raises:
        SourceChanged, BadInput: one of them cannot be read as it was scanned.
    """
    if a.size != b.size:
        return False
    return all(x == y for x, y in zip_longest(reader.chunks(a, CHUNK), reader.chunks(b, CHUNK)))
