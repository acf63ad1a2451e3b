"""xnatpy: upload a folder in its ways, download resource, file and session (peers 3.1, 4)."""

import sys
from pathlib import Path

import xnat

url, project, session, folder, out = sys.argv[1:]
target = Path(out)
with xnat.connect(url, user="admin", password="admin") as connection:
    experiment = connection.projects[project].experiments[session]
    for label, method in (("XP_TGZ", "tgz_file"), ("XP_TAR", "tar_memory"), ("XP_FILES", "per_file")):
        experiment.create_resource(label).upload_dir(folder, method=method)
    experiment.clearcache()
    resource = experiment.resources["XP_TGZ"]
    (target / "resource").mkdir()
    resource.download_dir(str(target / "resource"), verbose=False)
    (target / "file").mkdir()
    # It compares the MD5 of a single file with the catalog's (peers 1.1).
    resource.files["d/e/big.bin"].download(str(target / "file" / "big.bin"), verbose=False)
    (target / "session").mkdir()
    experiment.download_dir(str(target / "session"), verbose=False)
print("done")
