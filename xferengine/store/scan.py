"""A scan of local input: walk, headers in worker processes, results as a bounded stream of batches."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from xferengine.model.dicom import ScanBatch
from xferengine.store.containers import container_by_name
from xferengine.store.feeding import run_worker
from xferengine.store.fields import wanted_fields
from xferengine.store.probe import ProbeRules, probe_paths
from xferengine.store.walk import WalkBatch, check_paths, walk_files
from xferengine.store.workers import can_start_workers

_MOST_WORKERS = 4
_QUEUE_BATCHES = 4
_INLINE_PATHS = 32
_INLINE_CONTAINER_BYTES = 128 << 20


@dataclass(frozen=True, kw_only=True)
class ScanConfig:
    """What to scan, and how.

    Memory is at most about ``batch_files`` × (``workers`` × 3 + 8) results of about 1.5 kB each.
    """

    paths: tuple[str, ...]
    keywords: tuple[str, ...] = ()
    """DICOM keywords to read besides ``STUDY_KEYWORDS``."""
    workers: int = 0
    """Processes; 0 means one per core, at most 4."""
    min_age_s: float = 0.0
    """Files changed more recently than this are ``TOO_YOUNG``; 0: no such rule."""
    now_ns: Callable[[], int] = time.time_ns
    """Wall clock in nanoseconds."""
    batch_files: int = 256
    """Most results in one batch, and paths in one request to a worker."""
    inline_files: int = 300
    """Up to this many files are read without starting processes."""


@asynccontextmanager
async def open_scan(config: ScanConfig) -> AsyncIterator[MemoryObjectReceiveStream[ScanBatch]]:
    """Scan the paths of a config.

    Args:
        config: what and how.

    Yields:
        A stream of batches in no promised order; it ends when everything was looked at. Reading slowly slows the scan.

    Raises:
        BadInput: a path does not exist (before anything is read).
        SettingsError: a keyword is unknown.
        LocalError: worker processes cannot be started.

    Cancellation: worker processes are killed and waited for; nothing is left behind. Safe to repeat.
    """
    roots = await anyio.to_thread.run_sync(check_paths, config.paths)
    newest_ns = config.now_ns() - int(config.min_age_s * 1e9) if config.min_age_s > 0 else None
    fields = wanted_fields(config.keywords).fields
    rules = ProbeRules(fields=fields, newest_ns=newest_ns, batch_files=config.batch_files)
    send, receive = anyio.create_memory_object_stream[ScanBatch](_QUEUE_BATCHES)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_run_scan, config, roots, rules, send, name="scan")
            with receive:
                yield receive
            group.cancel_scope.cancel()
    except BaseExceptionGroup as many:
        only = _only_one(many)
        if only is None:
            raise
        raise only from only.__cause__  # the caller's own error, or one of the scan: not a group to anybody


def _only_one(many: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """Return the exception inside nested groups when there is just one."""
    if len(many.exceptions) != 1:
        return None
    (inner,) = many.exceptions
    return _only_one(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def _run_scan(
    config: ScanConfig, roots: list[str], rules: ProbeRules, out: MemoryObjectSendStream[ScanBatch]
) -> None:
    async with out:
        with closing(walk_files(roots, batch_files=config.batch_files)) as walk:
            first: list[str] = []
            container_bytes, is_all = 0, False
            while len(first) < config.inline_files and container_bytes < _INLINE_CONTAINER_BYTES:
                batch = await _next_walked(walk, out)
                if batch is None:
                    is_all = True
                    break
                first += batch.paths
                container_bytes += await anyio.to_thread.run_sync(_container_bytes, batch.paths)
            if (is_all and len(first) < config.inline_files) or not can_start_workers():
                await _scan_inline(first, walk, rules, out)
            else:
                await _scan_with_workers(config, first, walk, rules, out)


async def _next_walked(walk: Iterator[WalkBatch], out: MemoryObjectSendStream[ScanBatch]) -> WalkBatch | None:
    """Return the next batch of the walk (in a thread), after passing on what the walk itself found."""
    batch = await anyio.to_thread.run_sync(next, walk, None)
    if batch is not None and (batch.problems or batch.others):
        await out.send(ScanBatch(problems=tuple(batch.problems), others=tuple(batch.others)))
    return batch


def _container_bytes(paths: list[str]) -> int:
    """Return the size of the containers among ``paths``; many bytes are worth a process although they are few files."""
    total = 0
    for path in paths:
        if container_by_name(path) is not None and os.path.exists(path):
            total += os.path.getsize(path)
    return total


async def _scan_inline(
    first: list[str], walk: Iterator[WalkBatch], rules: ProbeRules, out: MemoryObjectSendStream[ScanBatch]
) -> None:
    while True:
        for at in range(0, len(first), _INLINE_PATHS):
            batches = probe_paths(first[at : at + _INLINE_PATHS], rules)
            while (batch := await anyio.to_thread.run_sync(next, batches, None)) is not None:
                await out.send(batch)
        walked = await _next_walked(walk, out)
        if walked is None:
            return
        first = walked.paths


async def _scan_with_workers(
    config: ScanConfig,
    first: list[str],
    walk: Iterator[WalkBatch],
    rules: ProbeRules,
    out: MemoryObjectSendStream[ScanBatch],
) -> None:
    workers = config.workers or min(_MOST_WORKERS, os.cpu_count() or 1)
    send, receive = anyio.create_memory_object_stream[list[str]](workers)
    async with anyio.create_task_group() as group:
        with receive:
            for number in range(workers):
                group.start_soon(run_worker, rules, receive.clone(), out, name=f"header-worker-{number}")
        async with send:
            paths = first
            while True:
                for request in _requests(paths, config.batch_files):
                    await send.send(request)
                walked = await _next_walked(walk, out)
                if walked is None:
                    return
                paths = walked.paths


def _requests(paths: list[str], batch_files: int) -> Iterator[list[str]]:
    """Cut paths into requests; a container goes alone, so that others do not wait behind it."""
    plain: list[str] = []
    for path in paths:
        if container_by_name(path) is not None:
            yield [path]
            continue
        plain.append(path)
        if len(plain) >= batch_files:
            yield plain
            plain = []
    if plain:
        yield plain
