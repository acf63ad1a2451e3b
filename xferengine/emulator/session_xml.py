"""The XML document of a prearchive session (IMP 4.2)."""

import xml.etree.ElementTree as ET

from xferengine.emulator.modality import root_element
from xferengine.emulator.session_model import ScanModel, SessionModel

_XNAT = "http://nrg.wustl.edu/xnat"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"


def session_xml(model: SessionModel, url: str) -> bytes:
    """Render a built session; `url` is its prearchive URL without ``/data``."""
    root = ET.Element(
        root_element(model.xsi_type),
        {
            "xmlns:xnat": _XNAT,
            "xmlns:xsi": _XSI,
            "ID": "",
            "project": model.project,
            "label": model.label,
            "UID": model.uid,
            "modality": model.modality,
            "prearchivePath": url,
        },
    )
    _text(root, "xnat:subject_ID", model.subject)
    _text(root, "xnat:date", model.date)
    _text(root, "xnat:time", model.time)
    _text(root, "xnat:dcmPatientId", model.patient_id)
    _text(root, "xnat:dcmPatientName", model.patient_name)
    scans = ET.SubElement(root, "xnat:scans")
    for scan in model.scans:
        _scan(scans, scan)
    ET.indent(root)
    return ET.tostring(root, encoding="UTF-8", xml_declaration=True)


def _scan(parent: ET.Element, scan: ScanModel) -> None:
    attributes = {"ID": scan.id, "UID": scan.uid, "type": scan.series_description, "xsi:type": scan.xsi_type}
    element = ET.SubElement(parent, "xnat:scan", attributes)
    ET.SubElement(
        element,
        "xnat:file",
        {
            "label": "DICOM",
            "content": "RAW",
            "format": "DICOM",
            "URI": f"SCANS/{scan.files[0].folder}/DICOM/scan_{scan.id}_catalog.xml",
            "file_count": str(len(scan.files)),
            "file_size": str(scan.size),
            "xsi:type": "xnat:resourceCatalog",
        },
    )
    _text(element, "xnat:frames", str(len(scan.files)))
    _text(element, "xnat:series_description", scan.series_description)
    _text(element, "xnat:modality", scan.modality)


def _text(parent: ET.Element, name: str, text: str) -> None:
    if text:
        ET.SubElement(parent, name).text = "".join(c if c.isprintable() else " " for c in text)
