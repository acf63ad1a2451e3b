"""pyxnat: log in, list the projects, upload a zip by a raw post to the import service (peers 3.2, 4)."""

import io
import sys
import zipfile
from pathlib import Path

import pyxnat

url, project, folder, subject, session = sys.argv[1:]
buffer = io.BytesIO()
with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
    for path in sorted(Path(folder).iterdir()):
        archive.write(path, f"{session}/{path.name}")

interface = pyxnat.Interface(server=url, user="admin", password="admin")
assert project in interface.select.projects().get(), "project is not listed"
assert interface.select.project(project).exists(), "project does not exist"
answer = interface.post(
    "/data/services/import",
    params={"project": project, "subject": subject, "session": session, "inbody": "true", "overwrite": "append"},
    data=buffer.getvalue(),
    headers={"Content-Type": "application/zip"},
)
assert answer.status_code == 200, f"status {answer.status_code}: {answer.text}"
assert answer.text.startswith(f"/data/prearchive/projects/{project}/"), f"answer {answer.text!r}"
interface.disconnect()
print("uploaded")
