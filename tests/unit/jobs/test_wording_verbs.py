"""The words of each verb: what happened, what was counted, what to do."""

import pytest

from xferengine import errors
from xferengine.jobs.wording import (
    failure_lines,
    headings,
    headline,
    summary_lines,
    troubles,
    unverified_line,
    what_to_do,
)
from xferengine.model.events import Failure, Summary, Totals

VERBS = ("upload", "download", "upload-files", "verify")


def summary(verb: str, state: str = "done", failures: tuple[Failure, ...] = (), **totals: int) -> Summary:
    return Summary(job="a", verb=verb, state=state, exit_code=0, seconds=1, totals=Totals(**totals), failures=failures)


def text(*args, **totals) -> str:
    return "\n".join(summary_lines(summary(*args, **totals)))


@pytest.mark.parametrize("verb", VERBS)
def test_no_two_states_sound_alike(verb):
    states = ["done", "incomplete", "failed", "interrupted"]
    assert len({headline(summary(verb, state, failed=state == "incomplete", files=1)) for state in states}) == 4


@pytest.mark.parametrize("verb", VERBS[1:])
def test_only_an_upload_speaks_of_instances_and_sessions(verb):
    for state in ("done", "done-unverified", "incomplete", "failed", "interrupted", "planned"):
        words = text(verb, state, files=5, verified=2, skipped=1, failed=1, refused=1, experiments=3)
        assert "instance" not in words
        assert "session" not in words
        assert "sent" not in words or verb == "upload-files"


def test_a_download_says_what_was_proven_by_what():
    words = text("download", "incomplete", files=10, verified=7, skipped=4, refused=1, stale=2, failed=3, bytes=5000)
    assert "Not complete: 3 failures." in words
    for line in ("transferred        10 files, 5.0 kB", "verified           7 files", "not verified       1 file",
                 "equal already      4 files", "catalog outdated   2 files", "names refused      1 file",
                 "did not work       3 failures"):  # fmt: skip
        assert line in words
    assert headline(summary("download", files=10, skipped=4)) == "Done: 14 files in the folder, all verified."
    assert "catalog contradicts" in headline(summary("download", "incomplete", stale=2))


def test_files_that_were_sent_are_verified_or_told_apart():
    words = text("upload-files", files=10, verified=10, skipped=1, by_size=3)
    assert "by MD5, 3 of all by size only: the server has no MD5, as the server lists them" in words
    assert "by MD5, as the server lists them" in text("upload-files", files=10, verified=10)
    words = text("upload-files", "incomplete", files=10, verified=10, failed=3, refused=2)
    assert "refused            2 files" in words
    assert "did not work       3 failures" in words
    assert "not verified yet   3 files" in text("upload-files", "interrupted", files=10, verified=7)


def test_a_comparison_says_equal_only_when_all_was_compared():
    assert headline(summary("verify", files=5)) == "Equal: 5 files on both sides."
    assert headline(summary("verify", "incomplete", files=5, failed=2)).startswith("Not equal: 2 differences")
    partly = headline(summary("verify", "incomplete", files=5, refused=1))
    assert partly == "Equal as far as it was compared: 5 files. 1 file or item could not be compared."
    assert headline(summary("verify", "interrupted", files=5)).endswith("what was compared so far is kept.")
    words = text("verify", files=5, verified=5, by_size=2)
    assert "compared           5 files" in words
    assert "equal by MD5       3 files" in words
    assert "equal by size      2 files" in words


@pytest.mark.parametrize(("verb", "nothing"), list(zip(VERBS, ("sent", "fetched", "sent", "compared"), strict=True)))
def test_what_could_not_begin(verb, nothing):
    refused = (Failure(ref="", error="LoginRefused", detail="no"),)
    assert headline(summary(verb, "failed", refused)) == f"Nothing was {nothing}."
    assert headline(summary(verb, "failed", refused, files=3)).startswith("Stopped before the end")


def test_unproven_content_is_said_in_the_words_of_the_verb():
    lines = [unverified_line(Summary(**_fields(verb), unverified=("a", "b"))) for verb in VERBS]
    assert len(set(lines)) == len(VERBS)
    assert all("2 " in line for line in lines)
    assert unverified_line(summary("verify")) == ""
    assert lines[0] == "Not every instance was verified in 2 sessions; the report names them."


def _fields(verb: str) -> dict:
    return {"job": "a", "verb": verb, "state": "done", "exit_code": 0, "seconds": 1, "totals": Totals()}


@pytest.mark.parametrize("verb", ["download", "upload-files", "verify"])
@pytest.mark.parametrize("kind", ["AccessDenied", "NotFound", "UnsafePath", "NameClash", "DiskFull", "ConnectFailed"])
def test_each_verb_has_advice_that_fits_it(verb, kind):
    assert what_to_do(kind, verb)
    assert "upload" not in what_to_do(kind, verb)
    assert "--overwrite" not in what_to_do("Conflict", "upload-files")


@pytest.mark.parametrize("kind", ["CatalogStale", "DigestMismatch", "SizeMismatch", "ArchiveBroken", "RemoteChanged"])
def test_integrity_failures_of_a_download_have_advice(kind):
    assert hasattr(errors, kind)
    assert what_to_do(kind, "download")


def test_an_upload_keeps_its_own_advice():
    assert what_to_do("AccessDenied") == "ask the project's owner for the right to upload"
    assert what_to_do("Nonsense") == ""


def test_failures_are_explained_in_the_words_of_the_verb():
    failures = [Failure(ref="a", error="NameClash", detail="same name"), Failure(ref="b", error="OnlyInA", detail="")]
    lines = failure_lines(failures, limit=5, verb="verify")
    assert lines[:2] == ["  a", "      NameClash: same name"]
    assert lines[2].startswith("      → the folder can hold only one")
    assert lines[-1] == "      OnlyInA"


def test_differences_need_no_explanation():
    failures = tuple(Failure(ref="x", error=error, detail="") for error in ("Differs", "OnlyInB", "UnsafePath"))
    assert [failure.error for failure in troubles(summary("verify", failures=failures))] == ["UnsafePath"]
    assert headings("verify")[0] == "What could not be compared"
    assert headings("download")[0] == "What did not work"
