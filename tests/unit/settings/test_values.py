"""How people write durations, sizes, dates and addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.errors import SettingsError
from xferengine.settings.values import (
    is_loopback,
    origin,
    parse_date,
    parse_duration,
    parse_server,
    parse_size,
    parse_time_of_day,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), (2, 2), ("2d", 172800)]
)
def test_durations(text, seconds):
    assert parse_duration(text, "--x") == seconds


@pytest.mark.parametrize("text", ["", "m", "-1", "1 week", "10mm", "1e3", "٣m"])
def test_bad_durations_name_the_option(text):
    with pytest.raises(SettingsError, match="--min-age"):
        parse_duration(text, "--min-age")


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), (17, 17), ("500M", 500_000_000), ("2Gi", 2 << 30), ("1.5kB", 1500)]
)
def test_sizes(text, size):
    assert parse_size(text, "--x") == size


@pytest.mark.parametrize("text", ["", "M", "-5", "5X", "5i"])
def test_bad_sizes(text):
    with pytest.raises(SettingsError, match="no size"):
        parse_size(text, "--x")


def test_dates_and_times():
    assert parse_date("20240131", "--since") == "2024-01-31"
    assert parse_time_of_day("6:05", "--until") == "06:05"
    with pytest.raises(SettingsError, match="YYYY-MM-DD"):
        parse_date("31.1.2024", "--since")
    with pytest.raises(SettingsError, match="HH:MM"):
        parse_time_of_day("24:00", "--until")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("xnat.example.org", "https://xnat.example.org"),
        ("localhost:8080", "http://localhost:8080"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("https://XNAT.example.org:443/xnat/", "https://xnat.example.org/xnat"),
        ("http://host:81//", "http://host:81"),
    ],
)
def test_addresses(text, url):
    assert parse_server(text) == url


@pytest.mark.parametrize(
    "text", ["ftp://x", "https://", "https://h:port", "https://h/?a=b", "https://h#f", "a b", "http://h\n/"]
)
def test_bad_addresses(text):
    with pytest.raises(SettingsError, match="address"):
        parse_server(text)


def test_password_in_address_is_not_repeated():
    with pytest.raises(SettingsError) as caught:
        parse_server("https://jane:hunter2@host")
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_our_error(text):
    try:
        url = parse_server(text)
    except SettingsError:
        return
    assert parse_server(url) == url
    assert origin(url)[0] in {"http", "https"}


def test_loopback():
    assert is_loopback("127.8.8.8")
    assert is_loopback("[::1]")
    assert is_loopback("localhost")
    assert not is_loopback("localhost.example.org")
    assert not is_loopback("10.0.0.1")
