"""What a reader of a range wants to know of its documents, so that other changes to them pass unnoticed.

Without a guard a reader depends on everything in its range. A guard says that documents without some property do not
matter to it, or that only some fields do. It is plain data: it is made where a function runs (see
`yugen.functions.predicates`), and held against commits in a process that runs no code of the app.

A condition is an expression over the stored fields of a document, as nested tuples whose first part is an operator:

    ("value", v)                     a constant
    ("field", path, default)         the field at a path of stored names; the default where it is absent
    ("item", path)                   the same, without a default: where it is absent, it cannot be told
    ("absent", path)                 whether there is no such field
    ("not", a)  ("and", a, b, ...)  ("or", a, b, ...)
    ("==" "!=" "<" "<=" ">" ">=" "in" "not in" "is" "+" "-" "*" "/" "//" "%", a, b)
    ("len" "lower" "upper" "strip" "abs" "neg", a)  ("startswith" "endswith", a, b)

They mean what they mean in Python.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

from yugen import values
from yugen.intervals import Interval
from yugen.keys import lookup

Expression: TypeAlias = tuple[Any, ...]

Evaluate: TypeAlias = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class Guard:
    """Which documents of a range matter to a reader, and what of them.

    Attributes:
        keep: the condition under which a document matters; None if all do.
        fields: dotted paths of the stored fields that matter; None for the whole document. That a document is there
            always matters.
        places: whether its place among the others matters too, as it does not to who only counts them.
    """

    keep: Expression | None = None
    fields: tuple[str, ...] | None = None
    places: bool = True

    @cached_property
    def keeps(self) -> Evaluate | None:
        """The condition as a function. Made once, for a guard is held against every write to its range."""
        return None if self.keep is None else compiled(self.keep)


class Image:
    """A document before or after a change: its stored JSON, None where there is none, and the keys under which it is.

    It is decoded once for all the guards that it is held against.
    """

    __slots__ = ("_document", "keys", "text")

    def __init__(self, text: bytes | None, keys: Sequence[bytes]) -> None:
        self.text = text
        self.keys = keys
        self._document: dict[str, Any] | None = None

    @property
    def document(self) -> dict[str, Any]:
        """Its fields; there is one."""
        if self._document is None:
            assert self.text is not None
            document = values.reloads(self.text)
            assert isinstance(document, dict)
            self._document = document
        return self._document


GuardedRead: TypeAlias = tuple[Interval, Guard]
"""An interval that was read, and what of it matters."""

ANYTHING: Final = Guard()
"""Everything in the range matters, as it does without a guard."""


def matters(guard: Guard, interval: Interval, before: Image, after: Image) -> bool:
    """Whether a change of one document makes a difference to a reader of an interval within one index."""
    try:
        return _seen(guard, interval, before) != _seen(guard, interval, after)
    except Exception:
        return True  # where a condition cannot be evaluated it would have failed in the function too


def _seen(guard: Guard, interval: Interval, image: Image) -> object:
    """All that the reader can tell of a document; None if it does not see it."""
    if image.text is None:
        return None
    start, end = interval
    places = [key for key in image.keys if start <= key < end]
    if not places:
        return None
    if guard.keeps and not guard.keeps(image.document):
        return None
    if guard.fields is None:
        return places, image.text
    # As encoded text, for 1 and True are equal to Python.
    return guard.places and places, [_encoded(lookup(image.document, path)) for path in guard.fields]


def _encoded(value: Any) -> bytes | None:
    return None if value is values.ABSENT else values.canonical(value)


def _numeric(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """An operation on numbers only: `"a" * 10**9` would cost this process what it did not cost the function's."""

    def checked(a: Any, b: Any) -> Any:
        if not (isinstance(a, int | float) and isinstance(b, int | float)):
            raise TypeError
        return operation(a, b)

    return checked


_BINARY: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda a, b: a in b,
    "not in": lambda a, b: a not in b,
    "is": operator.is_,
    "+": _numeric(operator.add),
    "-": _numeric(operator.sub),
    "*": _numeric(operator.mul),
    "/": _numeric(operator.truediv),
    "//": _numeric(operator.floordiv),
    "%": _numeric(operator.mod),
    "startswith": lambda a, b: a.startswith(b),
    "endswith": lambda a, b: a.endswith(b),
}
_UNARY: Final[dict[str, Callable[[Any], Any]]] = {
    "not": operator.not_,
    "neg": operator.neg,
    "abs": abs,
    "len": len,
    "lower": str.lower,
    "upper": str.upper,
    "strip": str.strip,
}


def compiled(expression: Expression) -> Evaluate:
    """An expression as a function of a document's decoded fields. It raises where Python would."""
    match expression:
        case ("value", value):
            return lambda document: value
        case ("field", path, default):
            return lambda document: default if (found := lookup(document, path)) is values.ABSENT else found
        case ("item", path):
            return lambda document: _present(lookup(document, path))
        case ("absent", path):
            return lambda document: lookup(document, path) is values.ABSENT
        case ("and", *parts):
            return _all([compiled(part) for part in parts])
        case ("or", *parts):
            return _any([compiled(part) for part in parts])
        case (str(name), part):
            one, of = _UNARY[name], compiled(part)
            return lambda document: one(of(document))
        case (str(name), left, right):
            two, first, second = _BINARY[name], compiled(left), compiled(right)
            return lambda document: two(first(document), second(document))
    raise AssertionError(expression)


def _present(value: Any) -> Any:
    if value is values.ABSENT:
        raise KeyError
    return value


def _all(parts: Sequence[Evaluate]) -> Evaluate:
    def evaluate(document: dict[str, Any]) -> Any:
        result: Any = True
        for part in parts:
            result = part(document)
            if not result:
                break
        return result

    return evaluate


def _any(parts: Sequence[Evaluate]) -> Evaluate:
    def evaluate(document: dict[str, Any]) -> Any:
        result: Any = False
        for part in parts:
            result = part(document)
            if result:
                break
        return result

    return evaluate
