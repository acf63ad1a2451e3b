"""Checks of resource files and downloads: bytes on the server's disk and in what clients fetched are compared.

They use the sessions that `session_checks` uploaded. What a client is known to get wrong itself is left out of its
sample or asserted as what it does, with the reason beside it.
"""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

from bench import PROJECT, Bench, CheckFailed, Tree, by_name, expect, expect_text, tree

_BIG_BYTES = 700_000


def sample(bench: Bench, name: str, *, left_out: tuple[str, ...] = ()) -> tuple[Path, Tree]:
    """Write a folder of files with awkward names; return it and what is in it."""
    generator = random.Random(name)
    files = {
        "a.bin": generator.randbytes(3000),
        "d/e/big.bin": generator.randbytes(_BIG_BYTES),
        "d/Upper.TXT": b"upper\n",
        "blank x.bin": generator.randbytes(10),
        "plus+x.bin": generator.randbytes(11),
        "h#sh.bin": generator.randbytes(12),
        "\u00fc.bin": generator.randbytes(13),
        "empty.bin": b"",
    }
    wanted = {path: data for path, data in files.items() if path not in left_out}
    folder = bench.folder / f"sample_{name}"
    for path, data in wanted.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder, wanted


def scan_files(bench: Bench, session: str) -> Tree:
    """Return the DICOM files of a session on the server's disk, by name."""
    files = by_name(bench.stored(session, "SCANS"))
    if len(files) != 8:
        raise CheckFailed(f"session {session} holds {sorted(files)}")
    return files


# -- xnatpy ---------------------------------------------------------------------------------------------------------


def check_xnatpy_files(bench: Bench) -> None:
    """xnatpy: uploads a folder in three ways and one file, downloads resource, file and session."""
    folder, wanted = sample(bench, "xp")
    out = bench.new_folder("xp")
    bench.python("xnatpy", "files_xnatpy.py", "SESS_XP", folder, out)
    expect(bench.stored("SESS_XP", "RESOURCES", "XP_TGZ"), wanted, "xnatpy tgz_file")
    expect(bench.stored("SESS_XP", "RESOURCES", "XP_TAR"), wanted, "xnatpy tar_memory")
    # File by file it leaves out empty files, and a `#` cuts the rest of the name off (peers 5).
    single = {path: data for path, data in wanted.items() if data and "#" not in path}
    single["h"] = wanted["h#sh.bin"]
    # A request library escapes what is not ASCII, and XNAT stores the escapes when there is no `%20` (FIL 9.3).
    single["%C3%BC.bin"] = single.pop("\u00fc.bin")
    expect(bench.stored("SESS_XP", "RESOURCES", "XP_FILES"), single, "xnatpy per_file")
    expect(tree(out / "resource" / "SESS_XP" / "resources" / "XP_TGZ" / "files"), wanted, "xnatpy download_dir")
    expect(tree(out / "file"), {"big.bin": wanted["d/e/big.bin"]}, "xnatpy file download")
    expect(by_name(tree(out / "session")), scan_files(bench, "SESS_XP"), "xnatpy session download_dir")


# -- pyxnat ---------------------------------------------------------------------------------------------------------


def check_pyxnat_files(bench: Bench) -> None:
    """pyxnat: uploads a folder and single files, downloads resource, file and scans."""
    folder, wanted = sample(bench, "px")
    out = bench.new_folder("px")
    bench.python("pyxnat", "files_pyxnat.py", "SUBJ_PX", "SESS_PX", folder, out)
    expect(bench.stored("SESS_PX", "RESOURCES", "PX_DIR"), wanted, "pyxnat put_dir")
    one = {"d/one.bin": wanted["a.bin"]}
    expect(bench.stored("SESS_PX", "RESOURCES", "PX_ONE"), one, "pyxnat file put")
    expect(tree(out / "resource" / "PX_DIR"), wanted, "pyxnat resource get")
    expect(tree(out / "file"), {"one.bin": wanted["a.bin"]}, "pyxnat file get")
    expect(by_name(tree(out / "scans")), scan_files(bench, "SESS_PX"), "pyxnat scans download")


# -- yaxil ----------------------------------------------------------------------------------------------------------


def check_yaxil_files(bench: Bench) -> None:
    """yaxil: stores files of an assessor by multipart PUT, downloads a session in both of its forms."""
    out = bench.new_folder("yx")
    accession = bench.state.accession(PROJECT, "SESS_XP")
    artifacts, wanted = _artifacts(bench, accession)
    bench.python("yaxil", "files_yaxil.py", "SESS_XP", artifacts, out)
    stored = bench.stored("SESS_XP", "ASSESSORS", "YAXIL_A", "out", "YX")
    expect(stored, wanted, "yaxil storerest")
    files = scan_files(bench, "SESS_XP")
    expect(by_name(tree(out / "native")), files, "yaxil download native")
    # The flat form knows base names alone, which is no loss for files named by UIDs (peers 5).
    expect(tree(out / "flat"), files, "yaxil download flat")


