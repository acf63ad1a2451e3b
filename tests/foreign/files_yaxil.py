"""yaxil: store an assessor with files, download a session's scans (peers 3.3, 4)."""

import sys
from pathlib import Path

import yaxil

url, project, session, artifacts, out = sys.argv[1:]
login = yaxil.auth2(host=url, username="admin", password="admin")
with yaxil.session(login) as opened:
    for form, in_memory in (("native", False), ("flat", True)):
        opened.download(session, project=project, out_dir=str(Path(out) / form), in_mem=in_memory, out_format=form)
yaxil.storerest(login, artifacts, "YX")
print("done")
