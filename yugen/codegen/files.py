"""Generated files in a folder: written whole, and only when they say something new."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

FOLDER = "_generated"
"""Where generated files go in the folder of an app unless it is said otherwise."""


def write_files(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Writes texts by the names of their files, each at once; returns the files that have changed.

    Others are not touched, so that whoever watches them hears nothing.
    """
    changed = outdated(files, folder)
    if changed:
        folder.mkdir(parents=True, exist_ok=True)
    for path in changed:
        # Of another name until it is whole: a bundler that reads meanwhile finds the old text or the new one.
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            unfinished.write_bytes(files[path.name].encode())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return changed


def outdated(files: Mapping[str, str], folder: Path) -> list[Path]:
    """The files in the folder that are not there or have another text."""
    return [folder / name for name, text in files.items() if _read(folder / name) != text.encode()]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
