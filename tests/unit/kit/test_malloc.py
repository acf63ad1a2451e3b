"""The allocator is tuned only where there is a glibc, and only when asked."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from xferengine.kit.malloc import tune_malloc


def test_tuning_works_in_a_process_of_its_own() -> None:
    """Not in this one: it would change the whole test run."""
    code = "from xferengine.kit.malloc import tune_malloc; print(tune_malloc())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    expected = sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
    assert answer == str(expected)


def test_nothing_happens_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert tune_malloc() is False


def test_nothing_happens_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert tune_malloc() is False
