"""Which client is on the other end of a connection, and what can be sent to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_NAMED: Final = re.compile(r"(?:(?P<name>.{1,64}?)-)?(?P<major>\d{1,9})\.(?P<minor>\d{1,9})\.\d.{0,64}", re.ASCII)

_CHUNKED_SINCE: Final = {"npm": (1, 28), "yugen-browser": (0, 0), "yugen-python": (0, 0)}
"""From which version on a client puts the parts of a Transition together, and takes messages of any size."""


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """A client by its name and its version, as it tells; unknown ones have neither."""

    name: str = ""
    version: tuple[int, int] = (0, 0)

    @classmethod
    def parse(cls, text: str | None, *, name: str = "") -> ClientInfo:
        """The client of a `Convex-Client` header or of the version in a sync path (protocol, 2.1).

        Args:
            text: a name and a version, `python-convex-0.8.1`; the name may be missing.
            name: the name where it is missing.
        """
        named = _NAMED.fullmatch(text or "")
        if named is None:
            return cls()
        return cls(named["name"] or name, (int(named["major"]), int(named["minor"])))

    @property
    def takes_chunks(self) -> bool:
        """Whether a Transition may come in parts. To other clients a part is an error, for which they reconnect."""
        since = _CHUNKED_SINCE.get(self.name)
        return since is not None and self.version >= since
