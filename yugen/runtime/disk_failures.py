"""What callers are told of a disk that has failed, where others are served all the same."""

from __future__ import annotations

from yugen.errors import Refused
from yugen.storage.interface import StorageError


class StorageFull(Refused):
    """A mutation that found no space, and has changed nothing."""

    code = "StorageFull"

    def __init__(self) -> None:
        super().__init__("The disk of the server is full and nothing was written; try again when there is space.")


class StorageDamaged(Refused):
    """A call that needs what is damaged on the disk."""

    code = "StorageDamaged"

    def __init__(self) -> None:
        super().__init__("What this needs is damaged on the disk of the server, whose log says how to restore it.")


def known_failure(error: BaseException) -> StorageFull | StorageDamaged | None:
    """What to tell of an error with which a call fails, and nothing else; None for any other."""
    if isinstance(error, StorageError) and error.full:
        return StorageFull()
    if isinstance(error, StorageError) and error.damaged:
        return StorageDamaged()
    return None
