"""Which store has the files of a deployment."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from yugen.files.local import LocalFiles
from yugen.files.memory import MemoryFiles
from yugen.files.objects import ObjectFiles
from yugen.files.store import BadFileStore, FileStore

MEMORY = "memory:"
"""The setting for files that end with their process."""

SCHEMES = ("s3", "gs", "az")
"""The object stores there are, by how their addresses begin."""


def check_place(setting: str) -> str:
    """The setting, if it names a place: `s3://bucket/prefix` or the like, or a folder, which then has its whole path.

    Raises:
        BadFileStore: it does not.
    """
    scheme, colon, _ = setting.partition("://")
    if colon and (scheme not in SCHEMES or not urlsplit(setting).netloc):
        known = ", ".join(f"{each}://bucket/prefix" for each in SCHEMES)
        raise BadFileStore(f"{setting} is no place for files; write {known}, or the path of a folder.")
    return setting if colon or setting in ("", MEMORY) else str(Path(setting).resolve())


def open_store(setting: str, data: Path) -> FileStore:
    """The store that a setting names; without one, a folder beside the data.

    Raises:
        BadFileStore: it names none.
    """
    if setting == MEMORY:
        return MemoryFiles()
    if "://" in check_place(setting):
        return ObjectFiles(setting)
    return LocalFiles(Path(setting) if setting else data / "files")
