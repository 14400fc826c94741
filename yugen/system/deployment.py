"""Where Yugen's own functions run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Deployment:
    """What Yugen's own functions know of their deployment.

    Attributes:
        url: the address of its API, as clients should write it.
        folder: where its data is.
    """

    url: str
    folder: Path
