"""The folder in which jobs live: closed to others, because manifests and reports carry labels."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from xferengine.errors import SettingsError


def open_state_folder(said: str) -> Path:
    """Return the state folder, made with mode 0700 when it is not there.

    Args:
        said: what the person named; empty means the platform's place.

    Raises:
        SettingsError: it cannot be made, or it is open to others and holds something else.
    """
    path = Path(said).expanduser().absolute() if said else platformdirs.user_state_path("xferengine", appauthor=False)
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.name == "posix" and path.stat().st_mode & 0o077:
            _close_to_others(path)
    except OSError as error:
        raise SettingsError(f"the state folder cannot be used: {path}: {error.strerror}", path=str(path)) from error
    return path


def _close_to_others(path: Path) -> None:
    """Change the mode of a folder that is ours; somebody else's is refused, not changed."""
    if not ((path / "catalogue.db").exists() or not any(path.iterdir())):
        raise SettingsError(
            f"the state folder {path} is open to other users and holds other things: give a folder of its own,"
            f" or run  chmod 700 {path}",
            path=str(path),
        )
    path.chmod(0o700)
