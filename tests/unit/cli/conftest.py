"""A terminal that is not one, and an environment without the machine's own settings."""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import anyio
import pytest

import xferengine.jobs
from xferengine.cli import logs
from xferengine.cli.main import call
from xferengine.cli.terminal import Terminal


@dataclass
class Ran:
    code: int
    out: str
    err: str


def make_terminal(**changes) -> Terminal:
    values = {"out": io.StringIO(), "err": io.StringIO(), "width": 100, "can_ask": False, "shows_bars": False}
    terminal = Terminal(**values | changes)
    terminal.run = anyio.run
    return terminal


@pytest.fixture(name="xferengine")
def xferengine_(monkeypatch, tmp_path) -> Callable[..., Ran]:
    """Run a command as the program does, in this process."""
    for name in ("XNAT_URL", "XNAT_HOST", "XNAT_USER", "XNAT_PASS", "XNAT_TOKEN", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XFERENGINE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr("xferengine.settings.load.default_config_path", lambda: tmp_path / "profiles.toml")
    monkeypatch.setattr("xferengine.settings.credentials.open_keyring", lambda: None)

    def run(*args: str, **changes) -> Ran:
        terminal = make_terminal(**changes)
        code = call(terminal, [str(arg) for arg in args])
        return Ran(code, terminal.out.getvalue(), terminal.err.getvalue())  # type: ignore[attr-defined]

    return run


@pytest.fixture
def fake_module(monkeypatch) -> Callable[..., SimpleNamespace]:
    """Stand in for a module of ``xferengine.jobs``: the command line is tested without the engine."""

    def fake(name: str, **members) -> SimpleNamespace:
        module = SimpleNamespace(**members)
        monkeypatch.setitem(sys.modules, f"xferengine.jobs.{name}", module)
        monkeypatch.setattr(xferengine.jobs, name, module, raising=False)
        return module

    return fake


@pytest.fixture(autouse=True)
def no_left_over_logging():
    yield
    logs.close_logging()
    logs.LOGGER.propagate = True
