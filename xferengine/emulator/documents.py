"""Single items as JSON and XML documents (FIL 6.2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from xml.sax.saxutils import escape, quoteattr

from xferengine.emulator.holders import Holder, experiment_holder, project_holder, scan_holder, subject_holder
from xferengine.emulator.records import Experiment, Project, Resource, Scan, Subject
from xferengine.emulator.tables import xml_bytes
from xferengine.emulator.world import World

Item = dict[str, object]
_XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACES = 'xmlns:xnat="http://nrg.wustl.edu/xnat" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


def start_date(stamp: str) -> str:
    """Return an insert date as item metadata shows it, e.g. `Mon Jan 01 00:00:00 UTC 2024` (peers 3.1)."""
    try:
        moment = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
    except ValueError:
        moment = datetime(2024, 1, 1, tzinfo=UTC)
    return moment.strftime("%a %b %d %H:%M:%S UTC %Y")


class Documents:
    """Builds documents from the records of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    # -- JSON ---------------------------------------------------------------------------------------------------

    def project_json(self, project: Project) -> Item:
        """Return a project."""
        data = {
            **project.fields,
            "ID": project.id,
            "name": project.name,
            "secondary_ID": project.secondary_id,
            "description": project.description,
        }
        children = self._resources_json(project_holder(project), "resources/resource")
        return _item("xnat:projectData", data, children, project.insert_date)

    def subject_json(self, subject: Subject) -> Item:
        """Return a subject with its experiments."""
        data = {**subject.fields, "ID": subject.id, "label": subject.label, "project": subject.project}
        experiments = self._world.experiments_of(subject.project, subject.id)
        below = [self.experiment_json(e) for e in experiments if not e.session_id]
        children = [{"field": "experiments/experiment", "items": below}] if below else []
        children += self._resources_json(subject_holder(subject), "resources/resource")
        return _item("xnat:subjectData", data, children, subject.insert_date)

    def experiment_json(self, experiment: Experiment) -> Item:
        """Return an experiment with its scans, assessors and resources."""
        data = {
            **experiment.fields,
            "ID": experiment.id,
            "label": experiment.label,
            "project": experiment.project,
            "subject_ID": experiment.subject_id,
            "date": experiment.date,
            "time": experiment.time,
            "UID": experiment.uid,
        }
        if experiment.session_id:
            data["imageSession_ID"] = experiment.session_id
        scans = [self.scan_json(experiment, scan) for scan in experiment.scans.values()]
        children = [{"field": "scans/scan", "items": scans}] if scans else []
        assessors = [self.experiment_json(a) for a in self._world.assessors_of(experiment.id)]
        if assessors:
            children.append({"field": "assessors/assessor", "items": assessors})
        children += self._resources_json(experiment_holder(self._world, experiment), "resources/resource")
        return _item(experiment.xsi_type, data, children, experiment.insert_date)

    def scan_json(self, session: Experiment, scan: Scan) -> Item:
        """Return a scan with its resources."""
        data = {
            **scan.fields,
            "ID": scan.id,
            "type": scan.type,
            "quality": scan.quality,
            "note": scan.note,
            "series_description": scan.series_description,
            "UID": scan.uid,
            "frames": scan.frames,
            "modality": scan.modality,
            "image_session_ID": session.id,
            "xnat_imagescandata_id": scan.number,
        }
        children = self._resources_json(scan_holder(self._world, session, scan), "file")
        return _item(scan.xsi_type, data, children, scan.insert_date)

    def _resources_json(self, holder: Holder, field: str) -> list[Item]:
        items = [self._resource_json(resource) for resource in self._world.resources_of(holder.owner)]
        return [{"field": field, "items": items}] if items else []

    def _resource_json(self, resource: Resource) -> Item:
        data = {
            "xnat_abstractresource_id": resource.id,
            "label": resource.label,
            "URI": self._catalog_path(resource),
            "format": resource.format,
            "content": resource.content,
            "description": resource.description,
            "file_count": resource.file_count,
            "file_size": resource.file_size,
        }
        return _item(resource.element_name, data, [], "")

    def _catalog_path(self, resource: Resource) -> str:
        # Documents carry absolute server paths (FIL 6.2).
        return str(self._world.resource_dir(resource) / f"{resource.label or resource.id}_catalog.xml")

    # -- XML ----------------------------------------------------------------------------------------------------

    def project_xml(self, project: Project) -> bytes:
        """Return a project document."""
        inner = _element("name", project.name) + _element("description", project.description)
        attributes = f"ID={quoteattr(project.id)} secondary_ID={quoteattr(project.secondary_id)}"
        return _document("Project", attributes, inner + self._resources_xml(project_holder(project), "resources"))

    def subject_xml(self, subject: Subject) -> bytes:
        """Return a subject document."""
        inner = self._resources_xml(subject_holder(subject), "resources")
        return _document("Subject", _labelled(subject.id, subject.project, subject.label), inner)

    def experiment_xml(self, experiment: Experiment) -> bytes:
        """Return an experiment document with its scans."""
        inner = _element("date", experiment.date) + _element("time", experiment.time)
        inner += self._resources_xml(experiment_holder(self._world, experiment), "resources")
        inner += _element("imageSession_ID" if experiment.session_id else "subject_ID", _parent(experiment))
        if experiment.scans:
            scans = "".join(self._scan_xml(experiment, scan) for scan in experiment.scans.values())
            inner += f"<xnat:scans>{scans}</xnat:scans>"
        attributes = _labelled(experiment.id, experiment.project, experiment.label)
        if experiment.uid:
            attributes += f" UID={quoteattr(experiment.uid)}"
        return _document(_root(experiment.xsi_type), attributes, inner)

    def scan_xml(self, session: Experiment, scan: Scan) -> bytes:
        """Return a scan document."""
        attributes, inner = self._scan_parts(session, scan)
        return _document(_root(scan.xsi_type), attributes, inner)

    def _scan_xml(self, session: Experiment, scan: Scan) -> str:
        attributes, inner = self._scan_parts(session, scan)
        return f"<xnat:scan {attributes} xsi:type={quoteattr(scan.xsi_type)}>{inner}</xnat:scan>"

    def _scan_parts(self, session: Experiment, scan: Scan) -> tuple[str, str]:
        attributes = f"ID={quoteattr(scan.id)} type={quoteattr(scan.type)}"
        if scan.uid:
            attributes += f" UID={quoteattr(scan.uid)}"
        inner = _element("image_session_ID", session.id) + _element("note", scan.note)
        inner += _element("quality", scan.quality) + _element("series_description", scan.series_description)
        for resource in self._world.resources_of(scan_holder(self._world, session, scan).owner):
            inner += self._resource_xml(resource, "file")
        return attributes, inner + _element("frames", scan.frames)

    def _resources_xml(self, holder: Holder, name: str) -> str:
        found = self._world.resources_of(holder.owner)
        if not found:
            return ""
        return f"<xnat:{name}>{''.join(self._resource_xml(r, 'resource') for r in found)}</xnat:{name}>"

    def _resource_xml(self, resource: Resource, name: str) -> str:
        return (
            f"<xnat:{name} label={quoteattr(resource.label)} URI={quoteattr(self._catalog_path(resource))} "
            f"content={quoteattr(resource.content)} format={quoteattr(resource.format)} "
            f'file_count="{resource.file_count}" file_size="{resource.file_size}" '
            f'xsi:type="{resource.element_name}"/>'
        )


