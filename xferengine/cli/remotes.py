"""Remotes on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from xferengine.model.remote import parse_remote

if TYPE_CHECKING:
    from xferengine.cli.options import Request
    from xferengine.jobs.spec import AnySpec
    from xferengine.settings.slices import Settings


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


def with_other(request: Request, settings: Settings, spec: AnySpec) -> Settings:
    """Return the settings of a job that goes on, with those of its second server where it has one.

    Raises:
        click.UsageError: nothing leads to that server.
    """
    url = getattr(spec, "other_url", "")
    if not url:
        return settings
    apart = request.apart()
    gathered = apart.gather_for(url)
    if gathered.url != url:
        raise click.UsageError(f"the other server of this job is {url}, not {gathered.url}")
    return msgspec.structs.replace(settings, other=apart.settings(gathered))
