"""Keeping one worker process at work, and finding the file that kills it."""

from __future__ import annotations

from collections import deque

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from xferengine.errors import LocalError
from xferengine.model.dicom import ProblemKind, ScanBatch, ScanProblem
from xferengine.store.containers import container_by_name
from xferengine.store.probe import ProbeRules
from xferengine.store.workers import HeaderWorker, WorkerLost, open_worker

_IN_PIPE = 2
"""Requests a worker holds: one it works on, one waiting in its pipe."""
_MOST_LOSSES = 8


class _InFlight:
    """Requests a worker has not answered yet, and what came of the oldest one."""

    def __init__(self) -> None:
        self.requests: deque[list[str]] = deque()
        self.again: deque[list[str]] = deque()
        self.answered: set[str] = set()
        self.losses = 0
        """In a row, without an answer in between."""

    def note(self, batch: ScanBatch) -> None:
        """Remember which paths of the oldest request have results."""
        self.answered.update(found.source.path for found in (*batch.files, *batch.others))
        named = {problem.shown for problem in batch.problems}
        self.answered.update(path for path in self.requests[0] if path in named)
        containers = {path for path in self.requests[0] if any(name.startswith(f"{path}!") for name in named)}
        self.answered |= containers

    def done(self) -> None:
        """The oldest request was answered fully."""
        self.requests.popleft()
        self.answered.clear()
        self.losses = 0

    def lost(self) -> list[ScanProblem]:
        """The worker died: ask again file by file; a file that was asked alone is given up."""
        problems: list[ScanProblem] = []
        self.losses += 1
        for request in reversed(self.requests):
            is_oldest = request is self.requests[0]
            left = [path for path in request if not (is_oldest and path in self.answered)]
            if is_oldest and len(request) == 1:
                problems.append(_fatal(request[0]))
                continue
            if is_oldest and self.answered:
                begun = [path for path in request if path in self.answered][-1]
                problems += [_fatal(begun)] if container_by_name(begun) else []
            self.again.extendleft([path] for path in reversed(left))
        self.requests.clear()
        self.answered.clear()
        return problems


def _fatal(path: str) -> ScanProblem:
    detail = "the process that read its header was killed by it, or by the system (out of memory?)"
    return ScanProblem(shown=path, kind=ProblemKind.UNREADABLE, detail=detail)


async def run_worker(
    rules: ProbeRules, requests: MemoryObjectReceiveStream[list[str]], out: MemoryObjectSendStream[ScanBatch]
) -> None:
    """Keep one process at work; when it dies, start another and find out which file it was.

    Args:
        rules: for the process.
        requests: lists of paths; closed here.
        out: where the results go.

    Raises:
        LocalError: processes cannot be started, or end at once again and again.

    Cancellation: the process is ended; requests it had taken are lost with the scan.
    """
    state = _InFlight()
    with requests:
        while True:
            try:
                async with open_worker(rules) as worker:
                    await _serve(worker, state, requests, out)
                    return
            except WorkerLost as lost:
                problems = state.lost()
                if state.losses > _MOST_LOSSES:
                    raise LocalError("the processes that read headers end as soon as they are started") from lost
            if problems:
                await out.send(ScanBatch(problems=tuple(problems)))


async def _serve(
    worker: HeaderWorker,
    state: _InFlight,
    requests: MemoryObjectReceiveStream[list[str]],
    out: MemoryObjectSendStream[ScanBatch],
) -> None:
    """Feed a worker and pass its answers on, until there are no more requests.

    Raises:
        WorkerLost: it died; ``state`` knows what is open.
    """
    room = anyio.Semaphore(_IN_PIPE)
    sent, answers = anyio.create_memory_object_stream[None](_IN_PIPE)

    async def feed() -> None:
        async with sent:
            while True:
                await room.acquire()
                request = await _next_request(state, requests)
                if request is None:
                    return
                state.requests.append(request)
                await sent.send(None)
                await worker.send(request)

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(feed)
            with answers:
                async for _ in answers:
                    async for batch in worker.batches():
                        state.note(batch)
                        await out.send(batch)
                    state.done()
                    room.release()
    except BaseExceptionGroup as many:
        lost, rest = many.split(WorkerLost)
        if rest is not None or lost is None:
            raise
        raise WorkerLost("ended") from many


async def _next_request(state: _InFlight, requests: MemoryObjectReceiveStream[list[str]]) -> list[str] | None:
    if state.again:
        return state.again.popleft()
    try:
        return await requests.receive()
    except anyio.EndOfStream:
        return None
