"""What is in the file: its SQL tables, how older files become such, and how keys are packed into rows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import apsw

from yugen.storage import sqlite_requests, sqlite_totals
from yugen.storage.interface import StorageError
from yugen.storage.sqlite_connect import are_checked
from yugen.storage.sqlite_errors import damaged

APPLICATION_ID: Final = int.from_bytes(b"Yugn", "big")
"""What `PRAGMA application_id` says of a database of ours; `file` shows it."""

MIGRATIONS: Final = (
    # Documents and the log keep their rowids, for rows of many kilobytes fit badly into the inner pages of a tree
    # by key. Entries are nothing but a key; the document of one has the same table and the same last 16 bytes.
    # `log.key` is null in the only row of a commit that changed nothing. The log holds every commit after
    # `horizon.ts`; what it has from before is about to be deleted.
    """
    CREATE TABLE documents (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE entries (key BLOB NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE log (
        ts INTEGER NOT NULL, n INTEGER NOT NULL, key BLOB,
        before BLOB, after BLOB, keys_before BLOB, keys_after BLOB,
        PRIMARY KEY (ts, n)
    ) STRICT;
    CREATE TABLE requests (
        session TEXT NOT NULL, request INTEGER NOT NULL, ts INTEGER NOT NULL,
        digest BLOB NOT NULL, value BLOB NOT NULL, log_lines TEXT NOT NULL,
        PRIMARY KEY (session, request)
    ) STRICT;
    CREATE TABLE horizon (ts INTEGER NOT NULL) STRICT;
    INSERT INTO horizon VALUES (0);
    """,
    sqlite_totals.MIGRATION,
    sqlite_requests.MIGRATION,
    "",  # none of its tables change: every page gets a checksum
)
"""What makes a database of version n one of version n + 1; `PRAGMA user_version` counts those done."""

BUSY_MS: Final = 5000
"""How long a connection waits for a lock that another one holds."""

CHECKSUMS_SINCE: Final = 4
"""The version from which on every page has a checksum."""

STATE = "SELECT coalesce((SELECT max(ts) FROM log), ts), ts FROM horizon"
"""The newest timestamp and the horizon."""


def pack_keys(keys: Iterable[bytes]) -> bytes:
    """Keys as one blob: each after its length in 4 bytes, big endian."""
    return b"".join([len(key).to_bytes(4, "big") + key for key in keys])


def unpack_keys(packed: bytes) -> tuple[bytes, ...]:
    """The keys that `pack_keys` made one blob of."""
    keys: list[bytes] = []
    place = 0
    while place < len(packed):
        start = place + 4
        place = start + int.from_bytes(packed[place:start], "big")
        keys.append(packed[start:place])
    return tuple(keys)


def check_version(connection: apsw.Connection, path: Path) -> int:
    """How many of the migrations this database has seen."""
    application, version = connection.pragma("application_id"), connection.pragma("user_version")
    if application == 0 and version == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").get == 0:
        return 0
    if application != APPLICATION_ID:
        raise StorageError(f"{path} is not a Yugen database: give the path of one, or of a file that does not exist.")
    if version > len(MIGRATIONS):
        raise StorageError(
            f"the database {path} has version {version} and this Yugen knows versions up to {len(MIGRATIONS)}: "
            "install the Yugen that wrote it, or a newer one."
        )
    if version >= CHECKSUMS_SINCE and not are_checked(connection):
        raise damaged(path, "its first page says that there are no checksums")
    return int(version)
