"""xnatpy: list an archived session down to its files."""

import sys

import xnat

url, project, session = sys.argv[1:]
with xnat.connect(url, user="admin", password="admin") as connection:
    experiment = connection.projects[project].experiments[session]
    scans = list(experiment.scans.values())
    files = [file for scan in scans for file in scan.resources["DICOM"].files.values()]
    assert all(file.digest for file in files), "files without digest"
    assert experiment.subject.label == "SUBJ_XP", f"subject is {experiment.subject.label}"
    print("scans", len(scans), "files", len(files))
