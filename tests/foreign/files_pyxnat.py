"""pyxnat: upload a folder and single files, download resource, file and scans (peers 3.2, 4)."""

import sys
from pathlib import Path

import pyxnat

url, project, subject, session, folder, out = sys.argv[1:]
target = Path(out)
for name in ("resource", "file", "scans"):
    (target / name).mkdir()
interface = pyxnat.Interface(server=url, user="admin", password="admin")
experiment = interface.select.project(project).subject(subject).experiment(session)
experiment.resource("PX_DIR").put_dir(folder, overwrite=True)
file = experiment.resource("PX_ONE").file("d/one.bin")
file.put(str(Path(folder) / "a.bin"), overwrite=True)
file.get(str(target / "file" / "one.bin"))
experiment.resource("PX_DIR").get(str(target / "resource"), extract=True)
experiment.scans().download(str(target / "scans"), type="ALL", extract=True, removeZip=True)
interface.disconnect()
print("done")
