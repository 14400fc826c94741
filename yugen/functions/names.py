"""Names of functions as clients write them (protocol.md 7)."""

from __future__ import annotations

import re

from yugen.errors import Refused

_MODULE_PART = re.compile(r"(?=[A-Za-z0-9_.]{1,64}\Z)[A-Za-z0-9_.]*[A-Za-z0-9][A-Za-z0-9_.]*")
_EXPORT = re.compile(r"(?!_+\Z)[A-Za-z_][A-Za-z0-9_]{0,63}")
_PATH_MAX = 1024
_SHOWN_MAX = 100

SYSTEM_PREFIX = "_system/"
"""What the paths of Yugen's own functions begin with."""

COMPONENT_PREFIX = "_component/"
"""What the paths of functions of components begin with, none of which exists."""

NO_PERMISSION = "You do not have permission to perform this operation"
"""How a refusal begins that the convex command line shows as it is."""


class FunctionNotFound(Refused):
    """There is no function of this name, or its caller may not call it: to clients, internal functions look missing.

    The convex command line knows the first words of what administrators are told, and lists the functions there are.

    Args:
        path: what was called.
        public: whether by a client.
    """

    code = "FunctionNotFound"

    def __init__(self, path: str, *, public: bool = True) -> None:
        what = "public function for" if public else "function"
        super().__init__(f"Could not find {what} `{_shown(path)}`; check its name and its module.")


class ComponentNotFound(FunctionNotFound):
    """A function of a component was called."""

    code = "ComponentNotFound"

    def __init__(self, path: str) -> None:
        text = f"an app has no components, and `{_shown(path)}` would be in one; leave the component out."
        Refused.__init__(self, f"{NO_PERMISSION}: {text}")


def is_export(name: str) -> bool:
    """Whether a function can have this name: an identifier of ASCII characters, 64 at most, not only underscores."""
    return _EXPORT.fullmatch(name) is not None


def component_path(component: str, path: str) -> str:
    """The path of a function of a component, for which `canonical_path` has the right words.

    To run a function of the app in its place would be worse than to refuse.
    """
    return f"{COMPONENT_PREFIX}{component}/{path}"


def canonical_path(text: str, *, public: bool = True) -> str:
    """The one spelling of a function's name: `messages.js:list` is `messages:list`, `tasks` is `tasks:default`.

    Raises:
        FunctionNotFound: a name that no function can have; `public` is for its words.
        ComponentNotFound: a name in a component.
    """
    if text.startswith(COMPONENT_PREFIX):
        raise ComponentNotFound(text.removeprefix(COMPONENT_PREFIX))
    if len(text) > _PATH_MAX:
        raise FunctionNotFound(text, public=public)
    module, colon, export = text.rpartition(":")
    if not colon:
        module, export = text, "default"
    module = module.removesuffix(".js")
    parts = module.split("/")
    if not is_export(export) or not all(_MODULE_PART.fullmatch(part) and ".." not in part for part in parts):
        raise FunctionNotFound(text, public=public)
    return f"{module}:{export}"


def _shown(path: str) -> str:
    return path if len(path) <= _SHOWN_MAX and path.isprintable() else f"{path[:_SHOWN_MAX]!a}…"
