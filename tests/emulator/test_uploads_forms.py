"""What an upload may be, where it may go, and who refuses it (FIL 1.3, FIL 1.4, FIL 9.2, FIL 9.3)."""

import gzip

import pytest
from emulator.core_kit import settle
from emulator.files_kit import FILES, RESOURCE, names, put
from emulator.http_kit import SESSION, open_browser

XML = {"Content-Type": "text/xml"}
NAMESPACE = 'xmlns:xnat="http://nrg.wustl.edu/xnat"'


async def resources(site, base=f"{SESSION}/scans/1"):
    """Return the rows of a resource listing."""
    return (await site.ask("GET", f"{base}/resources")).rows


class TestReference:
    """FIL 1.4: files that lie on the server's disk."""

    async def test_a_file_is_copied_and_with_delete_moved(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"abc")
        async with open_browser(reference_dir=tmp_path) as site:
            await site.make_session("1")
            assert (await site.ask("PUT", f"{FILES}?reference={tmp_path}/a.txt")).status == 200
            assert (tmp_path / "a.txt").exists()
            assert (await site.ask("PUT", f"{FILES}/d/b.txt?reference={tmp_path}/a.txt&delete=true")).status == 200
            assert not (tmp_path / "a.txt").exists()
            assert (await site.ask("GET", f"{FILES}/a.txt")).body == b"abc"
            assert (await site.ask("GET", f"{FILES}/d/b.txt")).body == b"abc"

    async def test_a_directory_is_moved(self, tmp_path):
        (tmp_path / "t" / "d").mkdir(parents=True)
        (tmp_path / "t" / "a.txt").write_bytes(b"one")
        (tmp_path / "t" / "d" / "b.txt").write_bytes(b"two")
        async with open_browser(reference_dir=tmp_path) as site:
            await site.make_session("1")
            assert (await site.ask("PUT", f"{FILES}?reference={tmp_path}/t")).status == 200
            assert not (tmp_path / "t").exists()
            assert (await site.ask("GET", f"{FILES}/d/b.txt")).body == b"two"

    async def test_what_exists_is_a_duplicate_and_stays_where_it_was(self, tmp_path):
        (tmp_path / "t").mkdir()
        (tmp_path / "t" / "a.txt").write_bytes(b"new")
        async with open_browser(reference_dir=tmp_path) as site:
            await site.make_session("1")
            await put(site, "a.txt", b"old")
            answer = await site.ask("PUT", f"{FILES}?reference={tmp_path}/t")
            assert answer.json == {"duplicates": ["a.txt"]}
            assert (tmp_path / "t" / "a.txt").read_bytes() == b"new"

    async def test_async_answers_with_a_workflow(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"abc")
        async with open_browser(reference_dir=tmp_path) as site:
            await site.make_session("1")
            answer = await site.ask("PUT", f"{FILES}?reference={tmp_path}/a.txt&async=true")
            assert answer.json == {"workflowId": 1}
            while await names(site) != ["a.txt"]:
                await settle(1)

    async def test_outside_the_folder_is_400(self, tmp_path):
        (tmp_path / "secret").write_bytes(b"x")
        (tmp_path / "in").mkdir()
        for switches in ({}, {"reference_dir": tmp_path / "in"}):
            async with open_browser(**switches) as site:
                await site.make_session("1")
                for path in (tmp_path / "secret", tmp_path / "in" / ".." / "secret", tmp_path / "in" / "none"):
                    assert (await site.ask("PUT", f"{FILES}?reference={path}")).status == 400


