"""Names of functions as clients write them (protocol.md 7)."""

from __future__ import annotations

import re

from yugen.errors import Refused

_MODULE_PART = re.compile(r"(?=[A-Za-z0-9_.]{1,64}\Z)[A-Za-z0-9_.]*[A-Za-z0-9][A-Za-z0-9_.]*")
_EXPORT = re.compile(r"(?!_+\Z)[A-Za-z_][A-Za-z0-9_]{0,63}")
_PATH_MAX = 1024
_SHOWN_MAX = 100


class FunctionNotFound(Refused):
    """No function of this name that the caller may call. Internal functions look the same as missing ones."""

    code = "FunctionNotFound"

    def __init__(self, path: str) -> None:
        shown = path if len(path) <= _SHOWN_MAX and path.isprintable() else f"{path[:_SHOWN_MAX]!a}…"
        super().__init__(f"Could not find public function for `{shown}`; check the name, or deploy it.")


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
    if not _EXPORT.fullmatch(export) or not all(_MODULE_PART.fullmatch(part) and ".." not in part for part in parts):
        raise FunctionNotFound(text)
    return f"{module}:{export}"
