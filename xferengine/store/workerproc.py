"""The program of a worker process: frames with paths in, frames with batches of results out.

A process of its own entry point, not ``multiprocessing``: the caller's ``__main__`` is never imported again (scripts,
notebooks), and the pipe is the leash: when the parent dies, however it dies, the next read finds the end of the pipe
and the worker ends.

A frame is a length of 4 bytes (little endian), one kind byte, and msgpack. The first frame carries the rules; then each
frame of paths is answered by any number of ``BATCH`` frames and one ``DONE``.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import BinaryIO

import msgspec

from xferengine.store.probe import ProbeRules, probe_paths

BATCH, DONE, CRASH = b"b", b"d", b"c"
HEAD_BYTES = 5

_encoder = msgspec.msgpack.Encoder()
_decode_rules = msgspec.msgpack.Decoder(ProbeRules).decode
_decode_paths = msgspec.msgpack.Decoder(list[str]).decode


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return len(payload).to_bytes(4, "little") + kind + payload


def main() -> None:
    """Serve until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent drains on an interrupt, then closes the pipe
    inbox = os.fdopen(os.dup(0), "rb", buffering=0)
    outbox = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # a stray print must not look like a frame
    try:
        _serve(inbox, outbox)
    except BrokenPipeError:
        pass  # the parent is gone: nobody to tell
    except Exception:
        _write(outbox, frame(CRASH, traceback.format_exc().encode("utf-8", "replace")))
        raise
    sys.stdout.flush()
    os._exit(0)  # closing every module takes longer than reading some hundred headers


def _serve(inbox: BinaryIO, outbox: BinaryIO) -> None:
    first = _read_frame(inbox)
    if first is None:
        return
    rules = _decode_rules(first)
    while (request := _read_frame(inbox)) is not None:
        for batch in probe_paths(_decode_paths(request), rules):
            _write(outbox, frame(BATCH, _encoder.encode(batch)))
        _write(outbox, frame(DONE))


def _read_frame(inbox: BinaryIO) -> bytes | None:
    head = _read_exactly(inbox, HEAD_BYTES)
    if head is None:
        return None
    return _read_exactly(inbox, int.from_bytes(head[:4], "little"))


def _read_exactly(inbox: BinaryIO, count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        more = inbox.read(count - len(data))
        if not more:
            return None
        data += more
    return data


def _write(outbox: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[outbox.write(view) :]
