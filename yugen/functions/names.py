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


class FunctionNotFound(Refused):
    """There is no function of this name, or clients may not call it: internal functions look missing."""

    code = "FunctionNotFound"

    def __init__(self, path: str) -> None:
        shown = path if len(path) <= _SHOWN_MAX and path.isprintable() else f"{path[:_SHOWN_MAX]!a}…"
        super().__init__(f"Could not find public function for `{shown}`; check its name and its module.")


def is_export(name: str) -> bool:
    """Whether a function can have this name: an identifier of ASCII characters, 64 at most, not only underscores."""
    return _EXPORT.fullmatch(name) is not None


def canonical_path(text: str) -> str:
    """The one spelling of a function's name: `messages.js:list` is `messages:list`, `tasks` is `tasks:default`.

    Raises:
        FunctionNotFound: a name that no function can have.
    """
    if len(text) > _PATH_MAX:
        raise FunctionNotFound(text)
    module, colon, export = text.rpartition(":")
    if not colon:
        module, export = text, "default"
    module = module.removesuffix(".js")
    parts = module.split("/")
    if not is_export(export) or not all(_MODULE_PART.fullmatch(part) and ".." not in part for part in parts):
        raise FunctionNotFound(text)
    return f"{module}:{export}"
