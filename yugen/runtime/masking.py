"""Keeping the values of environment variables out of what functions print and fail with, by mistake as it may be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TextIO

from yugen.variables import BUILT_IN

MASK: Final = "•••"

SIZE_MIN: Final = 8
"""Characters of a value from which it is masked; shorter ones, such as `1` or `true`, are parts of many a text."""

VALUES_MAX: Final = 4096
"""Values that are known at most, the newest: a secret that has been replaced may be one to others for a while."""


class Mask:
    """Puts `•••` in the place of values wherever they occur in a text, also as `repr` or JSON would write them."""

    def __init__(self) -> None:
        self._values: dict[str, None] = {}
        self._sought: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._sought)

    def __call__(self, text: str) -> str:
        """The text without the values."""
        for form in self._sought:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def add(self, environment: Mapping[str, str]) -> None:
        """Learns the values of environment variables, and keeps those of before."""
        for name, value in environment.items():
            if name not in BUILT_IN and len(value) >= SIZE_MIN:
                self._values.pop(value, None)
                self._values[value] = None
        for value in list(self._values)[:-VALUES_MAX]:
            del self._values[value]
        # The longest first, for one value may be a part of another.
        self._sought = tuple(sorted({form for value in self._values for form in _forms(value)}, key=len, reverse=True))


def _forms(value: str) -> Iterator[str]:
    """How a value may read in a text. What is printed comes line by line, so each line of it counts too."""
    lines = (line.strip() for line in value.splitlines())
    for part in {value, *(line for line in lines if len(line) >= SIZE_MIN)}:
        yield part
        yield repr(part)[1:-1]
        yield json.dumps(part)[1:-1]
        yield json.dumps(part, ensure_ascii=False)[1:-1]


class MaskedStream:
    """A stream of a process that runs functions, for what they write past their log: on a thread of their own, say.

    Attributes:
        mask: what to leave out.
    """

    def __init__(self, stream: TextIO) -> None:
        self.mask = Mask()
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(self.mask(text) if self.mask else text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
