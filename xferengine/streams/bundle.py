"""Bundles: many files as one request body, framed as a zip while it is sent. ``passes`` does the reading."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Self

from xferengine.streams import zipframe
from xferengine.streams.deflated import DeflatedPass
from xferengine.streams.entries import BundleEntry, BundleKit, SourceReader
from xferengine.streams.loopguard import LoopGuard
from xferengine.streams.passes import BundlePass

__all__ = ["BundleEntry", "BundleKit", "DeflatedBundle", "LoopGuard", "SourceReader", "StoredBundle"]


class StoredBundle:
    """A body of stored entries; ``content_length`` is exact. Use it in a ``with``: leaving gives the budget back.

    Args:
        entries: in the order they are sent.
        kit: what all bundles of the job share.
    """

    content_type = "application/zip"

    def __init__(self, entries: Sequence[BundleEntry], kit: BundleKit) -> None:
        self._entries = tuple(entries)
        self._kit = kit
        self._pass: BundlePass = self._new_pass()
        self._length = zipframe.total_length((entry.name, entry.source.size) for entry in self._entries)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.entries_sent} of {len(self._entries)} entries sent)"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._pass.close()

    @property
    def content_length(self) -> int | None:
        """Exact bytes, or None: sent chunked."""
        return self._length

    @property
    def crcs(self) -> dict[int, int]:
        """CRC-32 by index of the entry, as far as the last pass got."""
        return self._pass.crcs

    @property
    def entries_sent(self) -> int:
        """Entries whose last byte the network took in the last pass."""
        return self._pass.entries_sent

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the zip from its first byte; an earlier pass is given up.

        Raises:
            SourceChanged: a file is not what it was when it was scanned.
            XferError: whatever else the reader raises.

        Cancellation: leave the ``with`` block to give the budget back.
        """
        self._pass.close()
        self._pass = self._new_pass()
        return self._pass.run()

    def _new_pass(self) -> BundlePass:
        return BundlePass(self._entries, self._kit)


class DeflatedBundle(StoredBundle):
    """A body of deflated entries; ``content_length`` is None. Use it in a ``with``."""

    @property
    def content_length(self) -> int | None:
        """None: sent chunked."""
        return None

    def _new_pass(self) -> BundlePass:
        return DeflatedPass(self._entries, self._kit)
