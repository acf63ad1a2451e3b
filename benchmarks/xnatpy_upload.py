"""Upload session after session with xnatpy, in one process: ``services.import_dir`` on one connection.

python xnatpy_upload.py URL PROJECT LISTING      (LISTING: lines of "FOLDER<TAB>SUBJECT<TAB>SESSION")
"""

import sys

import xnat

url, project, listing = sys.argv[1:]
with open(listing) as lines:
    sessions = [line.rstrip("\n").split("\t") for line in lines]
with xnat.connect(url, user="admin", password="admin") as connection:
    for folder, subject, session in sessions:
        connection.services.import_dir(
            folder,
            project=project,
            subject=subject,
            experiment=session,
            overwrite="none",
            import_handler="DICOM-zip",
        )
