"""Connections to the file, which has a checksum at the end of every page.

SQLite notices pages whose structure is broken, and not those whose content is another than was written. A virtual file
system that comes with apsw (https://www.sqlite.org/cksumvfs.html) adds checksums and looks at them whenever a page is
read from the file. The write-ahead log has its own, which SQLite looks at when it opens the file.
"""

from __future__ import annotations

import ctypes
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Final

import apsw
from apsw import sqlite_extra

from yugen.storage.interface import StorageError
from yugen.storage.sqlite_errors import damaged, explained

_VFS: Final = "cksmvfs"
_CHECKSUM_BYTES: Final = 8


def connect(path: Path, *, read_only: bool = False) -> apsw.Connection:
    """A connection to the database.

    Raises:
        StorageError: this apsw knows nothing of checksums.
    """
    _load_once()
    if read_only:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=_VFS)
        # The writer alone checkpoints, also when a reader happens to be the last to close the file.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        return connection
    return apsw.Connection(str(path), vfs=_VFS)


def are_checked(connection: apsw.Connection) -> bool:
    """Whether the pages that a connection reads are held against checksums. It must have read something."""
    return bool(int(connection.pragma("checksum_verification")))


def reserve(connection: apsw.Connection) -> None:
    """Has every page of a database keep room for a checksum: of a new one at once, of another by a VACUUM."""
    room = ctypes.c_int(_CHECKSUM_BYTES)
    connection.file_control("main", apsw.SQLITE_FCNTL_RESERVE_BYTES, ctypes.addressof(room))


def memory_bytes() -> int:
    """What SQLite has of this process's memory: pages and prepared statements of all connections."""
    used, _ = apsw.status(apsw.SQLITE_STATUS_MEMORY_USED)
    return used


def check_pages(path: Path) -> int:
    """Reads all of a database, also while a server has it; how many pages there are.

    Raises:
        StorageError: one is damaged.
    """
    with explained(path), closing(connect(path, read_only=True)) as connection:
        wrong = connection.execute("PRAGMA integrity_check(1)").get
        if wrong != "ok":
            raise damaged(path, str(wrong))
        return int(connection.pragma("page_count"))


def load(*, again: bool = False) -> None:
    """Makes checksums known to SQLite, on top of the file system that is its default at this moment.

    Args:
        again: also if they are known, on top of another.
    """
    if again and _VFS in apsw.vfs_names():
        apsw.unregister_vfs(_VFS)
    with closing(apsw.Connection(":memory:")) as connection:
        try:
            sqlite_extra.load(connection, "cksumvfs")
        except (LookupError, sqlite_extra.NotAvailable, AttributeError, apsw.Error) as error:
            raise StorageError(
                f"this apsw lacks cksumvfs, by which damaged pages are noticed ({error}): install a wheel of apsw."
            ) from error


@cache
def _load_once() -> None:
    load()