def _item(xsi_type: str, data: Mapping[str, object], children: list[Item], stamp: str) -> Item:
    filled = {key: value for key, value in data.items() if value not in ("", None)}
    meta = {"isHistory": False, "xsi:type": xsi_type, "create_event_id": 1, "start_date": start_date(stamp)}
    return {"children": children, "meta": meta, "data_fields": filled}


def _parent(experiment: Experiment) -> str:
    return experiment.session_id or experiment.subject_id


def _labelled(accession: str, project: str, label: str) -> str:
    return f"ID={quoteattr(accession)} project={quoteattr(project)} label={quoteattr(label)}"


def _element(name: str, value: str) -> str:
    return f"<xnat:{name}>{escape(value)}</xnat:{name}>" if value else ""


def _root(xsi_type: str) -> str:
    """Return the root element of a type: `xnat:mrSessionData` is written as `MRSession` (FIL 6.2, [U])."""
    name = xsi_type.partition(":")[2].removesuffix("Data")
    for tail in ("Session", "Scan"):
        if name.endswith(tail):
            return name.removesuffix(tail).upper() + tail
    return name[:1].upper() + name[1:]


def _document(root: str, attributes: str, inner: str) -> bytes:
    return xml_bytes(f"{_XML_HEAD}<xnat:{root} {attributes} {_NAMESPACES}>{inner}</xnat:{root}>\n")
