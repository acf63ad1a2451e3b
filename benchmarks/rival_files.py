"""Download and upload with a rival's own library, in the rival's environment.

    python rival_files.py CLIENT ACTION URL FOLDER PLACE

CLIENT is xnatpy, pyxnat or yaxil. PLACE is a JSON file: project, sessions as [subject, label, accession], and for a
resource its scan, label and files. ACTION is one of

    sessions   each session to a folder of its own, one after another on one connection
    resource   a resource of many files in one go
    singly     the files of a resource that PLACE names, one by one
    upload     a folder into a new resource, in the way that is the client's default (xnatpy: tar.gz)
    upload-tar      the same as a tar, where the client can
    upload-one      the only file, as it is
    upload-singly   the same, one request for each file
"""

import json
import sys
from pathlib import Path

client, action, url = sys.argv[1:4]
folder = Path(sys.argv[4])
place = json.loads(Path(sys.argv[5]).read_text())
LOGIN = "admin"


def xnatpy() -> None:
    """xnatpy (peers: connect once, then archives unpacked after they arrived)."""
    import xnat

    with xnat.connect(url, user=LOGIN, password=LOGIN) as connection:
        project = connection.projects[place["project"]]
        if action == "sessions":
            for _, label, _ in place["sessions"]:
                project.experiments[label].download_dir(str(folder), verbose=False)
            return
        experiment = project.experiments[place["sessions"][0][1]]
        if action.startswith("upload"):
            resource = experiment.create_resource(place["resource"])
            if action == "upload-one":
                name = place["files"][0]
                resource.upload(str(folder / name), name)
                return
            ways = {"upload": "tgz_file", "upload-tar": "tar_file", "upload-singly": "per_file"}
            resource.upload_dir(str(folder), method=ways[action])
            return
        resource = experiment.scans[place["scan"]].resources[place["resource"]]
        if action == "resource":
            resource.download_dir(str(folder), verbose=False)
        for name in place["files"] if action == "singly" else ():
            resource.files[name].download(str(folder / name), verbose=False)


def pyxnat() -> None:
    """pyxnat."""
    import pyxnat as library

    interface = library.Interface(server=url, user=LOGIN, password=LOGIN)
    for subject, label, _ in place["sessions"]:
        experiment = interface.select.project(place["project"]).subject(subject).experiment(label)
        if action == "sessions":
            target = folder / label
            target.mkdir()
            experiment.scans().download(str(target), type="ALL", extract=True, removeZip=True)
        elif action == "upload":
            experiment.resource(place["resource"]).put_dir(str(folder), overwrite=True)
        elif action in ("upload-singly", "upload-one"):
            resource = experiment.resource(place["resource"])
            for path in sorted(folder.iterdir()):
                resource.file(path.name).put(str(path), overwrite=True)
        else:
            resource = experiment.scan(place["scan"]).resource(place["resource"])
            if action == "resource":
                resource.get(str(folder), extract=True)
            for name in place["files"] if action == "singly" else ():
                resource.file(name).get(str(folder / name))
    interface.disconnect()


def yaxil() -> None:
    """yaxil, which knows sessions only."""
    import yaxil as library

    login = library.auth2(host=url, username=LOGIN, password=LOGIN)
    with library.session(login) as opened:
        for _, label, _ in place["sessions"]:
            opened.download(
                label, project=place["project"], out_dir=str(folder / label), in_mem=False, out_format="native"
            )


{"xnatpy": xnatpy, "pyxnat": pyxnat, "yaxil": yaxil}[client]()
