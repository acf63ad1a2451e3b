"""The label rule, and templates over DICOM fields.

Labels that come from DICOM fields are made safe by one stated rule: every run of characters outside ``A-Z a-z 0-9 _ -``
becomes one ``_``, and ``_`` at either end is dropped. XNAT looks labels up undecoded in URLs and keeps other characters
altered (FIL 0, 1.1; IMP 0, 8), so nothing else is safe. What is longer than 64 characters, or empty, is refused.
Labels that a person wrote (``--map``, a template's literal text) are taken as they are or refused, never changed.
"""

from __future__ import annotations

import hashlib
import re

from xferengine.errors import SettingsError, UnusableLabel

MAX_LABEL = 64
_SAFE = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_UNSAFE_RUN = re.compile(r"[^A-Za-z0-9_-]+")
_FIELD = re.compile(r"\{([^{}]*)\}")
_KEYWORD = re.compile(r"[A-Z][A-Za-z0-9]*\Z")

MODALITY_ORDER = ("PT", "MR", "CT", "NM", "US", "MG", "XA", "CR", "DX", "RTIMAGE", "RTDOSE", "RTSTRUCT", "RTPLAN")
"""Which modality names a study that has several: the first of these that it has, else the first by alphabet."""


def check_label(label: str, what: str) -> str:
    """Return a label that a person wrote, unchanged.

    Raises:
        UnusableLabel: XNAT would change or refuse it.
    """
    if not _SAFE.match(label):
        raise UnusableLabel(
            f"the {what} label has {len(label)} characters or some outside A-Z a-z 0-9 _ - (at most {MAX_LABEL}):"
            " XNAT would change or refuse it"
        )
    return label


def safe_text(value: str) -> str:
    """Return a DICOM value made safe by the label rule (may be empty)."""
    return _UNSAFE_RUN.sub("_", value).strip("_")


class Template:
    """``{Keyword|Alternative|literal}`` fields between literal text.

    A field takes the first keyword that the study has a value for; a part that is no DICOM keyword (it begins with a
    lower-case letter or a digit) is literal text. ``StudyHash`` stands for six hex digits of the StudyInstanceUID.
    """

    def __init__(self, text: str, what: str) -> None:
        self.text = text
        self.what = what
        rest = _FIELD.sub("", text)
        if "{" in rest or "}" in rest or not text:
            raise SettingsError(f"the {what} template has unbalanced braces or is empty: {text!r}")
        if _UNSAFE_RUN.search(rest):
            raise SettingsError(f"the {what} template's own text may only have A-Z a-z 0-9 _ -: {text!r}")
        for part in self._parts():
            if not part or (_UNSAFE_RUN.search(part)):
                raise SettingsError(f"the {what} template has an empty or unusable field: {text!r}")

    def _parts(self) -> list[str]:
        return [part for field in _FIELD.findall(self.text) for part in field.split("|")]

    @property
    def keywords(self) -> tuple[str, ...]:
        """DICOM keywords that a scan must read for this template."""
        named = {part for part in self._parts() if _KEYWORD.match(part)}
        return tuple(sorted(named - {"StudyInstanceUID", "StudyHash"}))

    def render(self, study_uid: str, fields: dict[str, list[str]]) -> tuple[str, str]:
        """Return (label, raw text before the label rule).

        Args:
            fields: every distinct value of the study's files, by keyword.

        Raises:
            UnusableLabel: a needed field differs within the study, or the label is empty or too long.
        """

        def safe(match: re.Match[str]) -> str:
            return safe_text(self._value(match[1], study_uid, fields))

        def raw(match: re.Match[str]) -> str:
            return self._value(match[1], study_uid, fields)

        label = _FIELD.sub(safe, self.text).strip("_")
        if not label:
            raise UnusableLabel(f"the {self.what} label is empty: the study has none of the fields of {self.text!r}")
        if len(label) > MAX_LABEL:
            raise UnusableLabel(f"the {self.what} label made by {self.text!r} is longer than {MAX_LABEL} characters")
        return label, _FIELD.sub(raw, self.text)

    def _value(self, field: str, study_uid: str, fields: dict[str, list[str]]) -> str:
        for part in field.split("|"):
            if part == "StudyInstanceUID":
                return study_uid
            if part == "StudyHash":
                return study_hash(study_uid)
            if not _KEYWORD.match(part):
                return part
            values = [value for value in fields.get(part, []) if safe_text(value)]
            if values:
                return self._single(part, values)
        return ""

    def _single(self, keyword: str, values: list[str]) -> str:
        if len(values) == 1:
            return values[0]
        if keyword == "Modality":
            return min(values, key=lambda v: (MODALITY_ORDER.index(v) if v in MODALITY_ORDER else 99, v))
        raise UnusableLabel(
            f"{keyword} has {len(values)} values within the study, so the {self.what} template cannot use it;"
            " name the session with --map"
        )


def study_hash(study_uid: str) -> str:
    """Return six hex digits that belong to a study for ever."""
    return hashlib.sha256(study_uid.encode()).hexdigest()[:6]
