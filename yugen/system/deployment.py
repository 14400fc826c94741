"""Where Yugen's own functions run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yugen.storage.interface import Timestamp


@dataclass(frozen=True, slots=True)
class Deployment:
    """What Yugen's own functions know of their deployment.

    Attributes:
        url: the address of its API, as clients should write it.
        folder: where its data is.
        site_url: the address of its HTTP actions, likewise; empty where nothing is served.
        files: names the store of the bytes of files, see `yugen.files.place`; by default they are beside the data.
    """

    url: str
    folder: Path
    site_url: str = ""
    files: str = ""

    @property
    def exports(self) -> Path:
        """Where the archives of exports are, and what is left of those that were not finished."""
        return self.folder / "exports"

    @property
    def imports(self) -> Path:
        """Where files to be imported are."""
        return self.folder / "imports"

    def archive(self, ts: Timestamp) -> Path:
        """Where the archive of the documents at a timestamp is."""
        return self.exports / f"{ts}.zip"
