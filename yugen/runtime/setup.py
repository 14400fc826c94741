"""What the processes that run functions are told about their deployment."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from yugen.runtime.limits import RunLimits


@dataclass(frozen=True, slots=True)
class Setup:
    """An app and how to run it.

    Attributes:
        app: the folder of the app package.
        database: the file of its data.
        secret: 32 bytes that seal cursors.
        development: whether clients are shown the text and place of errors.
        limits: how long and how much functions may run.
    """

    app: Path
    database: Path
    secret: bytes = field(repr=False)
    development: bool = False
    limits: RunLimits = field(default_factory=RunLimits)

    def to_data(self) -> tuple[Any, ...]:
        """The same as plain data, to be sent between processes."""
        return (str(self.app), str(self.database), self.secret, self.development, astuple(self.limits))

    @classmethod
    def from_data(cls, data: tuple[Any, ...]) -> Setup:
        app, database, secret, development, limits = data
        return cls(Path(app), Path(database), secret, development, RunLimits(*limits))
