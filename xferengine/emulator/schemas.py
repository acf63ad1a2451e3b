"""The data-model schema clients generate their classes from: the least that released clients need (peers 3.1)."""

SESSION_KINDS = (
    "mr", "ct", "pet", "petmr", "cr", "dx", "dx3DCraniofacial", "ecg", "eeg", "eps", "es", "esv", "gm", "gmv", "hd",
    "io", "mg", "nm", "op", "opt", "otherDicom", "rf", "rt", "sm", "sr", "us", "xa", "xa3D", "xc", "xcv", "meg",
)  # fmt: skip
"""Modalities with a session type `xnat:KINDSessionData`."""

SCAN_KINDS = (
    *(kind for kind in SESSION_KINDS if kind not in ("petmr", "eeg")),
    "seg", "sc", "voiceAudio", "dicomStructureSet", "otherQc", "rtImage", "optAxialPresentation",
)  # fmt: skip
"""Modalities with a scan type `xnat:KINDScanData`."""

ASSESSOR_KINDS = ("qcAssessment", "qcManualAssessor")
"""Assessors with a type `xnat:KINDData`; a client cannot list a site that has one of an unknown type (peers 3.1)."""

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<xs:schema xmlns:xnat="http://nrg.wustl.edu/xnat" xmlns:xs="http://www.w3.org/2001/XMLSchema" \
targetNamespace="http://nrg.wustl.edu/xnat" elementFormDefault="qualified" attributeFormDefault="unqualified">
"""

_ATTRIBUTE = '<xs:attribute name="{}" type="xs:string"/>'
_ELEMENT = '<xs:element name="{}" type="xs:string" minOccurs="0"/>'


def _list(name: str, item: str, kind: str) -> str:
    return (
        f'<xs:element name="{name}" minOccurs="0"><xs:complexType><xs:sequence>'
        f'<xs:element name="{item}" type="xnat:{kind}" minOccurs="0" maxOccurs="unbounded"/>'
        "</xs:sequence></xs:complexType></xs:element>"
    )


def _type(name: str, *, base: str = "", elements: str = "", attributes: tuple[str, ...] = ()) -> str:
    content = f"<xs:sequence>{elements}</xs:sequence>" if elements else ""
    content += "".join(_ATTRIBUTE.format(attribute) for attribute in attributes)
    if base:
        extension = f'<xs:extension base="xnat:{base}">{content}</xs:extension>'
        content = f"<xs:complexContent>{extension}</xs:complexContent>"
    return f'<xs:complexType name="{name}">{content}</xs:complexType>\n'


def _elements(*names: str) -> str:
    return "".join(_ELEMENT.format(name) for name in names)


def _data_types() -> list[str]:
    """Return resources, project, subject and experiment."""
    ids = ("ID", "label", "project")
    resources = _list("resources", "resource", "abstractResource")
    experiments = _list("experiments", "experiment", "experimentData")
    return [
        _type("abstractResource", attributes=("label",)),
        _type("resource", base="abstractResource", attributes=("URI", "format", "content")),
        _type("resourceCatalog", base="resource"),
        _type("projectData", elements=_elements("name", "description") + resources, attributes=("ID", "secondary_ID")),
        _type("subjectData", elements=resources + experiments, attributes=ids),
        _type("experimentData", elements=_elements("date", "time", "note") + resources, attributes=ids),
        _type("subjectAssessorData", base="experimentData", elements=_elements("subject_ID")),
    ]


def _image_types() -> list[str]:
    """Return sessions, scans and assessors, one type per modality."""
    lists = _list("scans", "scan", "imageScanData") + _list("assessors", "assessor", "imageAssessorData")
    scan = _elements("image_session_ID", "note", "quality", "frames", "series_description")
    return [
        _type("imageSessionData", base="subjectAssessorData", elements=lists, attributes=("UID", "modality")),
        _type("imageAssessorData", base="experimentData", elements=_elements("imageSession_ID")),
        _type("imageScanData", elements=scan, attributes=("ID", "type", "UID")),
        *(_type(f"{kind}SessionData", base="imageSessionData") for kind in SESSION_KINDS),
        *(_type(f"{kind}ScanData", base="imageScanData") for kind in dict.fromkeys(SCAN_KINDS)),
        *(_type(f"{kind}Data", base="imageAssessorData") for kind in ASSESSOR_KINDS),
    ]


def _schema() -> bytes:
    roots = {"Project": "projectData", "Subject": "subjectData"}
    elements = [f'<xs:element name="{name}" type="xnat:{kind}"/>\n' for name, kind in roots.items()]
    return "".join([_HEAD, *elements, *_data_types(), *_image_types(), "</xs:schema>\n"]).encode()


XNAT_SCHEMA = _schema()
