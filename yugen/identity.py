"""Who calls a function."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """A signed-in caller, as their token says."""

    token_identifier: str
    subject: str
    issuer: str