class TestNames:
    async def test_catalog_and_lock_names_are_taken_once(self):
        """FIL 1.4: the refusal fires only when such a file exists."""
        async with open_browser() as site:
            await site.make_session("1")
            for name in ("x_catalog.xml", "d/.~lock-1"):
                assert (await put(site, name)).status == 200
                answer = await put(site, name, b"y", "&overwrite=true")
                assert (answer.status, answer.message) == (500, f"XNAT cannot catalog {name.rpartition('/')[2]}")
            assert sorted(await names(site)) == [".~lock-1", "x_catalog.xml"]

    async def test_the_resources_own_catalog_is_refused(self):
        async with open_browser() as site:
            await site.make_session("1")
            assert (await put(site, "R_catalog.xml")).status == 500

    async def test_a_label_is_not_decoded(self):
        """FIL 0: route variables stay percent-encoded."""
        async with open_browser() as site:
            await site.make_session("1")
            await site.ask("PUT", f"{SESSION}/scans/1/resources/My%20Res/files/a.txt?inbody=true", b"x")
            assert [row["label"] for row in await resources(site)] == ["My%20Res"]

    async def test_an_apostrophe_in_the_label_is_200_and_nothing_stored(self):
        async with open_browser() as site:
            await site.make_session("1")
            answer = await site.ask("PUT", f"{SESSION}/scans/1/resources/a'b/files/a.txt?inbody=true", b"x")
            assert (answer.status, answer.body, site.world.resources) == (200, b"", {})

    async def test_digits_are_a_number_and_never_a_label(self):
        """FIL 1.1."""
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt")
            number = next(iter(site.world.resources))
            by_number = f"{SESSION}/scans/1/resources/{number}"
            assert (await site.ask("PUT", f"{by_number}/files/b.txt?inbody=true", b"x")).status == 200
            assert await names(site) == ["a.txt", "b.txt"]
            for target in (
                f"{SESSION}/scans/1/resources/77",
                f"{SESSION}/scans/1/resources/77/files/a.txt?inbody=true",
            ):
                assert (await site.ask("PUT", target, b"x")).status == 404

    @pytest.mark.parametrize(("path", "status"), [("a%25b", 500), ("a;b", 500), ("a%2Fb", 400), ("a%5Cb", 400)])
    async def test_firewall_and_container(self, path, status):
        """FIL 9.2: what the firewall refuses has its own status, what the container refuses is 400."""
        async with open_browser(firewall_status=500) as site:
            await site.make_session("1")
            assert (await put(site, path)).status == status

    async def test_no_firewall_lets_a_percent_sign_through(self):
        async with open_browser(firewall=False) as site:
            await site.make_session("1")
            assert (await put(site, "a%2525b%20c")).status == 200
            assert await names(site) == ["a%25b c"]


class TestResourceAttributes:
    async def test_tags_of_a_file_are_not_split_and_accumulate(self):
        async with open_browser() as site:
            await site.make_session("1")
            await put(site, "a.txt", b"x", "&tags=a,b")
            await put(site, "b.txt", b"x", "&tags=c&description=D")
            assert [row["tags"] for row in await resources(site)] == ["a,b,c"]
            (resource,) = site.world.resources.values()
            assert (resource.tags, resource.description) == (["a,b", "c"], "D")

    async def test_tags_of_a_folder_are_split_and_may_have_names(self):
        async with open_browser() as site:
            await site.make_session("1")
            await site.ask("PUT", f"{RESOURCE}?tags=a,k:v,n=w")
            assert next(iter(site.world.resources.values())).tags == ["a", "k=v", "n=w"]

    async def test_a_document_gives_attributes_but_not_the_label(self):
        async with open_browser() as site:
            await site.make_session("1")
            body = f'<xnat:ResourceCatalog {NAMESPACE} label="Z" format="NIFTI" content="C"/>'
            assert (await site.ask("PUT", RESOURCE, body, headers=XML)).status == 200
            (row,) = await resources(site)
            assert (row["label"], row["format"], row["content"]) == ("R", "NIFTI", "C")

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (f"<xnat:Project {NAMESPACE}/>", 422),
            (f'<xnat:ResourceCatalog {NAMESPACE} xnat_abstractresource_id="1"/>', 409),
            (f'<xnat:ResourceCatalog {NAMESPACE} xnat_abstractresource_id="99"/>', 422),
            ("<xnat:Res", 400),
        ],
    )
    async def test_documents_that_are_refused(self, body, status):
        """FIL 1.3."""
        async with open_browser() as site:
            await site.make_session("1")
            await site.ask("PUT", f"{SESSION}/resources/OTHER")
            assert (await site.ask("PUT", RESOURCE, body, headers=XML)).status == status
            assert await resources(site) == []

    async def test_a_resource_that_is_no_catalog_takes_no_files(self):
        async with open_browser() as site:
            await site.make_session("1")
            await site.ask("PUT", RESOURCE)
            next(iter(site.world.resources.values())).element_name = "xnat:dicomSeries"
            answer = await put(site, "a.txt")
            assert (answer.status, answer.message) == (500, "Conflict:Non-catalog resource already exits.")


