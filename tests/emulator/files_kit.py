"""Helpers of the tests of resources and files."""

import io
import zipfile

from emulator.http_kit import SESSION, Browser

RESOURCE = f"{SESSION}/scans/1/resources/R"
FILES = f"{RESOURCE}/files"
IMPORT = "/data/services/import?import-handler=DICOM-zip&project=P&subject=S&session=E"
COLUMNS = ["Name", "Size", "URI", "collection", "file_tags", "file_format", "file_content", "cat_ID", "digest"]
CATALOG = "{http://nrg.wustl.edu/catalog}"


async def put(site: Browser, name: str, data: bytes = b"x", query: str = ""):
    """PUT a file into the resource."""
    return await site.ask("PUT", f"{FILES}/{name}?inbody=true{query}", data)


async def names(site: Browser, target: str = FILES) -> list[str]:
    """Return the names of a listing."""
    return [row["Name"] for row in (await site.ask("GET", f"{target}?format=json")).rows]


def whole_zip(members: list[tuple[str, bytes]]) -> bytes:
    """Return a zip with its directory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()
