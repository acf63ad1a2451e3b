"""Remotes on the command line."""

from __future__ import annotations

from collections.abc import Sequence

import click

from xferengine.model.remote import parse_remote


def common_profile(texts: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the profile of several remotes, and the remotes without it, each once and in order.

    Raises:
        SettingsError: a text is no remote.
        click.UsageError: they belong to several servers.
    """
    remotes = [parse_remote(text) for text in texts]
    profiles = {remote.profile for remote in remotes}
    if len(profiles) > 1:
        raise click.UsageError("all remotes of one command lie on one server: give one profile")
    return profiles.pop(), tuple(dict.fromkeys(f":{remote.text}" for remote in remotes))
