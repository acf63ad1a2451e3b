"""What a PUT or POST of an item says: query parameters over an XML body (FIL 7.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, ParseError, XMLParser

from xferengine.emulator.http import HttpError, Query, Request
from xferengine.emulator.rows import field_of, words

_CONTROL = words(
    """xsiType req_format inbody format overwrite allowDataDeletion populateFromDB loadExisting label accessibility
    event_reason event_type event_action event_comment event_id triggerPipelines pullDataFromHeaders fixScanTypes
    supressEmail activate quarantine removeFiles XNAT_CSRF method media charset encoding language"""
)
_OWN_COLUMNS = words("ID label project xsiType insert_date insert_user last_modified URI date time UID")
_XML_TYPES = ("text/xml", "application/xml")
_ROOT_TYPES = {
    "Project": "xnat:projectData",
    "Subject": "xnat:subjectData",
    "QCAssessment": "xnat:qcAssessmentData",
    "QCManualAssessment": "xnat:qcManualAssessorData",
}
_MAX_XML_BYTES = 16 << 20


@dataclass(slots=True)
class Values:
    """Type and plain fields of an item; nested elements are not taken over."""

    xsi_type: str = ""
    fields: dict[str, str] = field(default_factory=dict)

    def stored(self) -> dict[str, str]:
        """Return the fields without a place of their own in the record."""
        return {key: value for key, value in self.fields.items() if key not in _OWN_COLUMNS}


async def values_of(request: Request) -> Values:
    """Read the values a request gives; the query overrides the body (FIL 7.1).

    Raises:
        HttpError: 422 with the parser's text when the XML does not parse.
    """
    values = Values()
    is_xml = request.content_type.partition(";")[0].strip() in _XML_TYPES
    wanted = is_xml or request.query.get("req_format") == "xml" or request.query.flag("inbody")
    if wanted and request.content_length:
        # An XML body of unknown length is ignored (FIL 7.1).
        values = _from_xml(await request.read(_MAX_XML_BYTES))
    _apply_query(values, request.query)
    return values


def _apply_query(values: Values, query: Query) -> None:
    if query.get("xsiType"):
        values.xsi_type = query.get("xsiType")
    for name, value in query.pairs:
        if value is None or name in _CONTROL:
            continue
        if ":" in name and "/" in name:
            values.xsi_type = values.xsi_type or name.partition("/")[0].partition("[")[0]
        key = field_of(name)
        if key is not None:
            values.fields[key] = value


def _from_xml(data: bytes) -> Values:
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise HttpError(422, "DOCTYPE is disallowed")
    parser = XMLParser()
    try:
        parser.feed(data)
        root: Element = parser.close()
    except ParseError as error:
        raise HttpError(422, str(error)) from error
    values = Values(xsi_type=_type_of(_local(root.tag)))
    for name, value in root.attrib.items():
        _put(values, _local(name), value)
    for child in root:
        if len(child) == 0 and child.text:
            _put(values, _local(child.tag), child.text.strip())
    return values


def _put(values: Values, name: str, value: str) -> None:
    key = field_of(name)
    if key is not None:
        values.fields[key] = value


def _type_of(root: str) -> str:
    """Return the xsi type a root element stands for, e.g. `MRSession` for `xnat:mrSessionData`."""
    if root in _ROOT_TYPES:
        return _ROOT_TYPES[root]
    for tail in ("Session", "Scan"):
        if root.endswith(tail):
            return f"xnat:{root.removesuffix(tail).lower()}{tail}Data"
    return f"xnat:{root[:1].lower()}{root[1:]}Data"


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
