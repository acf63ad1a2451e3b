"""What creating, changing, renaming and deleting experiments has in common for sessions and assessors (FIL 7)."""

from __future__ import annotations

from xferengine.emulator.http import HttpError, Request, Response
from xferengine.emulator.item_values import Values
from xferengine.emulator.places import find_experiment, find_subject, readable_project
from xferengine.emulator.records import EXPERIMENT_OWNER, Experiment, Project, Subject
from xferengine.emulator.world import World, safe_name

NO_EXPERIMENT = "Unable to find the specified experiment."


class ExperimentStore:
    """Finds and changes experiments on behalf of requests."""

    def __init__(self, world: World) -> None:
        self._world = world

    def find(self, request: Request) -> Experiment:
        """Return the experiment a URL names, or raise 404 (FIL 6.2)."""
        names = request.vars
        project = readable_project(self._world, request.user, names["P"]) if "P" in names else None
        subject = find_subject(self._world, request.user, names["S"], project) if "S" in names else None
        if "S" in names and subject is None:
            raise HttpError(404, NO_EXPERIMENT)
        experiment = find_experiment(self._world, request.user, names["E"], project, subject)
        if experiment is None:
            raise HttpError(404, NO_EXPERIMENT)
        return experiment

    def require_edit(self, request: Request, project: str) -> None:
        """Refuse a change without the right to edit (FIL 7.3)."""
        if not self._world.can_edit(request.user, project):
            text = "Specified user account has insufficient edit privileges for experiments in this project."
            raise HttpError(403, text)

    def subject_for(self, request: Request, project: Project, values: Values) -> Subject:
        """Find the subject of a new experiment, or create it: unknown ones are made on the fly (FIL 7.2)."""
        name = request.vars.get("S") or values.fields.get("subject_ID") or values.fields.get("subject_label") or ""
        if not safe_name(name):
            raise HttpError(417, "Invalid character in subject label.")
        known = self._world.subject(project.id, name)
        return known or self._world.add_subject(project.id, name, user=request.user.name)

    def change(self, request: Request, experiment: Experiment, values: Values) -> Response:
        """Change an experiment, or only rename it when a `label=` is given (FIL 7.2)."""
        label = request.query.get("label")
        if request.query.has("label"):
            clash = self._world.find_experiment(experiment.project, label)
            if clash is not None and clash is not experiment:
                raise HttpError(409, f"Specified label {label} is already in use.")
            if label != experiment.label:
                self._rename(experiment, label)
            return Response(200)
        self.apply(experiment, values)
        return Response(200, experiment.id.encode(), "text/plain")

    def _rename(self, experiment: Experiment, label: str) -> None:
        """Rename a session with its folder."""
        if not safe_name(label):
            raise HttpError(400)
        world = self._world
        before = world.experiment_folder(experiment)
        experiment.label = label
        after = world.experiment_folder(experiment)
        if (world.data_dir / after).exists():
            experiment.label = before.rpartition("/")[2]
            raise HttpError(409, "File system destination contains pre-existing files")
        if (world.data_dir / before).exists():
            (world.data_dir / before).rename(world.data_dir / after)
        for resource in list(world.resources.values()):
            if resource.folder.startswith(before + "/"):
                resource.folder = after + resource.folder[len(before) :]
                world.save(resource)
        world.save(experiment)

    def apply(self, experiment: Experiment, values: Values) -> None:
        """Take over the values of a request and save."""
        experiment.date = values.fields.get("date", experiment.date)
        experiment.time = values.fields.get("time", experiment.time)
        experiment.uid = values.fields.get("UID", experiment.uid)
        experiment.fields.update(values.stored())
        experiment.last_modified = self._world.stamp()
        self._world.save(experiment)

    def forget(self, experiment: Experiment) -> None:
        """Remove an experiment with its resources from the state; files stay."""
        owner = EXPERIMENT_OWNER.format(experiment.id)
        for resource in list(self._world.resources.values()):
            if resource.owner == owner or resource.owner.startswith(owner + "/"):
                self._world.delete(resource)
        self._world.delete(experiment)
