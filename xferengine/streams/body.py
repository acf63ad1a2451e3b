"""What a request sends: a stream of bytes that can be read again from its first byte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol


class Body(Protocol):
    """A request body that can be rewound (the HTTP client declares the same shape for itself)."""

    @property
    def content_length(self) -> int | None:
        """Exact bytes, or None: sent chunked."""
        ...

    @property
    def content_type(self) -> str:
        """MIME type, without parameters."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes from the first one; each call starts again."""
        ...
