"""HTML that cannot be written wrongly: whatever is not HTML already is escaped where it is put in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import Final

VOID: Final = frozenset({"br", "hr", "img", "input", "link", "meta"})
"""Elements that have no content, and no end tag (HTML, 13.1.2)."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")


class Html(str):
    """A text that is HTML. Only `element` and `join` make one from texts, and constants of ours."""

    __slots__ = ()


Content = str | Html | None | Iterable["Content"]
"""What an element has in it: HTML, text to be escaped, nothing, or several of these."""


def join(*content: Content) -> Html:
    """All of it, one after the other."""
    return Html("".join(_parts(content)))


def element(tag: str, *content: Content, **attributes: str | int | bool | None) -> Html:
    """An element.

    Args:
        tag: its name.
        content: what it has in it.
        attributes: its attributes; `class_` is `class`, `aria_label` is `aria-label`. True is one without a value;
            False and None are one that is not there.
    """
    opened = [tag]
    for key, value in attributes.items():
        name = key.removesuffix("_").replace("_", "-")
        assert _NAME.fullmatch(name), name
        assert not name.startswith("on"), name  # scripts are files, and texts no code
        if value is True:
            opened.append(name)
        elif value is not None and value is not False:
            opened.append(f'{name}="{escape(str(value))}"')
    start = f"<{' '.join(opened)}>"
    if tag in VOID:
        assert not content, f"<{tag}> has no content"
        return Html(start)
    return Html(f"{start}{join(*content)}</{tag}>")


def _parts(content: Iterable[Content]) -> Iterable[str]:
    for each in content:
        if isinstance(each, Html):
            yield each
        elif isinstance(each, str):
            yield escape(each)
        elif each is not None:
            yield from _parts(each)
