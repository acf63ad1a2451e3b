"""What an answer means: one table of statuses and texts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.errors import (
    AccessDenied,
    Ambiguous,
    BodyTooLarge,
    Conflict,
    Disposition,
    LoginExpired,
    NotFound,
    ProtocolViolation,
    ReadInterrupted,
    Rejected,
    RemoteError,
    ServerFault,
    Throttled,
)
from xferengine.xnat.faults import (
    ConcurrentSend,
    ImportReadError,
    SessionLocked,
    UnreadableEntry,
    is_decided,
    judge,
    retry_after,
    server_text,
)
from xferengine.xnat.transport import Answer, Kind, Request

PAGE = "<html><head><title>Status page</title></head><body><h3>{}</h3><p><a href='x'>technical details</a></p></html>"
LABEL = "DOE^JANE"


def asked(kind: Kind = Kind.LISTING, **more) -> Request:
    return Request(method="GET", segments=("data", "projects", LABEL), query=(("q", LABEL),), kind=kind, **more)


def page(status: int, text: str, **headers: str) -> Answer:
    return Answer(
        status=status, content_type="text/html; charset=utf-8", body=PAGE.format(text).encode(), headers=headers
    )


def error_of(request: Request, answer: Answer) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        judge(request, answer)
    return caught.value


def outcome(request: Request, answer: Answer) -> RemoteError | None:
    try:
        judge(request, answer)
    except RemoteError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("status", "text", "kind", "error"),
    [
        (204, "", Kind.LISTING, ProtocolViolation),
        (204, "", Kind.COMMIT, Ambiguous),
        (301, "", Kind.COMMIT, Rejected),
        (302, "", Kind.COMMIT, LoginExpired),
        (303, "", Kind.IMPORT, LoginExpired),
        (308, "", Kind.LISTING, Rejected),
        (400, "x", Kind.LISTING, Rejected),
        (400, "unable to read data from file", Kind.IMPORT, ImportReadError),
        (400, "Concurrent file sends of the same data is not supported.", Kind.IMPORT, ConcurrentSend),
        (400, "unable to read DICOM object 1.2.dcm", Kind.IMPORT, UnreadableEntry),
        (400, "object 1.2.dcm contains no SOP Class UID", Kind.IMPORT, UnreadableEntry),
        (401, "", Kind.IMPORT, LoginExpired),
        (403, "x", Kind.COMMIT, AccessDenied),
        (403, "Operation already in progress on this prearchive entry.", Kind.COMMIT, SessionLocked),
        (404, "x", Kind.LISTING, NotFound),
        (408, "", Kind.IMPORT, ReadInterrupted),
        (409, "x", Kind.COMMIT, Conflict),
        (409, "session document locked", Kind.COMMIT, SessionLocked),
        (413, "", Kind.IMPORT, BodyTooLarge),
        (417, "", Kind.IMPORT, Rejected),
        (423, "", Kind.COMMIT, SessionLocked),
        (429, "", Kind.COMMIT, Throttled),
        (500, "", Kind.LISTING, ServerFault),
        (500, "", Kind.IMPORT, ServerFault),
        (500, "", Kind.COMMIT, Ambiguous),
        (502, "", Kind.LISTING, ServerFault),
        (502, "", Kind.IMPORT, Ambiguous),
        (503, "", Kind.COMMIT, Throttled),
        (504, "", Kind.IMPORT, Ambiguous),
        (504, "", Kind.COMMIT, Ambiguous),
        (524, "", Kind.IMPORT, Ambiguous),
    ],
)
def test_status_and_text_become_one_class(status: int, text: str, kind: Kind, error: type[RemoteError]) -> None:
    got = error_of(asked(kind), page(status, text))
    assert type(got) is error
    assert got.status == status


@pytest.mark.parametrize("status", [200, 201])
def test_good_answers_pass(status: int) -> None:
    answer = Answer(status=status, content_type="application/json", body=b"{}")
    assert judge(asked(), answer) is answer


def test_only_asked_for_redirects_are_answers() -> None:
    answer = Answer(status=303, content_type="")
    assert judge(asked(ok=frozenset({200, 303})), answer) is answer
    assert isinstance(error_of(asked(), answer), LoginExpired)


@pytest.mark.parametrize(
    ("kind", "body", "is_login"),
    [
        ("text/html", "  \n<!DOCTYPE html><html>", True),
        ("text/html;charset=utf-8", "<html>", True),
        ("application/xhtml+xml", "<html>", True),
        ("text/html", '{"duplicates":[]}', False),
        ("text/html", "/data/prearchive/projects/P/T/F", False),
        ("text/html", "", False),
        ("text/xml", "<catalog/>", False),
    ],
)
def test_a_page_where_data_was_due_is_the_end_of_the_login(kind: str, body: str, is_login: bool) -> None:
    answer = Answer(status=200, content_type=kind, body=body.encode())
    if is_login:
        assert isinstance(error_of(asked(), answer), LoginExpired)
        assert judge(asked(html_ok=True), answer) is answer
    else:
        assert judge(asked(), answer) is answer


def test_the_name_of_an_unreadable_entry() -> None:
    assert error_of(asked(), page(400, "unable to read DICOM object 1.2.3.dcm")).name == "1.2.3.dcm"  # type: ignore[attr-defined]
    ours = error_of(asked(), page(400, "object 1.2.3.dcm contains no SOP Instance UID"))
    theirs = error_of(asked(), page(400, f"unable to read DICOM object {LABEL}.dcm"))
    assert "1.2.3.dcm" in ours.message
    assert LABEL not in theirs.message


@given(st.integers(200, 599), st.sampled_from(list(Kind)), st.text(max_size=60))
def test_no_message_repeats_what_the_server_or_the_url_said(status: int, kind: Kind, noise: str) -> None:
    answer = page(status, f"{LABEL} {noise} unable to read DICOM object {LABEL}")
    error = outcome(asked(kind), answer)
    assert error is None or LABEL not in f"{error.message} {error.path} {error!r}"


@given(st.integers(100, 599), st.sampled_from(list(Kind)), st.binary(max_size=200), st.text(max_size=30))
def test_every_answer_is_good_or_one_of_our_errors(status: int, kind: Kind, body: bytes, media: str) -> None:
    answer = Answer(status=status, content_type=media, body=body)
    error = outcome(asked(kind), answer)
    assert (error is None) is (status in {200, 201} and not isinstance(error, LoginExpired))
    if status == 500:
        assert error is not None
        assert error.disposition is (Disposition.LOOK if kind is Kind.COMMIT else Disposition.RETRY)


class TestServerText:
    @pytest.mark.parametrize(
        ("body", "text"),
        [
            (PAGE.format("a &lt;b&gt; c"), "a <b> c"),
            ("<H3 class='x'>A\nb</H3>", "A b"),
            ("plain words", "plain words"),
            ("<html><h1>Bad Request</h1>", ""),
            ("<html><h3>cut", ""),
            ("", ""),
            ("a\x1b[31mb", "a [31mb"),
        ],
    )
    def test_forms(self, body: str, text: str) -> None:
        assert server_text(Answer(status=400, content_type="", body=body.encode())) == text

    def test_hostile_pages_cost_no_time(self) -> None:
        for body in (b"<h3" * 20_000, b"<h3>" * 20_000, b"<" * 80_000):
            assert len(server_text(Answer(status=400, content_type="", body=body))) <= 500

    @pytest.mark.parametrize(
        ("status", "body", "decided"),
        [(200, b"", False), (301, b"", False), (401, b"", True), (404, b"", True), (413, b"", True), (503, b"", True),
         (400, b"<h3>unable", False), (400, b"<h3>unable</h3>", True), (409, b"", False), (403, b"", False)],
    )  # fmt: skip
    def test_what_a_cut_answer_still_says(self, status: int, body: bytes, decided: bool) -> None:
        assert is_decided(status, body) is decided


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [("0", 0), (" 120 ", 120), ("9" * 30, 999_999_999), ("", None), ("soon", None), ("-5", None), ("²", None)],
    )  # fmt: skip
    def test_seconds(self, value: str, seconds: float | None) -> None:
        assert retry_after(value) == seconds

    def test_dates(self) -> None:
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
        assert 50 < (retry_after(later) or 0) <= 60
        assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
        assert retry_after("Wed, 21 Oct 2015 07:28:00") == 0

    @given(st.text(max_size=40))
    def test_anything(self, value: str) -> None:
        wait = retry_after(value)
        assert wait is None or wait >= 0

    def test_the_servers_wish_reaches_the_error(self) -> None:
        got = error_of(asked(), page(503, "", **{"retry-after": "7"}))
        assert isinstance(got, Throttled)
        assert got.retry_after_s == 7
