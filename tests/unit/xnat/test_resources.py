"""Writing into resources, over a scripted server."""

from __future__ import annotations

import json

import pytest

from xferengine.errors import AccessDenied, Ambiguous, LoginExpired, ProtocolViolation
from xferengine.model.items import ItemRef, Level, ResourceRef
from xferengine.xnat.faults import ConcurrentWrite
from xferengine.xnat.resources import ResourceMarks, Resources, is_plain_path, is_safe_label
from xferengine.xnat.transport import BytesBody, Kind

ITEM = ItemRef(level=Level.SCAN, project="P", experiment_id="E1", child_id="7")
REF = ResourceRef(item=ITEM, id="42", label="NOTES")
ZIP = BytesBody(b"PK", "application/zip")


async def test_create_is_content_with_one_that_exists(scripted) -> None:
    exists = scripted((409, "<h3>Specified resource already exists.</h3>", "text/html"))
    assert await Resources(exists).create(ITEM, "R") is False
    made = scripted((200, ""))
    assert await Resources(made).create(ITEM, "R", ResourceMarks(content="C", tags="a,b")) is True
    request = made.requests[0]
    assert request.segments == ("data", "experiments", "E1", "scans", "7", "resources", "R")
    assert {("content", "C"), ("tags", "a,b")} <= set(request.query)
    assert "format" not in dict(request.query), "an empty mark would be written"


async def test_create_tells_of_a_missing_right_and_of_a_doubt(scripted) -> None:
    with pytest.raises(AccessDenied):
        await Resources(scripted((403, ""))).create(ITEM, "R")
    with pytest.raises(Ambiguous):
        await Resources(scripted((504, ""))).create(ITEM, "R")


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ((200, "", "text/plain"), []),
        ((200, '{"duplicates":["a/b", "c é"]}', "text/html"), ["a/b", "c é"]),
        ((200, '{"duplicates":["c é"]}'.encode("latin-1"), "text/html"), ["c é"]),
        ((200, '{"other":1}', "text/html"), []),
        ((200, '{"duplicates":null}', "text/html"), []),
    ],
)
async def test_what_was_not_stored(scripted, answer, names: list[str]) -> None:
    assert await Resources(scripted(answer)).send_bundle(REF, "x-1.zip", ZIP, overwrite=False) == names


async def test_a_bundle_asks_for_one_count_less_and_overwrites_only_when_told(scripted) -> None:
    call = scripted((200, ""), (200, ""))
    await Resources(call).send_bundle(REF, "x-1.zip", ZIP, overwrite=False)
    await Resources(call).send_bundle(REF, "x-2.zip", ZIP, overwrite=True)
    plain, over = call.requests
    assert plain.segments[-4:] == ("resources", "42", "files", "x-1.zip")
    assert {("inbody", "true"), ("extract", "true"), ("update-stats", "false")} <= set(plain.query)
    assert "overwrite" not in dict(plain.query)
    assert ("overwrite", "true") in over.query
    assert (plain.kind, plain.body) == (Kind.COMMIT, ZIP)


async def test_a_single_file_is_never_unpacked(scripted) -> None:
    call = scripted((200, '{"duplicates":["a/b.gz"]}', "text/html"))
    assert await Resources(call).send_file(REF, "a/b.gz", ZIP, overwrite=False) == ["a/b.gz"]
    assert call.requests[0].segments[-2:] == ("a", "b.gz")
    assert "extract" not in dict(call.requests[0].query)


async def test_an_upload_answered_with_a_login_page_or_broken_json(scripted) -> None:
    with pytest.raises(LoginExpired):
        await Resources(scripted((200, "<html>", "text/html"))).send_bundle(REF, "x.zip", ZIP, overwrite=False)
    with pytest.raises(ProtocolViolation):
        await Resources(scripted((200, '{"dupl', "text/html"))).send_bundle(REF, "x.zip", ZIP, overwrite=False)


async def test_a_500_may_have_stored_everything(scripted) -> None:
    with pytest.raises(Ambiguous) as caught:
        await Resources(scripted((500, ""))).send_bundle(REF, "x.zip", ZIP, overwrite=False)
    assert caught.value.status == 500
    assert not isinstance(caught.value, ConcurrentWrite)


async def test_a_catalog_that_somebody_else_changed_is_told_from_any_other_500(scripted) -> None:
    text = "<html><h3>Another thread or process modified /data/P/LABEL_catalog.xml since I last read it.</h3></html>"
    with pytest.raises(ConcurrentWrite) as caught:
        await Resources(scripted((500, text, "text/html"))).send_bundle(REF, "x.zip", ZIP, overwrite=False)
    assert "LABEL" not in str(caught.value)
    with pytest.raises(Ambiguous, match="Justification required") as other:
        await Resources(scripted((500, "Justification required."))).send_bundle(REF, "x.zip", ZIP, overwrite=False)
    assert not isinstance(other.value, ConcurrentWrite)


async def test_children_of_an_experiment(scripted) -> None:
    rows = [{"ID": "1", "type": "T1"}, {"ID": "", "type": "x"}, {"ID": "A1", "label": "QC", "xsiType": "xnat:qc"}]
    body = json.dumps({"ResultSet": {"Result": rows}})
    found = await Resources(scripted((200, body))).list_children(ITEM, "scans")
    assert [(child.id, child.label, child.type) for child in found] == [("1", "", "T1"), ("A1", "QC", "xnat:qc")]
    assert "QC" not in repr(found[1])


@pytest.mark.parametrize(("label", "safe"), [
    ("NOTES", True), ("a.b-c_1", True), ("1a", True), ("12", False), ("", False), ("NULL", False), ("..", False),
    ("a b", False), ("a,b", False), ("it's", False), ("é", False), ("x" * 64, True), ("x" * 65, False), ("a\n", False),
])  # fmt: skip
def test_labels_that_can_be_made_and_found_again(label: str, safe: bool) -> None:
    assert is_safe_label(label) is safe


@pytest.mark.parametrize(("path", "plain"), [
    ("a/b.nii.gz", True), ("a b+c", True), (".hidden", True), ("a%b", False), ("a;b", False), ("a#b", False),
    ("é", False), ("a(b)", False), ("a/../b", False), ("a//b", False), ("", False), ("a/b\n", False),
])  # fmt: skip
def test_paths_that_a_put_stores_as_they_are(path: str, plain: bool) -> None:
    assert is_plain_path(path) is plain
