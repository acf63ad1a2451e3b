"""Labels of subjects and experiments within projects, shared ones included."""

from xferengine.emulator.records import Experiment, Subject

_Key = tuple[str, str, str]  # kind, project, label


class LabelIndex:
    """Finds the id behind a label; follows renames."""

    def __init__(self) -> None:
        self._ids: dict[_Key, str] = {}
        self._keys: dict[tuple[str, str], list[_Key]] = {}  # (kind, id) -> its keys in _ids

    def find(self, kind: str, project: str, label: str) -> str | None:
        """Return the id of a label in a project."""
        return self._ids.get((kind, project, label))

    def put(self, record: Subject | Experiment) -> None:
        """Take a new or changed record."""
        self.drop(record)
        keys = [(record.KIND, record.project, record.label)]
        keys += [(record.KIND, project, label or record.label) for project, label in record.shares.items()]
        for key in keys:
            self._ids.setdefault(key, record.id)
        self._keys[record.KIND, record.id] = keys

    def drop(self, record: Subject | Experiment) -> None:
        """Forget a record under the labels it was taken with."""
        for key in self._keys.pop((record.KIND, record.id), ()):
            if self._ids.get(key) == record.id:
                del self._ids[key]