def _artifacts(bench: Bench, accession: str) -> tuple[Path, Tree]:
    """Write what storerest wants: an assessor's document and folders of files."""
    folder = bench.folder / "artifacts"
    (folder / "assessor").mkdir(parents=True)
    (folder / "assessor" / "assessment.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<xnat:QCAssessment xmlns:xnat="http://nrg.wustl.edu/xnat" ID="YAXIL_A" project="{PROJECT}" label="YAXIL_A">'
        f"<xnat:imageSession_ID>{accession}</xnat:imageSession_ID></xnat:QCAssessment>\n"
    )
    wanted = {"pdf/report.bin": random.Random("yx").randbytes(5000), "log/empty.txt": b"", "log/out.txt": b"line\n"}
    for path, data in wanted.items():
        (folder / "resources" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "resources" / path).write_bytes(data)
    return folder, wanted


# -- xnatctl --------------------------------------------------------------------------------------------------------


def check_xnatctl_files(bench: Bench) -> None:
    """xnatctl: uploads a folder and a file, downloads the resource."""
    folder, wanted = sample(bench, "ctl")
    out = bench.new_folder("ctl")
    accession = bench.state.accession(PROJECT, "SESS_CD")
    bench.xnatctl("resource", "upload", accession, "CTL_DIR", folder)
    expect(bench.stored("SESS_CD", "RESOURCES", "CTL_DIR"), wanted, "xnatctl resource upload")
    bench.xnatctl("resource", "upload", accession, "CTL_ONE", folder / "blank x.bin")
    one = {"blank x.bin": wanted["blank x.bin"]}
    expect(bench.stored("SESS_CD", "RESOURCES", "CTL_ONE"), one, "xnatctl resource upload of a file")
    bench.xnatctl("resource", "download", accession, "CTL_DIR", "-f", out / "r.zip")
    with zipfile.ZipFile(out / "r.zip") as archive:
        found = {name.partition("/files/")[2]: archive.read(name) for name in archive.namelist()}
    expect(found, wanted, "xnatctl resource download")


def check_xnatctl_download(bench: Bench) -> None:
    """xnatctl: session download in one zip and scan by scan."""
    files = scan_files(bench, "SESS_CD")
    command = ("session", "download", "-E", "SESS_CD", "-P", PROJECT, "--extract")
    for workers in ("1", "2"):
        out = bench.new_folder(f"ctl_session_{workers}")
        bench.xnatctl(*command, "--out", out, "-w", workers)
        expect(by_name(tree(out)), files, f"xnatctl session download with {workers} workers")
    # Listings name resources by number (FIL 1.5), which its --verify takes for the label of the folder on disk.
    try:
        bench.xnatctl(*command, "--out", bench.new_folder("ctl_verify"), "--verify")
    except CheckFailed as error:
        expect_text(str(error), "0 mismatched, 8 missing", "xnatctl --verify")
    else:
        raise CheckFailed("xnatctl --verify passes: its check of numbered resources was mended")


# -- xnatutils ------------------------------------------------------------------------------------------------------


def check_xnatutils(bench: Bench) -> None:
    """xnatutils: xnat-put with its own digest check, xnat-get of the session."""
    netrc = bench.home / ".netrc"
    host = bench.url.partition("://")[2]
    netrc.write_text(f"machine {host}\nlogin admin\npassword admin\n")
    netrc.chmod(0o600)
    # Its digest check looks for blanks as `%20` in the listing and does not go into folders (put_.py 0.10).
    folder, wanted = sample(bench, "xu", left_out=("blank x.bin", "d/e/big.bin", "d/Upper.TXT"))
    server = ("--server", bench.url)
    scans = scan_files(bench, "SESS_CP")
    bench.tool(
        "xnatutils", "xnat-put", "SESS_CP", "extra", folder, "--resource_name", "XU", "--project_id", PROJECT,
        "--subject_id", "SUBJ_CP", *server,
    )  # fmt: skip
    expect(bench.stored("SESS_CP", "SCANS", "extra", "XU"), wanted, "xnat-put")
    # Without a name it asks every scan for the resource of the first one (get_.py 0.10), so each is named.
    for name, files in (("XU", wanted), ("DICOM", scans)):
        out = bench.new_folder(f"xu_{name}")
        command = ("xnat-get", "SESS_CP", "--resource_name", name, "--project", PROJECT, "--target", out)
        bench.tool("xnatutils", *command, *server)
        expect(by_name(tree(out)), files, f"xnat-get of {name}")


FILE_CHECKS = (
    check_xnatpy_files,
    check_pyxnat_files,
    check_yaxil_files,
    check_xnatctl_files,
    check_xnatctl_download,
    check_xnatutils,
)
