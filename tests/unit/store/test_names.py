"""Names a server may send: refused ones and colliding ones."""

from __future__ import annotations

import gc
import tracemalloc
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xferengine.errors import UnsafePath
from xferengine.store.names import FolderTraits, NameClaims, check_relative, fold

EXACT = FolderTraits()
MAC = FolderTraits(ignores_case=True, ignores_form=True)
WINDOWS = FolderTraits(ignores_case=True, strips_ends=True)


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "EXP/scans/1-T1/resources/DICOM/files/1.2.840.dcm",
        "with blank.txt",
        " leading",
        "#?%+;'(),&=@!$~[]{}^`.txt",
        "a/..b/c..",
        ".hidden/…",
        "ümläut/日本語/é",
        "😀",
        "sub/.xferengine/file",
        ".xferengine2/file",
        "CON",
        "a:b/x",
        "n" * 255,
        "/".join(["d" * 100] * 40),
    ],
)
def test_unusual_names_are_fine(path: str) -> None:
    check_relative(path, windows=False)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("//host/share", "absolute"),
        ("C:/x", "drive letter"),
        ("c:", "drive letter"),
        ("a\\b", "backslash"),
        ("..\\b", "backslash"),
        ("..", r"\.\."),
        ("../x", r"\.\."),
        ("a/../../x", r"\.\."),
        ("a/./x", r"\.\."),
        (".", r"\.\."),
        ("a//b", "empty"),
        ("a/", "empty"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x7fb", "control"),
        ("a\x9bb", "control"),
        ("a\ud800b", "Unicode"),
        ("n" * 256, "255 bytes"),
        ("x/" + "é" * 128, "255 bytes"),
        ("/".join(["d" * 100] * 41), "4096 bytes"),
        (".xferengine/lock", "program itself"),
        (".XferEngine", "program itself"),
        (".xferengine./x", "program itself"),
        (".xfer\u200dengine/x", "program itself"),
    ],
)
def test_names_that_must_not_reach_the_disk(path: str, why: str) -> None:
    with pytest.raises(UnsafePath, match=why) as caught:
        check_relative(path, windows=False)

    if len(path) > 4:
        assert path not in caught.value.message


@pytest.mark.parametrize(
    "path",
    [
        "CON",
        "a/nul.txt",
        "com1",
        "LPT9.x.y",
        "COM².txt",
        "NUL .txt",
        "conin$",
        "a<b",
        "a:b/x",
        "q?",
        "dot.",
        "blank ",
        "a./b",
    ],
)
def test_windows_refuses_more(path: str) -> None:
    check_relative(path, windows=False)
    with pytest.raises(UnsafePath):
        check_relative(path, windows=True)


@pytest.mark.parametrize("path", ["CONSOLE", "a/null", "com10", "EXP/scans/1-T1/é.dcm"])
def test_windows_takes_names_that_only_look_reserved(path: str) -> None:
    check_relative(path, windows=True)


@given(st.text(alphabet=st.sampled_from("ab./\\:\0\n .é"), max_size=12))
def test_what_is_let_through_stays_below_its_folder(path: str) -> None:
    try:
        check_relative(path, windows=False)
    except UnsafePath:
        return
    assert not path.startswith("/")
    assert "\\" not in path
    assert "\0" not in path
    assert not {"", ".", ".."} & set(path.split("/"))


def claims(traits: FolderTraits, *paths: str) -> list[str | None]:
    names = NameClaims(traits)
    return [names.claim(path) for path in paths]


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("a/b", "a/b", "same name"),
        ("a/b/c", "a/b", "is a folder elsewhere"),
        ("a/b/c", "a", "is a folder elsewhere"),
        ("a", "a/b", "lies below a file"),
        ("a/b", "a/b/c/d", "lies below a file"),
        ("a/b", "a/c", None),
        ("a/b", "a/B", None),
        ("a/b", "A/b", None),
        ("é", "e\u0301", None),
        ("a/b", "a/bc/d", None),
    ],
)
def test_collisions_where_names_are_exact(first: str, second: str, reason: str | None) -> None:
    assert claims(EXACT, first, second) == [None, reason]


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("a/b.dcm", "a/B.dcm", "differs only in case"),
        ("a/b.dcm", "a/b.dcm", "same name"),
        ("é", "e\u0301", "differs only in Unicode form"),
        ("é", "E\u0301", "differs only in case"),
        ("straße", "STRASSE", "differs only in case"),
        ("σ", "ς", "differs only in case"),
        ("ab", "a\u200bb", "differs only in Unicode form"),
        ("DICOM/1", "dicom/2", "differs only in case"),
        ("A/x", "a", "is a folder elsewhere"),
        ("A", "a/x", "lies below a file"),
        ("A/x", "A/y", None),
    ],
)
def test_collisions_where_the_file_system_folds(first: str, second: str, reason: str | None) -> None:
    assert claims(MAC, first, second) == [None, reason]


def test_a_file_system_that_ignores_only_case_keeps_forms_apart() -> None:
    assert claims(FolderTraits(ignores_case=True), "é", "e\u0301", "É") == [None, None, "differs only in case"]


def test_ends_that_windows_drops_collide() -> None:
    assert claims(WINDOWS, "a/b", "a/b. ") == [None, "differs only in case"]


def test_a_refused_path_claims_nothing() -> None:
    assert claims(EXACT, "a", "a/b/c", "b", "a/b") == [None, "lies below a file", None, "lies below a file"]


NAMES = st.lists(
    st.lists(st.sampled_from(["a", "A", "b", "é", "e\u0301", "É"]), min_size=1, max_size=3).map("/".join), max_size=8
)


@given(NAMES, st.sampled_from([EXACT, MAC, FolderTraits(ignores_form=True), FolderTraits(ignores_case=True)]))
def test_claims_agree_with_a_tree_of_names(paths: list[str], traits: FolderTraits) -> None:
    names = NameClaims(traits)
    tree: dict[str, str] = {}  # folded path → how it was written, folders with / at the end
    for path in paths:
        steps = [path[:at] + "/" for at, letter in enumerate(path) if letter == "/"] + [path]
        known = [tree.get(fold(step.rstrip("/"), traits)) for step in steps]
        free = known[-1] is None and all(old in {None, step} for old, step in zip(known, steps, strict=True))

        assert (names.claim(path) is None) == free
        for step in steps if free else [step for step in steps[:-1] if not _blocked(known, steps)]:
            tree[fold(step.rstrip("/"), traits)] = step


def _blocked(known: list[str | None], steps: list[str]) -> bool:
    return any(old not in {None, step} for old, step in zip(known[:-1], steps[:-1], strict=True))


@given(st.text(max_size=20))
def test_folding_is_stable_and_blind_to_case_and_form(text: str) -> None:
    folded = fold(text, MAC)
    assert fold(unicodedata.normalize("NFD", text), MAC) == folded
    assert fold(unicodedata.normalize("NFC", text), MAC) == folded
    assert fold(text.casefold(), MAC) == folded


@pytest.mark.parametrize(("traits", "limit"), [(EXACT, 100), (MAC, 130)])
def test_a_claim_costs_little_memory(traits: FolderTraits, limit: int) -> None:
    count = 20_000
    gc.collect()
    tracemalloc.start()
    names = NameClaims(traits)
    for number in range(count):
        names.claim(f"EXPERIMENT/scans/1-T1/resources/DICOM/files/1.2.840.113619.2.1.1.{number:08}.dcm")
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(names) == count
    assert used / count < limit
