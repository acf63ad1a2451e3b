"""``api`` against the emulator: real endpoints, big answers, broken connections."""

from __future__ import annotations

import io
import json
import os
import random
import tracemalloc
import zipfile
from pathlib import Path

from engine_kit import settings_for

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.server import Emulator, open_emulator
from xferengine.jobs.api import ApiAnswer, call_api
from xferengine.jobs.api_body import FileBody, Sink, open_out_file
from xferengine.jobs.api_request import ApiRequest
from xferengine.xnat.transport import Body, BytesBody

EXPERIMENT = "/data/projects/P/subjects/S/experiments/E"
FILES = f"{EXPERIMENT}/resources/R/files"
BIG_BYTES = 24 << 20


class Kept:
    can_restart = False

    def __init__(self) -> None:
        self.data = b""

    async def write(self, chunk: bytes) -> bool:
        self.data += chunk
        return True

    async def restart(self) -> None:
        raise AssertionError


class Caller:
    def __init__(self, emulator: Emulator, state: Path) -> None:
        self.settings = settings_for(emulator, state)

    async def __call__(
        self, method: str, target: str, body: Body | None = None, sink: Sink | None = None
    ) -> tuple[ApiAnswer, bytes]:
        kept = Kept()
        asked = ApiRequest(method=method, target=target, body=body)
        answer = await call_api(self.settings, asked, sink or kept, on_head=lambda *_: None)
        return answer, kept.data


async def test_files_go_up_and_come_back_under_the_names_that_were_typed(tmp_path: Path) -> None:
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        call = Caller(emulator, tmp_path)
        answer, _ = await call("PUT", f"{EXPERIMENT}?xsiType=xnat:mrSessionData")
        assert answer.status == 201
        for name in ("a b é#.txt", "plain.txt", "folder/x.txt"):
            body = BytesBody(name.encode(), "application/octet-stream")
            assert (await call("PUT", f"{FILES}/{name}?inbody=true", body))[0].exit_code == 0
            assert (await call("GET", f"{FILES}/{name}"))[1] == name.encode()
        _, listing = await call("GET", f"{FILES}?format=json")
        assert len(json.loads(listing)["ResultSet"]["Result"]) == 3
        _, archive = await call("GET", f"{FILES}?format=zip")
        assert len(zipfile.ZipFile(io.BytesIO(archive)).namelist()) == 3
        answer, data = await call("HEAD", f"{FILES}/plain.txt")
        assert (answer.headers["content-length"], data) == ("9", b"")
        assert (await call("DELETE", f"{EXPERIMENT}/resources/R?removeFiles=true"))[0].exit_code == 0
        assert (await call("GET", f"{FILES}/plain.txt"))[0].exit_code == 7


async def test_a_bare_key_and_a_full_url_reach_the_server(tmp_path: Path) -> None:
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        call = Caller(emulator, tmp_path)
        answer, data = await call("GET", f"{emulator.url}/data/projects?format=json&owner")
        assert (answer.exit_code, json.loads(data)["ResultSet"]["totalRecords"]) == (0, "1")
        answer, _ = await call("POST", "/data/services/import?import-handler=nope&x")
        assert answer.exit_code in {3, 7}


async def test_an_unknown_project_is_told_in_the_servers_words(tmp_path: Path) -> None:
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        answer, data = await Caller(emulator, tmp_path)("GET", "/data/projects/NOPE/experiments?format=json")
    assert (answer.error, answer.exit_code, data) == ("NotFound", 7, b"")
    assert "NOPE" in answer.text


async def test_a_big_file_passes_through_little_memory_and_breaks_are_mended(tmp_path: Path) -> None:
    data = random.Random(3).randbytes(BIG_BYTES)
    (tmp_path / "in.bin").write_bytes(data)
    async with open_emulator(EmulatorConfig(projects=("P",))) as emulator:
        call = Caller(emulator, tmp_path / "state")
        await call("PUT", f"{EXPERIMENT}?xsiType=xnat:mrSessionData")
        body = FileBody(tmp_path / "in.bin", "application/octet-stream")
        assert (await call("PUT", f"{FILES}/big.bin?inbody=true", body))[0].exit_code == 0
        emulator.faults.add("reset-in-answer", "big.bin", method="GET", nth=1)
        tracemalloc.start()
        async with open_out_file(tmp_path / "out.bin", force=False) as out:
            answer, _ = await call("GET", f"{FILES}/big.bin", sink=out)
            await out.commit()
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert [hit.kind for hit in emulator.faults.hits] == ["reset-in-answer"]
    assert answer.body_bytes == BIG_BYTES
    assert (tmp_path / "out.bin").read_bytes() == data
    assert sorted(os.listdir(tmp_path)) == ["in.bin", "out.bin"]
    assert peak_bytes < BIG_BYTES / 3
