"""What the processes that run functions are told about their deployment."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from yugen.runtime.limits import RunLimits
from yugen.system.deployment import Deployment

LOCAL_URL = "http://127.0.0.1:3210"
"""Where an API is that nobody has said anything else about."""


@dataclass(frozen=True, slots=True)
class Setup:
    """An app and how to run it.

    Attributes:
        app: the folder of the app package.
        database: the file of its data.
        secret: 32 bytes that seal cursors.
        development: whether clients are shown the text and place of errors.
        limits: how long and how much functions may run.
        url: the address of the API, as clients should write it.
        site_url: the address of the HTTP actions, likewise.
        files: where files are, as in `Deployment`.
    """

    app: Path
    database: Path
    secret: bytes = field(repr=False)
    development: bool = False
    limits: RunLimits = field(default_factory=RunLimits)
    url: str = LOCAL_URL
    site_url: str = f"{LOCAL_URL}/http"
    files: str = ""

    @property
    def deployment(self) -> Deployment:
        """What Yugen's own functions know of the deployment."""
        return Deployment(self.url, self.database.parent, self.site_url, self.files)

    def to_data(self) -> tuple[Any, ...]:
        """The same as plain data, to be sent between processes."""
        place = str(self.app), str(self.database), self.secret, self.development
        return (*place, astuple(self.limits), self.url, self.site_url, self.files)

    @classmethod
    def from_data(cls, data: tuple[Any, ...]) -> Setup:
        app, database, secret, development, limits, *more = data
        return cls(Path(app), Path(database), secret, development, RunLimits(*limits), *more)


def site_below(url: str) -> str:
    """Where HTTP actions are on the origin of an API."""
    return f"{url.rstrip('/')}/http"
