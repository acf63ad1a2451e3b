"""Rows of the table listings, with every alias that `columns=` and filters may name (FIL 6.1)."""

from __future__ import annotations

from xferengine.emulator.records import Experiment, Project, Reconstruction, Scan, Subject

Row = dict[str, str]


def words(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


PROJECT_COLUMNS = ("ID", "secondary_ID", "name", "description", "pi_firstname", "pi_lastname")
ACCESSIBLE_COLUMNS = (
    "id", "secondary_id", "name", "description", "pi", "project_access", "insert_date", "insert_user", "user_role",
    "last_accessed",
)  # fmt: skip
SUBJECT_COLUMNS = ("ID", "project", "label", "insert_date", "insert_user")
EXPERIMENT_COLUMNS: tuple[str, ...] = ("ID", "project", "date", "xsiType", "label", "insert_date")
ASSESSOR_COLUMNS = ("ID", "project", "label", "date", "xsiType", "insert_date", "session_ID", "session_label")
SCAN_COLUMNS = ("xnat_imagescandata_id", "ID", "type", "quality", "xsiType", "note", "series_description")
RECON_COLUMNS = ("xnat_reconstructedimagedata_id", "ID", "type", "baseScanType")

_ALIASES = words(
    "ID secondary_ID name description pi_firstname pi_lastname URI project label insert_date insert_user "
    "last_modified group src dob yob age gender handedness date time note xsiType visit_id visit subject_ID "
    "subject_label subject_project session_ID session_label UID modality scanner operator dcmPatientId "
    "dcmPatientName fieldStrength xnat_imagescandata_id type quality frames series_description "
    "baseScanType xnat_reconstructedimagedata_id id secondary_id pi project_access user_role last_accessed"
)
_PATH_FIELDS = {
    "id": "ID", "label": "label", "project": "project", "date": "date", "time": "time", "note": "note",
    "subject_id": "subject_ID", "type": "type", "quality": "quality", "series_description": "series_description",
    "uid": "UID", "modality": "modality", "frames": "frames", "insert_date": "insert_date",
    "last_modified": "last_modified", "xnat_imagescandata_id": "xnat_imagescandata_id", "name": "name",
    "description": "description", "image_session_id": "session_ID", "fieldstrength": "fieldStrength",
    "dcmpatientid": "dcmPatientId", "secondary_id": "secondary_ID", "scanner": "scanner",
}  # fmt: skip

PATH_KEYS = {"xnat:subjectassessordata/subject_id": "subject_ID"}
"""Keys of full schema paths that come back under an alias (peers 3.3); the others keep the lower-case path."""

_ANY_EXPERIMENT = ("xnat:experimentData", "xnat:subjectAssessorData", "")


def field_of(name: str) -> str | None:
    """Return the row field an alias or a schema path names, None if there is none."""
    if name in _ALIASES:
        return name
    if ":" in name and "/" in name:
        return _PATH_FIELDS.get(name.rpartition("/")[2].lower())
    return None


def is_type(xsi_type: str, wanted: str) -> bool:
    """Say whether a type is the wanted root type or extends it."""
    if wanted in _ANY_EXPERIMENT or xsi_type.lower() == wanted.lower():
        return True
    bases = {"xnat:imagesessiondata": "sessiondata", "xnat:imagescandata": "scandata"}
    suffix = bases.get(wanted.lower())
    return suffix is not None and xsi_type.lower().endswith(suffix)


def project_row(project: Project, role: str) -> Row:
    """Return the cells of a project."""
    return {
        **project.fields,
        "ID": project.id,
        "id": project.id,
        "secondary_ID": project.secondary_id,
        "secondary_id": project.secondary_id,
        "name": project.name,
        "description": project.description,
        "project_access": project.accessibility.capitalize(),
        "user_role": role.capitalize(),
        "insert_date": project.insert_date,
        "insert_user": project.insert_user,
        "URI": f"/data/projects/{project.id}",
    }


def subject_row(subject: Subject, project: str) -> Row:
    """Return the cells of a subject as a project shows it: with the label of the share (FIL 6.1)."""
    return {
        **subject.fields,
        "ID": subject.id,
        "project": project,
        "label": subject.shares.get(project) or subject.label,
        "insert_date": subject.insert_date,
        "insert_user": subject.insert_user,
        "last_modified": subject.last_modified,
        "URI": f"/data/subjects/{subject.id}",
    }


def experiment_row(experiment: Experiment, subject: Subject | None, session: Experiment | None, project: str) -> Row:
    """Return the cells of an experiment as a project shows it: with label and subject label of the share."""
    return {
        **experiment.fields,
        "ID": experiment.id,
        "project": project,
        "date": experiment.date,
        "time": experiment.time,
        "xsiType": experiment.xsi_type,
        "label": experiment.shares.get(project) or experiment.label,
        "insert_date": experiment.insert_date,
        "insert_user": experiment.insert_user,
        "last_modified": experiment.last_modified,
        "UID": experiment.uid,
        "subject_ID": experiment.subject_id,
        "subject_label": (subject.shares.get(project) or subject.label) if subject is not None else "",
        "subject_project": subject.project if subject is not None else "",
        "session_ID": experiment.session_id,
        "session_label": session.label if session is not None else "",
        "URI": f"/data/experiments/{experiment.id}",
    }


def reconstruction_row(image: Reconstruction, session: Experiment) -> Row:
    """Return the cells of a reconstruction."""
    return {
        "xnat_reconstructedimagedata_id": str(image.number),
        "ID": image.id,
        "type": image.type,
        "baseScanType": image.base_scan_type,
        "session_ID": session.id,
        "session_label": session.label,
        "project": session.project,
        "URI": f"/data/experiments/{session.id}/reconstructions/{image.id}",
    }


def scan_row(scan: Scan, session: Experiment) -> Row:
    """Return the cells of a scan."""
    return {
        **scan.fields,
        "xnat_imagescandata_id": str(scan.number),
        "ID": scan.id,
        "type": scan.type,
        "quality": scan.quality,
        "xsiType": scan.xsi_type,
        "note": scan.note,
        "series_description": scan.series_description,
        "UID": scan.uid,
        "modality": scan.modality,
        "frames": scan.frames,
        "insert_date": scan.insert_date,
        "last_modified": scan.last_modified,
        "session_ID": session.id,
        "session_label": session.label,
        "project": session.project,
        "URI": f"/data/experiments/{session.id}/scans/{scan.id}",
    }