class TestPolicies:
    """FIL 1.4: a site may demand a reason and a name for each change."""

    async def test_justification_and_event_name(self):
        async with open_browser(require_justification=True, require_event_name=True) as site:
            await site.make_session("1")
            assert (await site.ask("PUT", RESOURCE)).message == "Justification required."
            assert (await put(site, "a.txt", b"x", "&event_reason=r")).message == "Event name required."
            assert (await put(site, "a.txt", b"x", "&event_reason=r&event_action=a")).status == 200

    async def test_no_workflow_no_policy(self):
        async with open_browser(require_justification=True) as site:
            await site.make_session("1")
            assert (await put(site, "a.txt", b"x", "&update-stats=false")).status == 200
            assert (await put(site, "b.txt", b"x", "&event_id=5")).status == 200


class TestLevels:
    async def test_files_at_every_level(self):
        """FIL 1.1: project, subject, session, scan, and in and out of reconstructions and assessors."""
        async with open_browser() as site:
            await site.make_session("1")
            assert (await site.ask("PUT", f"{SESSION}/reconstructions/C%201?type=t")).status == 200
            assert (await site.ask("PUT", f"{SESSION}/assessors/A?xsiType=xnat:qcAssessmentData")).status == 201
            bases = ["/data/projects/P", "/data/projects/P/subjects/S", SESSION, f"{SESSION}/scans/1"]
            bases += [f"{SESSION}/{kind}{side}" for kind in ("reconstructions/C%201", "assessors/A")
                      for side in ("/in", "/out")]  # fmt: skip
            for number, base in enumerate(bases):
                target = f"{base}/resources/L/files/d/a.txt"
                assert (await site.ask("PUT", f"{target}?inbody=true", b"%d" % number)).status == 200
            for number, base in enumerate(bases):
                assert (await site.ask("GET", f"{base}/resources/L/files/d/a.txt")).body == b"%d" % number
            # Without a side it is out (FIL 1.1).
            assert (await site.ask("GET", f"{SESSION}/assessors/A/resources/L/files/d/a.txt")).body == b"7"

    @pytest.mark.parametrize("item", ["reconstructions/C", "assessors/A"])
    async def test_a_folder_put_to_in_is_registered_as_out(self, item):
        """FIL 1.3: only a file PUT honours `in`."""
        async with open_browser() as site:
            await site.make_session("1")
            await site.ask("PUT", f"{SESSION}/reconstructions/C?type=t")
            await site.ask("PUT", f"{SESSION}/assessors/A?xsiType=xnat:qcAssessmentData")
            assert (await site.ask("PUT", f"{SESSION}/{item}/in/resources/L")).status == 200
            assert await resources(site, f"{SESSION}/{item}/in") == []
            assert [row["label"] for row in await resources(site, f"{SESSION}/{item}/out")] == ["L"]

    async def test_unknown_reconstruction_is_404(self):
        async with open_browser() as site:
            await site.make_session("1")
            answer = await site.ask("PUT", f"{SESSION}/reconstructions/Q/out/resources/L/files/a?inbody=true", b"x")
            assert (answer.status, answer.message) == (404, "Unable to identify reconstruction.")

    async def test_deleted_reconstruction_takes_its_resources_along(self):
        async with open_browser() as site:
            await site.make_session("1")
            base = f"{SESSION}/reconstructions/C"
            await site.ask("PUT", f"{base}?type=t")
            await site.ask("PUT", f"{base}/in/resources/L/files/a.txt?inbody=true", b"x")
            assert (await site.ask("DELETE", f"{base}?removeFiles=true")).status == 200
            assert site.world.resources == {}
            assert not list(site.world.data_dir.rglob("a.txt"))

    async def test_files_without_a_resource_make_one_named_by_the_time(self):
        """FIL 1.4."""
        async with open_browser() as site:
            await site.make_session("1")
            for name in ("a", "b"):
                assert (await site.ask("PUT", f"{SESSION}/scans/1/files/{name}.txt?inbody=true", b"x")).status == 200
            (row,) = await resources(site)
            assert (row["label"], row["file_count"]) == ("", "2")
            (resource,) = site.world.resources.values()
            assert resource.folder.rpartition("/")[2].startswith("20240131_")


