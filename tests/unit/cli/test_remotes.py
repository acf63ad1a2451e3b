"""Several remotes on one command line, and the second server of a job."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest

from xferengine.cli.remotes import common_profile, with_other
from xferengine.errors import SettingsError
from xferengine.jobs.spec import DownloadSpec, VerifySpec
from xferengine.settings.slices import ServerConfig, Settings


@pytest.mark.parametrize(
    ("texts", "profile", "remotes"),
    [
        ([":P"], "", (":P",)),
        (["site:P/S", "site:Q"], "site", (":P/S", ":Q")),
        ([":P", ":Q", ":P/", ":P"], "", (":P", ":Q")),
        ([":P/S/E/R", ":P/S/E/resources/R"], "", (":P/S/E/resources/R",)),
        ([":*"], "", (":*",)),
    ],
)
def test_one_profile_and_each_remote_once(texts: list[str], profile: str, remotes: tuple[str, ...]) -> None:
    assert common_profile(texts) == (profile, remotes)


@pytest.mark.parametrize("texts", [["a:P", "b:P"], [":P", "b:P"]])
def test_remotes_of_two_servers_are_refused(texts: list[str]) -> None:
    with pytest.raises(click.UsageError, match="one server"):
        common_profile(texts)


def test_what_is_no_remote_is_said() -> None:
    with pytest.raises(SettingsError, match="no remote"):
        common_profile([":P", "/folder"])


class Request:
    """Finds the settings of one other server."""

    def __init__(self, leads_to: str) -> None:
        self.leads_to = leads_to
        self.asked: list[str] = []

    def apart(self) -> Request:
        return self

    def gather_for(self, url: str) -> Any:
        self.asked.append(url)
        return SimpleNamespace(url=self.leads_to)

    def settings(self, gathered: Any) -> Settings:
        return made(gathered.url)


def made(url: str) -> Settings:
    return Settings(server=ServerConfig(url=url), state_dir=Path("/nowhere"))


def test_a_job_with_one_server_needs_no_other() -> None:
    request, settings = Request("http://b"), made("http://a")
    for spec in (
        DownloadSpec(remotes=(":P",), server_url="http://a", target="/out"),
        VerifySpec(a=":P", b="/out", server_url="http://a"),
    ):
        assert with_other(cast("Any", request), settings, spec) is settings
    assert request.asked == []


def test_a_job_with_two_gets_both_and_never_a_wrong_one() -> None:
    spec = VerifySpec(a=":P", b=":Q", server_url="http://a", other_url="http://b")
    found = with_other(cast("Any", Request("http://b")), made("http://a"), spec)
    assert found.server.url == "http://a"
    assert found.other is not None
    assert found.other.server.url == "http://b"
    with pytest.raises(click.UsageError, match="http://b"):
        with_other(cast("Any", Request("http://c")), made("http://a"), spec)
