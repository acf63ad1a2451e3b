"""What the list of jobs says of a job."""

from __future__ import annotations

from pathlib import Path

from xferengine.manifest.catalogue import open_catalogue


def test_counts_are_those_of_the_last_run(tmp_path: Path) -> None:
    with open_catalogue(tmp_path / "state") as catalogue:
        job = catalogue.add(identity="i", verb="verify", server="s", project="P", spec="{}").id
        catalogue.update(job, "done", experiments=5, done=5)
        catalogue.update(job, "running")
        row = catalogue.get(job)
        assert (row.state, row.experiments, row.done) == ("running", 5, 5), "nothing is known better yet"
        catalogue.update(job, "incomplete", experiments=4, done=2, failed=2)
        row = catalogue.get(job)
        assert (row.experiments, row.done, row.failed) == (4, 2, 2)
        catalogue.update(job, "failed", experiments=0, done=0, failed=1)
        assert (catalogue.get(job).experiments, catalogue.get(job).done) == (0, 0)
