"""Which branches of a module were taken, by the instructions that were run: slow, exact, and without a library.

A branch is a conditional jump of the compiled code with one of its two ways, so ``a and b`` has as many as it should.
Entries of functions count too. Left out are assertions, ``except`` clauses that do not match, stubs, and generator
expressions (those here run at import).
"""

from __future__ import annotations

import dis
import inspect
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, NamedTuple

_ENTRY = -1
_LEFT_OUT = ("assert ", "except ")


class Branch(NamedTuple):
    """One way of one jump."""

    file: str
    first_line: int
    """Of the function."""
    start: int
    """Offset of the jump, or -1 for the entry of the function."""
    target: int


class Branches:
    """All branches of some modules, and those that were taken while ``watching``."""

    def __init__(self, modules: Iterable[ModuleType]) -> None:
        self._lines: dict[Branch, str] = {}
        self._left_of: dict[tuple[str, int], set[Branch]] = {}
        self.taken: set[Branch] = set()
        for module in modules:
            path = Path(inspect.getfile(module))
            source = path.read_text(encoding="utf-8")
            for code in _functions(compile(source, str(path), "exec")):
                found = dict(_branches(code, path.name, source.splitlines()))
                self._left_of[path.name, code.co_firstlineno] = set(found)
                self._lines.update(found)

    @property
    def all(self) -> set[Branch]:
        """Every branch there is."""
        return set(self._lines)

    @property
    def count(self) -> int:
        """Number of branches there are."""
        return len(self._lines)

    @property
    def left(self) -> list[str]:
        """Branches that were never taken, for reading."""
        return sorted(text for branch, text in self._lines.items() if branch not in self.taken)

    @contextmanager
    def watching(self, *, only_new: bool = False) -> Iterator[set[Branch]]:
        """Record the branches taken inside; yields the set that fills up.

        ``only_new`` leaves functions alone of which nothing is left, which is many times faster.
        """
        seen: set[Branch] = set()
        before = sys.gettrace()
        sys.settrace(self._tracer(seen, only_new=only_new))
        try:
            yield seen
        finally:
            sys.settrace(before)
            seen &= self._lines.keys()
            self.taken |= seen
            for branch in seen:
                self._left_of[branch.file, branch.first_line].discard(branch)

    def _tracer(self, seen: set[Branch], *, only_new: bool) -> Callable[[FrameType, str, Any], Any]:
        names: dict[CodeType, tuple[str, int] | None] = {}

        def enter(frame: FrameType, event: str, arg: object) -> object:
            code = frame.f_code
            if code not in names:
                key = Path(code.co_filename).name, code.co_firstlineno
                is_watched = "streams" in code.co_filename and key in self._left_of
                names[code] = key if is_watched and (self._left_of[key] or not only_new) else None
            key = names[code]
            if key is None:
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            last = _ENTRY

            def step(frame: FrameType, event: str, arg: object) -> object:
                nonlocal last
                if event == "opcode":
                    seen.add(Branch(*key, last, _ENTRY if last == _ENTRY else frame.f_lasti))
                    last = frame.f_lasti
                return step

            return step

        return enter


def _functions(code: CodeType) -> Iterator[CodeType]:
    if code.co_flags & inspect.CO_OPTIMIZED and not _is_stub(code):
        yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _functions(constant)


def _is_stub(code: CodeType) -> bool:
    """Tell whether a function does nothing, is to be overridden, or runs once at import."""
    steps = [step.opname for step in dis.get_instructions(code)]
    return steps == ["RESUME", "LOAD_CONST", "RETURN_VALUE"] or (
        "NotImplementedError" in code.co_names or code.co_name == "<genexpr>"
    )


def _branches(code: CodeType, file: str, source: list[str]) -> Iterator[tuple[Branch, str]]:
    yield (
        Branch(file, code.co_firstlineno, _ENTRY, _ENTRY),
        f"{file}:{code.co_firstlineno} {code.co_qualname} never ran",
    )
    steps = list(dis.get_instructions(code))
    lines = {step.offset: step.positions.lineno for step in steps if step.positions}
    for step, following in itertools.pairwise(steps):
        is_jump = ("JUMP" in step.opname and "IF" in step.opname) or step.opname == "FOR_ITER"
        line = lines.get(step.offset) or code.co_firstlineno
        if not is_jump or source[line - 1].strip().startswith(_LEFT_OUT):
            continue
        for target in (following.offset, step.argval):
            text = f"{file}:{line} never went on to line {lines.get(target)}: {source[line - 1].strip()}"
            yield Branch(file, code.co_firstlineno, step.offset, target), text
