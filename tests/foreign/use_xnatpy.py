"""xnatpy: log in, find the project, upload a folder with `services.import_dir` (peers 3.1, 4)."""

import sys

import xnat

url, project, folder, subject, session = sys.argv[1:]
with xnat.connect(url, user="admin", password="admin") as connection:
    assert project in [p.id for p in connection.projects.values()], "project is not listed"
    result = connection.services.import_dir(
        folder,
        project=project,
        subject=subject,
        experiment=session,
        overwrite="append",
        import_handler="DICOM-zip",
    )
    assert result.label == session, f"label is {result.label}"
    assert result.project == project, f"project is {result.project}"
print("uploaded")
