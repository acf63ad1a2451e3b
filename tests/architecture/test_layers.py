"""The direction of dependencies (design 3): every import of every module is on the list of allowed arrows."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "xferengine"

BOTTOM = {"model", "kit", "settings"}
MIDDLE = {"schedule", "manifest", "streams", "store", "xnat"}
FACE = {"__init__", "__main__", "_version"}

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "_version": set(),
    **{name: {"errors", "_version"} for name in BOTTOM},
    **{name: {"errors", "_version"} | BOTTOM for name in MIDDLE},
    "jobs": {"errors", "_version"} | BOTTOM | MIDDLE,
    "cli": {"errors", "_version", "jobs"} | BOTTOM | MIDDLE,
    "emulator": {"_version"},
    "__init__": {"errors", "_version", "jobs", "settings", "model"},
    "__main__": {"cli"},
}

MAY_START_THE_EMULATOR = {"cli/commands/emulator.py", "cli/commands/demo.py"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def part_of(path: Path) -> str:
    """First folder below the package, or the module's own name."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported_parts(source: str, package: tuple[str, ...]) -> set[str]:
    """Parts of the engine that ``source`` imports; ``package`` is the package that the module lies in."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join((*base, *([node.module] if node.module else [])))
            names = [prefix, *(f"{prefix}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {parts[1] for name in names if (parts := name.split("."))[0] == "xferengine" and len(parts) > 1}
    known = {part_of(path) for path in modules()}
    return found & known


def package_of(path: Path) -> tuple[str, ...]:
    return ("xferengine", *path.relative_to(PACKAGE).parts[:-1])


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_what_its_layer_may(path: Path) -> None:
    part = part_of(path)
    allowed = ALLOWED[part] | {part}
    if str(path.relative_to(PACKAGE).as_posix()) in MAY_START_THE_EMULATOR:
        allowed |= {"emulator"}

    forbidden = imported_parts(path.read_text(encoding="utf-8"), package_of(path)) - allowed

    assert not forbidden, f"{path.relative_to(PACKAGE)} may not import {sorted(forbidden)}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import xferengine.xnat.http", {"xnat"}),
        ("from xferengine import streams", {"streams"}),
        ("from xferengine.manifest.store import open_store", {"manifest"}),
        ("def f():\n    from xferengine.jobs import spec", {"jobs"}),
        ("from ..schedule import lanes", {"schedule"}),
        ("from . import lanes", {"kit"}),
        ("import json", set()),
    ],
)
def test_every_form_of_import_is_seen(source: str, expected: set[str]) -> None:
    assert imported_parts(source, ("xferengine", "kit")) == expected


def test_no_import_hides_from_the_parser() -> None:
    for path in modules():
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        names = {node.func.id for node in calls if isinstance(node.func, ast.Name)}
        assert "__import__" not in names, path


def test_the_names_on_the_face_are_these() -> None:
    face = importlib.import_module("xferengine")

    assert set(face.__all__) == {
        "VERSION",
        "Credentials",
        "Disposition",
        "DownloadSpec",
        "Event",
        "FilesSpec",
        "ItemReport",
        "JobReport",
        "PlanView",
        "RunOptions",
        "Settings",
        "StudyReport",
        "Summary",
        "UploadSpec",
        "VerifySpec",
        "XferError",
        "load_settings",
        "run_job",
        "run_job_sync",
    }
    assert all(hasattr(face, name) for name in face.__all__)
