"""An upload in a process of its own that can be killed: small bundles, short waits, events as JSON lines.

python tests/proofs/engine_process.py URL STATE FOLDER [--resume]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import anyio

from xferengine.cli.render_json import event_line
from xferengine.jobs.admin import list_jobs
from xferengine.jobs.plan import RunOptions
from xferengine.jobs.runner import run_job
from xferengine.jobs.spec import UploadSpec
from xferengine.model.events import BytesMoved, Event, Summary
from xferengine.settings.slices import Credentials, PoolConfig, RetryConfig, ServerConfig, Settings

RETRY = RetryConfig(base_s=0.05, cap_s=0.5, breaker_probe_s=0.1, give_up_after_s=60.0, settle_s=0.1, poll_s=0.03)
POOL = PoolConfig(bundle_bytes=40_000, bundle_files_max=4, grace_s=5.0)


def say(event: Event) -> None:
    """Print an event at once."""
    if not isinstance(event, BytesMoved):
        sys.stdout.write(event_line(event) + "\n")
        sys.stdout.flush()


async def upload(url: str, state: Path, folder: Path, *, resume: bool) -> int:
    """Run, or resume, the upload of a folder into project P; return the exit code."""
    settings = Settings(
        server=ServerConfig(url=url),
        state_dir=state,
        credentials=Credentials("admin", "admin"),
        retry=RETRY,
        pool=POOL,
        scan_workers=1,
    )
    jobs = list_jobs(state) if resume else []
    spec = UploadSpec(paths=(str(folder),), project="P", server_url=url)
    options = RunOptions(resume_job=jobs[0].id if jobs else "", handle_signals=True)
    report = await run_job(spec, settings, emit=say, options=options)
    assert isinstance(report.summary, Summary)
    say(report.summary)
    return report.summary.exit_code


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("state", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()

    async def work() -> int:
        return await upload(given.url, given.state, given.folder, resume=given.resume)

    return anyio.run(work)


if __name__ == "__main__":
    sys.exit(main())