class TestBodies:
    async def test_a_gzipped_body_has_no_length(self):
        """FIL 0: it is decoded, and its size is unknown then."""
        async with open_browser() as site:
            await site.make_session("1")
            headers = {"Content-Encoding": "gzip", "Content-Type": "application/octet-stream"}
            answer = await site.ask("PUT", f"{FILES}/a?inbody=true", gzip.compress(b"abc"), headers=headers)
            assert (answer.status, answer.message.startswith("In-body File posts")) == (500, True)

    async def test_a_form_with_inbody_is_400(self):
        async with open_browser() as site:
            await site.make_session("1")
            headers = {"Content-Type": "multipart/form-data; boundary=B"}
            assert (await site.ask("PUT", f"{FILES}/a?inbody=true", b"--B--\r\n", headers=headers)).status == 400

    async def test_every_part_of_a_form_goes_to_the_path_of_the_url(self):
        """FIL 1.4: the second one finds the first."""
        part = '--B\r\nContent-Disposition: form-data; name="f"; filename="{}"\r\n\r\n{}\r\n'
        body = part.format("x", "one") + part.format("y", "two") + "--B--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=B"}
        async with open_browser() as site:
            await site.make_session("1")
            answer = await site.ask("POST", f"{FILES}/d/z", body, headers=headers)
            assert answer.json == {"duplicates": ["d/z"]}
            await site.ask("POST", f"{FILES}/d/z?overwrite=true", body, headers=headers)
            assert (await site.ask("GET", f"{FILES}/d/z")).body == b"two"

    async def test_an_assessor_from_a_document_in_a_form(self):
        """FIL 7.2: 200 with the URL of the new item."""
        document = (
            '<xnat:QCAssessment xmlns:xnat="http://nrg.wustl.edu/xnat" ID="A1" project="P">'
            "<xnat:date>2024-01-31</xnat:date></xnat:QCAssessment>"
        )
        form = f'--B\r\nContent-Disposition: form-data; name="f"; filename="a.xml"\r\n\r\n{document}\r\n--B--\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=B"}
        async with open_browser() as site:
            await site.make_session("1")
            answer = await site.ask("POST", f"{SESSION}/assessors", form, headers=headers)
            url = f"{site.site.url}/data/experiments/XNAT_E00001/assessors/XNAT_E00002"
            assert (answer.status, answer.text, answer.headers["Location"]) == (200, url, url)
            (row,) = (await site.ask("GET", f"{SESSION}/assessors?format=json")).rows
            assert (row["label"], row["xsiType"], row["date"]) == ("A1", "xnat:qcAssessmentData", "2024-01-31")
            assert (await site.ask("POST", f"{SESSION}/assessors", document, headers=XML)).status == 409
            assert (await site.ask("POST", f"{SESSION}/assessors")).status == 417
