"""Everything that is listed of one item, in as few requests as there can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
import msgspec

from xferengine.errors import Disposition, NotFound, XferError
from xferengine.jobs.core import Core
from xferengine.jobs.remote_selection import RemoteSelection
from xferengine.jobs.resolve import Scope, Wanted
from xferengine.model.items import ItemRef, Level, ResourceFiles


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One resource as the server lists it."""

    all: ResourceFiles
    """Everything in it: what an archive of it carries."""
    wanted: ResourceFiles
    in_all: bool
    """An archive of everything below the experiment carries it."""


OnBroken = Callable[[ItemRef, XferError], None]
AT_ONCE = 8


async def list_item(
    core: Core, wanted: Wanted, selection: RemoteSelection, *, on_broken: OnBroken | None = None
) -> list[Listed]:
    """Return the resources of an item with all their files, and which of them are wanted.

    Resources nothing is wanted of are named too: an archive of the whole experiment carries them.

    Args:
        on_broken: told of assessors and reconstructions whose inputs cannot be listed; without it they are raised.

    Raises:
        NotFound, AccessDenied: the item is not there for this account.
        ProtocolViolation: the answer is about another item, or no listing.
    """
    item = wanted.item
    everything = item.level is Level.EXPERIMENT
    files = core.client.files
    async with core.lanes.listing.slot():
        refs = await files.list_resources(item, everything=everything)
    found: list[tuple[ResourceFiles, bool]] = []
    if refs:
        async with core.lanes.listing.slot():
            found = [(listed, everything) for listed in await files.list_files(item, refs, everything=everything)]
    scopes = [scope for scope in wanted.scopes if scope.may_have_inputs]
    if everything and scopes and not selection.wants_only_scans:
        found += [(listed, False) for listed in await _inputs(core, item, scopes, on_broken)]
    return [_select(listed, wanted, selection, in_all=in_all) for listed, in_all in found]


async def _inputs(
    core: Core, item: ItemRef, scopes: Sequence[Scope], on_broken: OnBroken | None
) -> list[ResourceFiles]:
    """Return what went into assessors and reconstructions; no listing of the experiment shows it (FIL 1.2)."""
    async with core.lanes.listing.slot():
        children = await core.client.files.list_children(item)
    found: dict[int, list[ResourceFiles]] = {}
    fatal: list[XferError] = []
    children = [child for child in children if any(scope.takes_item(child) for scope in scopes)]
    waiting = iter(enumerate(children))

    async def lister() -> None:
        for number, child in waiting:
            try:
                found[number] = await _input(core, child)
            except XferError as error:
                if on_broken is None or error.disposition is Disposition.FATAL:
                    fatal.append(error)
                    tg.cancel_scope.cancel()
                    return
                on_broken(child, error)

    async with anyio.create_task_group() as tg:
        for _ in range(min(AT_ONCE, len(children))):
            tg.start_soon(lister)
    if fatal:
        raise fatal[0]
    return [listed for number in sorted(found) for listed in found[number]]


async def _input(core: Core, child: ItemRef) -> list[ResourceFiles]:
    files = core.client.files
    try:
        async with core.lanes.listing.slot():
            refs = await files.list_resources(child)
    except NotFound:
        return []
    found: list[ResourceFiles] = []
    for ref in refs:
        async with core.lanes.listing.slot():
            found.append(await files.list_resource(msgspec.structs.replace(ref, item=child)))
    return found


def _select(listed: ResourceFiles, wanted: Wanted, selection: RemoteSelection, *, in_all: bool) -> Listed:
    scopes = [scope for scope in wanted.scopes if scope.takes(listed.ref)]
    if not scopes or not selection.takes_resource(listed.ref):
        return Listed(all=listed, wanted=ResourceFiles(ref=listed.ref, files=()), in_all=in_all)
    chosen = tuple(
        file
        for file in listed.files
        if selection.takes_file(file) and any(scope.takes_path(file.path) for scope in scopes)
    )
    return Listed(all=listed, wanted=ResourceFiles(ref=listed.ref, files=chosen), in_all=in_all)
