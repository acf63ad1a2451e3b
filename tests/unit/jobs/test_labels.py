"""The label rule and templates."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.errors import BadInput, SettingsError
from xferengine.jobs.labels import MAX_LABEL, Template, check_label, safe_text, study_hash
from xferengine.jobs.spec import DEFAULT_SESSION, DEFAULT_SUBJECT

UID = "1.2.840.113619.2.1"


@given(st.text())
def test_safe_text_leaves_only_safe_characters_and_is_stable(value: str) -> None:
    safe = safe_text(value)
    assert re.fullmatch(r"[A-Za-z0-9_-]*", safe)
    assert safe_text(safe) == safe
    assert not safe.startswith("_")
    assert not safe.endswith("_")


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("A 1", "A_1"),
        ("A#%'1", "A_1"),
        (" Müller^Hans ", "M_ller_Hans"),
        ("x" * 64, "x" * 64),
        ("日本", ""),
        ("a.b", "a_b"),
    ],
)
def test_safe_text_by_example(value: str, label: str) -> None:
    assert safe_text(value) == label


@pytest.mark.parametrize("label", ["", "a b", "a'b", "a#b", "a%b", "é", "x" * 65, "a.b", "a/b", "..", "a\n"])
def test_a_label_a_person_wrote_is_refused_not_altered(label: str) -> None:
    with pytest.raises(BadInput):
        check_label(label, "session")


def test_the_default_session_is_unique_per_study_and_the_same_in_every_run() -> None:
    template = Template(DEFAULT_SESSION, "session")
    fields = {"PatientID": ["P 1"], "StudyDate": ["20240105"]}
    one, _ = template.render(UID, fields)
    two, _ = template.render(UID + ".1", fields)
    assert one == f"P_1_20240105_{study_hash(UID)}"
    assert one != two
    assert template.render(UID, dict(reversed(fields.items())))[0] == one


def test_alternatives_fall_through_blank_values_to_literals() -> None:
    template = Template("{PatientID|AccessionNumber|none}-{StudyDate|undated}", "session")
    assert template.render(UID, {"PatientID": [""], "AccessionNumber": ["A7"]})[0] == "A7-undated"
    assert template.render(UID, {"PatientID": ["##"]})[0] == "none-undated"
    assert Template(DEFAULT_SUBJECT, "subject").render(UID, {})[0] == "1_2_840_113619_2_1"


def test_keywords_are_what_the_scan_must_read() -> None:
    assert Template(DEFAULT_SESSION, "session").keywords == ("PatientID", "StudyDate")
    assert Template("{ProtocolName|x1}", "session").keywords == ("ProtocolName",)


def test_a_field_that_differs_within_the_study_is_refused_but_for_modality() -> None:
    with pytest.raises(BadInput, match="StudyDate has 2 values"):
        Template("{StudyDate}", "session").render(UID, {"StudyDate": ["20240101", "20240102"]})
    assert Template("{Modality}", "session").render(UID, {"Modality": ["CT", "PT", "SR"]})[0] == "PT"


def test_a_label_too_long_or_empty_is_refused() -> None:
    with pytest.raises(BadInput, match="longer"):
        Template("{PatientID}", "session").render(UID, {"PatientID": ["x" * (MAX_LABEL + 1)]})
    with pytest.raises(BadInput, match="empty"):
        Template("{PatientID}", "session").render(UID, {})


@pytest.mark.parametrize(
    "text", ["", "{PatientID", "PatientID}", "{}", "a b", "{PatientID|}", "{a b}", "{{PatientID}}"]
)
def test_a_wrong_template_is_a_usage_error(text: str) -> None:
    with pytest.raises(SettingsError):
        Template(text, "session")


def test_two_people_that_would_share_a_label_keep_their_raw_text_apart() -> None:
    template = Template("{PatientID}", "subject")
    one, two = template.render(UID, {"PatientID": ["A 1"]}), template.render(UID, {"PatientID": ["A#1"]})
    assert one[0] == two[0]
    assert one[1] != two[1]
