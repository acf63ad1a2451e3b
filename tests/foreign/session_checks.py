"""Checks of DICOM sessions: log in, upload, list (what every client did first)."""

from __future__ import annotations

from pathlib import Path

from bench import PROJECT, Bench, CheckFailed, expect_text
from dicom_session import write_session


def new_session(bench: Bench, name: str) -> tuple[Path, dict[str, set[str]]]:
    """Write a session of two series of four instances; return its folder and the UIDs by scan."""
    folder = bench.folder / name
    return folder, write_session(folder, patient=name, series=2, instances=4)


def expect_uids(bench: Bench, label: str, wanted: dict[str, set[str]]) -> None:
    """Compare the archived session's catalogs with what was sent."""
    found = bench.state.archived_uids(PROJECT, label)
    if found != wanted:
        raise CheckFailed(f"session {label}: sent {wanted}, archived {found}")


def check_xnatpy(bench: Bench) -> None:
    """xnatpy: login, listing, services.import_dir."""
    folder, wanted = new_session(bench, "XNATPY")
    bench.python("xnatpy", "use_xnatpy.py", folder, "SUBJ_XP", "SESS_XP")
    bench.state.archive_from_prearchive(PROJECT, "SESS_XP")
    expect_uids(bench, "SESS_XP", wanted)


def check_xnatpy_listing(bench: Bench) -> None:
    """xnatpy: lists the archived session with its scans and files."""
    expect_text(bench.python("xnatpy", "list_xnatpy.py", "SESS_XP"), "scans 2 files 8", "xnatpy lists")


def check_pyxnat(bench: Bench) -> None:
    """pyxnat: login, listing, raw post to the import service."""
    folder, wanted = new_session(bench, "PYXNAT")
    bench.python("pyxnat", "use_pyxnat.py", folder, "SUBJ_PX", "SESS_PX")
    bench.state.archive_from_prearchive(PROJECT, "SESS_PX")
    expect_uids(bench, "SESS_PX", wanted)


def check_pyxnat_listing(bench: Bench) -> None:
    """pyxnat: lists the archived session with its scans and files."""
    expect_text(bench.python("pyxnat", "list_pyxnat.py", "SUBJ_PX", "SESS_PX"), "scans 2 files 8", "pyxnat lists")


def check_xnatctl_login(bench: Bench) -> None:
    """xnatctl: login and project listing."""
    expect_text(bench.xnatctl("project", "list", "-o", "json"), PROJECT, "xnatctl lists")


def check_xnatctl_prearchive(bench: Bench) -> None:
    """xnatctl: session upload --prearchive."""
    folder, wanted = new_session(bench, "CTLPRE")
    bench.xnatctl(
        "session", "upload", folder, "-P", PROJECT, "-S", "SUBJ_CP", "-E", "SESS_CP", "-w", "2", "--prearchive"
    )
    bench.state.archive_from_prearchive(PROJECT, "SESS_CP")
    expect_uids(bench, "SESS_CP", wanted)


def check_xnatctl_direct(bench: Bench) -> None:
    """xnatctl: session upload in its default direct-archive form."""
    folder, wanted = new_session(bench, "CTLDIR")
    bench.xnatctl("session", "upload", folder, "-P", PROJECT, "-S", "SUBJ_CD", "-E", "SESS_CD", "-w", "2")
    bench.state.wait_archived(PROJECT, "SESS_CD")
    expect_uids(bench, "SESS_CD", wanted)


def check_xnatctl_listing(bench: Bench) -> None:
    """xnatctl: lists the sessions of the project."""
    printed = bench.xnatctl("session", "list", "-P", PROJECT, "-o", "json")
    expect_text(printed, "SESS_CD", "xnatctl lists")
    expect_text(printed, "SESS_CP", "xnatctl lists")


SESSION_CHECKS = (
    check_xnatpy,
    check_xnatpy_listing,
    check_pyxnat,
    check_pyxnat_listing,
    check_xnatctl_login,
    check_xnatctl_prearchive,
    check_xnatctl_direct,
    check_xnatctl_listing,
)
