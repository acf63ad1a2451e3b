"""How long a busy prearchive session is waited for before its lock counts as left behind (IMP 2.3, 3.4).

A server keeps row states through a restart, but not the workers and queues behind them, so a row can stay locked for
ever. Only a rebuild with ``overrideLock`` frees it (IMP 4.4), and that must not hit a worker that is alive. What tells
of a restart: a server's logins end with it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from xferengine.manifest import lease, overview
from xferengine.manifest.store import Manifest
from xferengine.settings.slices import Settings
from xferengine.xnat.client import XnatClient
from xferengine.xnat.faults import SessionLocked

LIVES_S = 840.0
"""A login that nobody ended is surely still there so long after its last request (idle expiry is 15 minutes, FIL 5)."""
OPEN_LOGIN = "open_login"


class LockJudge:
    """Knows under which login each session was last ordered about, and whether the server began anew since.

    Args:
        began_anew: the server was restarted since the last run of this job.
    """

    def __init__(self, client: XnatClient, settings: Settings, *, began_anew: bool) -> None:
        self._client = client
        self._settings = settings
        self._began_anew = began_anew
        self._logins: dict[int, int] = {}

    @contextmanager
    def order(self, study_id: int, *, renew: bool = False) -> Iterator[None]:
        """Around a build or archive order for a study.

        Args:
            renew: an order after others that were carried out: what was known of them is past.

        An order that meets a lock is not ours to judge that lock by, unless an earlier one of ours made it.
        """
        is_first = renew or study_id not in self._logins
        if is_first:
            self._logins[study_id] = self._client.stats.logins
        try:
            yield
        except SessionLocked:
            if is_first:
                del self._logins[study_id]
            raise

    def patience_s(self, study_id: int) -> float:
        """Return how long the study's row may stay busy."""
        logins = self._client.stats.logins
        restarted = self._began_anew if study_id not in self._logins else self._logins[study_id] != logins
        if restarted:
            return 40 * self._settings.retry.poll_s
        return self._settings.timeouts.think_commit_s


async def began_anew(manifest: Manifest, client: XnatClient) -> bool:
    """Tell whether the server was surely restarted since the last run: that run's login was left open (it was killed,
    or the server did not answer its logout), should still be there, and is gone."""
    login_id, beat = await manifest.read(_last_login)
    if not login_id or time.time() - beat > LIVES_S:
        return False
    return await client.has_ended(login_id)


def _last_login(con: sqlite3.Connection) -> tuple[str, float]:
    return overview.get_meta(con, OPEN_LOGIN), float(overview.get_meta(con, lease.LAST_BEAT, "0"))


async def note_login(manifest: Manifest, login_id: str) -> None:
    """Keep the id of our open login (the manifest is readable for its owner only), or forget it when it has ended."""
    if manifest.peek(lambda con: overview.get_meta(con, OPEN_LOGIN)) != login_id:
        await manifest.write(lambda con: overview.set_meta(con, OPEN_LOGIN, login_id))
