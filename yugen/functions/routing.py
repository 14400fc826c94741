"""Which route of an app answers an HTTP request: the exact path first, then the longest prefix (protocol.md 4.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import quote

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The methods that routes have. `HEAD` is answered by the route of `GET`."""

RESERVED: Final = "/.files"
"""No route has this path, nor any below it."""


class Route(NamedTuple):
    """Requests that one HTTP action answers.

    Attributes:
        method: their method.
        path: their path, or what it begins with; decoded.
        is_prefix: which of the two.
    """

    method: str
    path: str
    is_prefix: bool

    def __str__(self) -> str:
        """`POST /hook` or `GET /files/*`, in ASCII."""
        return f"{self.method} {self.address}"

    @property
    def address(self) -> str:
        """`/hook` or `/files/*`, in ASCII."""
        return f"{quote(self.path, safe='/:@!$&(),;=+')}{'*' if self.is_prefix else ''}"

    def rest_of(self, path: str) -> str:
        """What comes after the prefix in a path; nothing where the route has a whole path."""
        return path.removeprefix(self.path)


class Routes:
    """The routes of an app.

    Args:
        routes: all of them, no two alike.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        prefixes: dict[str, dict[str, Route]] = {}
        for route in routes:
            (prefixes if route.is_prefix else self._exact).setdefault(route.path, {})[route.method] = route
        self._prefixes = sorted(prefixes.items(), key=lambda item: -len(item[0]))

    def find(self, method: str, path: str) -> Route | None:
        """The route of a request, by its method and its decoded path; None if there is none."""
        method = "GET" if method == "HEAD" else method
        return next((routes[method] for routes in self._at(path) if method in routes), None)

    def allowed(self, path: str) -> list[str]:
        """The methods with which a path has a route, in the order of `METHODS`, after `GET` also `HEAD`."""
        there = {method for routes in self._at(path) for method in routes}
        if "GET" in there:
            there.add("HEAD")
        return [method for method in ("GET", "HEAD", *METHODS[1:]) if method in there]

    def _at(self, path: str) -> Iterable[dict[str, Route]]:
        """The routes of a path by method, those that go first first."""
        if path == RESERVED or path.startswith(f"{RESERVED}/"):
            return
        if path in self._exact:
            yield self._exact[path]
        for prefix, routes in self._prefixes:
            if path.startswith(prefix):
                yield routes
