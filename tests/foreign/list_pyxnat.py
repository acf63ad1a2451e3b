"""pyxnat: list an archived session down to its files."""

import sys

import pyxnat

url, project, subject, session = sys.argv[1:]
interface = pyxnat.Interface(server=url, user="admin", password="admin")
experiment = interface.select.project(project).subject(subject).experiment(session)
assert experiment.exists(), "the session does not exist"
scans = experiment.scans().get()
files = [name for scan in scans for name in experiment.scan(scan).resource("DICOM").files().get()]
print("scans", len(scans), "files", len(files))
interface.disconnect()
