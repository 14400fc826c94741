"""Names of functions."""

from __future__ import annotations


def canonical_path(path: str) -> str:
    """The one spelling of a function's name: `messages:list` for `messages.js:list`, `mail:default` for `mail`.

    Raises:
        ValueError: `path` names nothing.
    """
    module, colon, export = path.rpartition(":") if ":" in path else (path, ":", "default")
    module = module.removesuffix(".js")
    if not module or not export:
        raise ValueError(f"{path!r} is not the name of a function; write it like 'messages:list'")
    return f"{module}{colon}{export}"
