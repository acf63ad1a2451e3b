"""``--map``: good lines, and bad ones with their number."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.errors import SettingsError
from xferengine.jobs.mapfile import read_map


def write(path: Path, text: str) -> Path:
    file = path / "map.csv"
    file.write_text(text)
    return file


def test_the_most_precise_line_wins(tmp_path: Path) -> None:
    found = read_map(
        write(
            tmp_path,
            "path,StudyInstanceUID,PatientID,subject,session\n"
            f"{tmp_path}/a,,,S1,E1\n{tmp_path}/a/b,,,S2,E2\n,1.2.3,,S3,E3\n,,P7,S4,E4\nrel,,,S5,E5\n",
        )
    )

    def session(uid: str, folder: str, patients: list[str]) -> str:
        line = found.find(uid, [folder], patients)
        return line.session if line else ""

    assert session("9", f"{tmp_path}/a/x", []) == "E1"
    assert session("9", f"{tmp_path}/a/b/c/d", ["P7"]) == "E2"
    assert session("1.2.3", f"{tmp_path}/a/b", ["P7"]) == "E3"
    assert session("9", "/elsewhere", ["P7"]) == "E4"
    assert session("9", f"{tmp_path}/rel/deep", []) == "E5"
    assert found.find("9", ["/elsewhere"], []) is None


def test_cells_left_out_fall_back(tmp_path: Path) -> None:
    line = read_map(write(tmp_path, "\ufeffPatientID, session\nP1, E1\n")).find("1", [], ["P1"])
    assert line is not None
    assert (line.project, line.subject, line.session) == ("", "", "E1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1"),
        ("PatientID\nP1\n", "line 1"),
        ("subject,session\nS,E\n", "line 1"),
        ("PatientID,subject,colour\nP,S,red\n", "line 1"),
        ("PatientID,subject\nP1,S1\nP2\n", "line 3"),
        ("PatientID,subject\nP1,S1\nP2,S2,more\n", "line 3"),
        ("PatientID,subject\n,S1\n", "line 2"),
        ("PatientID,subject\nP1,S1\nP1,S2\n", "line 3"),
        ("PatientID,subject\nP1,S 1\n", "line 2"),
        ("PatientID,session\nP1,E1\nP2,E#2\n", "line 3"),
        ('PatientID,session\nP1,"E1\n', "line"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        read_map(write(tmp_path, text))


def test_a_map_that_cannot_be_read_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.csv"):
        read_map(tmp_path / "nowhere.csv")
    (tmp_path / "latin.csv").write_bytes(b"PatientID,session\nP\xe9,E\n")
    with pytest.raises(SettingsError, match="UTF-8"):
        read_map(tmp_path / "latin.csv")


@given(st.binary(max_size=300))
def test_no_bytes_at_all_make_it_crash(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.csv"
    file.write_bytes(data)
    with contextlib.suppress(SettingsError):
        read_map(file)
