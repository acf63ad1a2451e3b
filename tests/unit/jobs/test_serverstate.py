"""What is remembered of a server from job to job."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from xferengine.jobs.serverstate import FILES_FACTOR, ServerMemory, recall, remember, resource_sizer_of, sizer_of
from xferengine.settings.slices import PoolConfig, Settings


def settings_in(folder: Path) -> Settings:
    server = SimpleNamespace(url="http://127.0.0.1:1")
    return cast("Settings", SimpleNamespace(server=server, state_dir=folder, pool=PoolConfig(bundle_files_max=10)))


def lane(limit: int, granted: int) -> Any:
    return SimpleNamespace(statistics=lambda: SimpleNamespace(limit=limit, granted_count=granted))


def test_bundles_of_imports_and_of_resources_are_remembered_apart(tmp_path: Path) -> None:
    settings, nothing = settings_in(tmp_path), ServerMemory()
    imports, resources = sizer_of(settings, nothing), resource_sizer_of(settings, nothing)
    for number in range(1, 30):
        imports.observe(number << 20, 9, seconds=number * 0.9, ok=True)
        resources.observe(number << 20, 9, seconds=number * 0.01, ok=True)
    routes = SimpleNamespace(to_state=dict)
    lanes = SimpleNamespace(bulk=lane(7, 20), commit=lane(9, 3))
    remember(
        settings, nothing, sizer=imports, resources=resources, routes=cast("Any", routes), lanes=cast("Any", lanes)
    )
    memory = recall(settings)
    assert (memory.bulk, memory.commit) == (7, 0), "three requests say nothing"
    again = resource_sizer_of(settings, memory)
    assert again.predict(20 << 20, 9) == resources.predict(20 << 20, 9) < imports.predict(20 << 20, 9) / 5
    assert sizer_of(settings, memory).predict(20 << 20, 9) == imports.predict(20 << 20, 9)


def test_a_bundle_of_a_resource_may_have_more_files(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    limits = resource_sizer_of(settings, ServerMemory()).bundle_limits(10_000, 10_000, parallel=1)
    assert limits.files == 10 * FILES_FACTOR


def test_a_damaged_or_older_memory_is_only_a_worse_first_guess(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    remembered = ServerMemory(resources={"sent_mb": "x"})
    assert resource_sizer_of(settings, remembered).predict(1, 1) == resource_sizer_of(settings, ServerMemory()).predict(
        1, 1
    )
    assert recall(settings) == ServerMemory()
    assert msgspec.json.decode(b'{"bulk":3}', type=ServerMemory).resources == {}
