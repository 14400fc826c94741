"""What SQLite and the operating system raise, in the user's terms."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from yugen.storage.interface import StorageError

_SYNC_FAILED: Final = (apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raises a `StorageError` in place of what SQLite or the operating system raises."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise explain(path, error) from error


def explain(path: Path, error: apsw.Error | OSError, connection: apsw.Connection | None = None) -> StorageError:
    """What to tell of an error; `connection` is the one that raised it, which may know what the system said."""
    extended = getattr(error, "extendedresult", 0)
    if any(getattr(each, "extendedresult", 0) in _SYNC_FAILED for each in _chain(error)):
        # Also one that found no space: what is in the file is unknown all the same.
        return StorageError(
            f"the disk that holds {path} failed to make a write durable, so nothing more is written: "
            "check the disk, then restart the server, which finds every commit it has acknowledged.",
            stopped=True,
        )
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, apsw.IOError) and connection is not None:
        number = (
            connection.system_errno
        )  # such as a quota's, or a full disk's when it is the WAL's index that must grow
    if isinstance(error, apsw.FullError) or number in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"the disk that holds {path} is full and nothing was written: free some space, and writes work again.",
            full=True,
        )
    if extended == apsw.SQLITE_IOERR_DATA:
        return damaged(path, "a page is not what was written, by its checksum")
    if isinstance(error, apsw.NotADBError | apsw.CorruptError) or extended == apsw.SQLITE_IOERR_CORRUPTFS:
        return damaged(path, str(error))
    if isinstance(error, apsw.CantOpenError):
        return StorageError(
            f"the database {path} cannot be opened ({error}): check that it exists and its permissions."
        )
    return StorageError(f"the database {path} cannot be used: {error}.")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those before it: what SQLite undoes after a failed sync may fail as well."""
    while error is not None:
        yield error
        error = error.__context__


def damaged(path: Path, how: str) -> StorageError:
    """What to tell of a file that holds something else than was written to it."""
    return StorageError(
        f"the file {path} is damaged or not a database ({how}), and nothing is answered from what cannot be trusted: "
        "check the disk, move the file and those beside it away, start the server, and restore it from a backup with "
        "`yugen import --replace-all BACKUP.zip`.",
        damaged=True,
    )
