"""Tables of a job's database, its version, and how a connection is set up."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xferengine.errors import DiskFull, ManifestCorrupt, ManifestError, UnknownVersion
from xferengine.kit.atomicfile import map_disk_errors

VERSION = 2
WRITER_CACHE_KB, READER_CACHE_KB = 16_000, 2_000
"""Pages that a connection keeps. Readers walk whole tables once: what they read is in the system's cache anyway."""

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE study (
  id INTEGER PRIMARY KEY,
  study_uid TEXT NOT NULL UNIQUE,
  project TEXT NOT NULL DEFAULT '',
  subject TEXT NOT NULL DEFAULT '',
  session TEXT NOT NULL DEFAULT '',
  raw_subject TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL DEFAULT 'planned',
  error TEXT NOT NULL DEFAULT '',
  detail TEXT NOT NULL DEFAULT '',
  row_uri TEXT NOT NULL DEFAULT '',
  archive_uri TEXT NOT NULL DEFAULT '',
  accession TEXT NOT NULL DEFAULT '',
  verified_by TEXT NOT NULL DEFAULT '',
  round INTEGER NOT NULL DEFAULT 0,
  settled INTEGER NOT NULL DEFAULT 1,  -- 0: a lost answer, the server may still be storing
  resent INTEGER NOT NULL DEFAULT 0,   -- 1: some bundle went more than once, torn or doubled entries are possible
  ordered INTEGER NOT NULL DEFAULT 0,  -- 1: archiving was asked for
  owned INTEGER NOT NULL DEFAULT 0,    -- 1: the row was seen with our SOURCE
  files INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX study_state ON study (state, bytes DESC);

CREATE TABLE study_field (
  study_id INTEGER NOT NULL, keyword TEXT NOT NULL, value TEXT NOT NULL, seen_run INTEGER NOT NULL,
  PRIMARY KEY (study_id, keyword, value)
) WITHOUT ROWID;

CREATE TABLE study_folder (
  study_id INTEGER NOT NULL, folder TEXT NOT NULL, seen_run INTEGER NOT NULL, PRIMARY KEY (study_id, folder)
) WITHOUT ROWID;
CREATE INDEX study_folder_place ON study_folder (folder, study_id);

CREATE TABLE file (
  id INTEGER PRIMARY KEY,
  study_id INTEGER NOT NULL,
  path TEXT NOT NULL,
  member TEXT NOT NULL DEFAULT '',
  offset INTEGER NOT NULL DEFAULT 0,
  size INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  sop_uid TEXT NOT NULL,
  series_uid TEXT NOT NULL,
  series_order INTEGER NOT NULL,
  payload_bytes INTEGER NOT NULL,
  crc32 INTEGER,
  state TEXT NOT NULL DEFAULT 'planned',
  note TEXT NOT NULL DEFAULT '',
  odd_size INTEGER,
  unit_id INTEGER,
  seen_run INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX file_place ON file (path, member);
CREATE INDEX file_uid ON file (sop_uid);
CREATE INDEX file_next ON file (study_id, state, unit_id, series_order, series_uid, path, offset, id);
CREATE INDEX file_unit ON file (unit_id) WHERE unit_id IS NOT NULL;

CREATE TABLE unit (
  id INTEGER PRIMARY KEY,
  study_id INTEGER NOT NULL,
  state TEXT NOT NULL,
  files INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  predicted_s REAL NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX unit_study ON unit (study_id, state);

CREATE TABLE attempt (
  id INTEGER PRIMARY KEY,
  unit_id INTEGER NOT NULL,
  number INTEGER NOT NULL,
  started TEXT NOT NULL,
  ended TEXT,
  outcome TEXT NOT NULL DEFAULT 'leased',
  bytes_sent INTEGER NOT NULL DEFAULT 0,
  detail TEXT NOT NULL DEFAULT ''
);
CREATE INDEX attempt_unit ON attempt (unit_id);

CREATE TABLE problem (
  id INTEGER PRIMARY KEY, shown TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, detail TEXT NOT NULL,
  study_uid TEXT NOT NULL, seen_run INTEGER NOT NULL
);
CREATE INDEX problem_study ON problem (study_uid) WHERE study_uid != '';

CREATE TABLE other (
  id INTEGER PRIMARY KEY, path TEXT NOT NULL, member TEXT NOT NULL, offset INTEGER NOT NULL, size INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, why TEXT NOT NULL, study_id INTEGER,
  state TEXT NOT NULL DEFAULT '', name TEXT NOT NULL DEFAULT '', note TEXT NOT NULL DEFAULT '',
  UNIQUE (path, member)
);
CREATE INDEX other_study ON other (study_id) WHERE study_id IS NOT NULL;
"""

FILE_TABLES = """
CREATE TABLE item (                    -- what is listed in one go: an experiment, or a subject's or project's own files
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,            -- LEVEL:ID
  level TEXT NOT NULL,
  project TEXT NOT NULL,
  subject TEXT NOT NULL DEFAULT '',
  subject_id TEXT NOT NULL DEFAULT '',
  label TEXT NOT NULL DEFAULT '',
  accession TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL DEFAULT 'planned',
  error TEXT NOT NULL DEFAULT '',
  detail TEXT NOT NULL DEFAULT '',
  seen_run INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX item_state ON item (state);

CREATE TABLE resource (
  id INTEGER PRIMARY KEY,
  item_id INTEGER NOT NULL,
  number TEXT NOT NULL,                -- the server's id of it
  label TEXT NOT NULL,
  level TEXT NOT NULL,
  child_id TEXT NOT NULL DEFAULT '',
  child_type TEXT NOT NULL DEFAULT '',
  direction TEXT NOT NULL DEFAULT '',
  in_all INTEGER NOT NULL DEFAULT 0,   -- 1: an archive of everything below the experiment carries it
  files INTEGER NOT NULL DEFAULT 0,    -- listed, wanted or not
  bytes INTEGER NOT NULL DEFAULT 0,
  UNIQUE (item_id, number)
);

CREATE TABLE entry (                   -- one file of a resource
  id INTEGER PRIMARY KEY,
  item_id INTEGER NOT NULL,
  resource_id INTEGER NOT NULL,
  path TEXT NOT NULL,                  -- inside the resource
  size INTEGER NOT NULL,               -- as listed; -1 unknown
  digest TEXT NOT NULL DEFAULT '',     -- as listed
  local TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL DEFAULT 'planned',
  note TEXT NOT NULL DEFAULT '',       -- CLASS: sentence
  means TEXT NOT NULL DEFAULT '',      -- what it was verified by
  real_digest TEXT NOT NULL DEFAULT '',
  local_size INTEGER NOT NULL DEFAULT -1,
  mtime_ns INTEGER NOT NULL DEFAULT 0,
  inode INTEGER NOT NULL DEFAULT 0,
  last_modified TEXT NOT NULL DEFAULT '',  -- the server's date of a file whose catalog entry is out of date
  seen_run INTEGER NOT NULL DEFAULT 0,
  UNIQUE (resource_id, path)
);
CREATE INDEX entry_state ON entry (item_id, state);
"""


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours.

    Raises:
        DiskFull: no space for the database.
        ManifestCorrupt: the file is damaged or no database.
        ManifestError: anything else SQLite refuses.
    """
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            raise DiskFull(f"the state folder cannot be written ({name}): {path.parent}", path=str(path)) from error
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise ManifestCorrupt(f"the job's manifest is damaged: {path}", path=str(path)) from error
        raise ManifestError(f"the job's manifest cannot be used: {path}: {error}", path=str(path)) from error


def connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """Open a connection with the durability of design 4 (WAL, every commit synced)."""
    with mapped(path):
        if not readonly:
            _create_private(path)
        con = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
        con.row_factory = sqlite3.Row
        con.execute("PRAGMA busy_timeout=30000")
        if readonly:
            con.execute("PRAGMA query_only=ON")
        else:
            con.execute("PRAGMA journal_mode=WAL")
            con.execute("PRAGMA synchronous=FULL")
        con.execute(f"PRAGMA cache_size=-{READER_CACHE_KB if readonly else WRITER_CACHE_KB}")
        return con


def _create_private(path: Path) -> None:
    """Make the file ourselves: SQLite would make it readable for others, and its WAL takes the same mode."""
    with map_disk_errors(path):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def make_private_folder(folder: Path) -> Path:
    """Make a folder (0700) with its parents where it is not there, and return it.

    Raises:
        DiskFull, BadInput: the state folder cannot be written.
    """
    with map_disk_errors(folder):
        for missing in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
            missing.mkdir(exist_ok=True, mode=0o700)
    return folder


def prepare(con: sqlite3.Connection, path: Path) -> None:
    """Create the tables in an empty database, or check the version of a filled one.

    Raises:
        UnknownVersion: a newer program wrote it.
    """
    with mapped(path):
        version = con.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            con.executescript(f"BEGIN;{TABLES}{FILE_TABLES}PRAGMA user_version={VERSION};COMMIT;")
        elif version == 1:  # before files of resources were known
            con.executescript(f"BEGIN;{FILE_TABLES}PRAGMA user_version={VERSION};COMMIT;")
        elif version != VERSION:
            raise UnknownVersion(
                f"the job was written by another version (manifest {version}, this program {VERSION})", path=str(path)
            )
