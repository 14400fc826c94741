"""Shapes: what values stand where in the documents of a table, for archives whose JSON does not say it.

The documents of an archive are clean JSON, in which a 64-bit integer, bytes and a number that JSON lacks are strings.
The `generated_schema.jsonl` beside them says which string is what. Its first line is the *shape* of the table's
documents, as text in a JSON string: `{"_id": string, "big": int64, "note"?: bytes | null}`. Where a shape leaves open
what a string is, a line `{"<id>": {"field": "int64"}}` for each document in question says it; these are *hints*.

The grammar of shapes and hints is that of Convex's exports, so that each reads what the other has written.
"""

from __future__ import annotations

import math
import re
import struct
from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final

import orjson

from yugen.errors import Refused
from yugen.values import Int64, Value, decode, parse_json

FIELDS_MAX: Final = 256
"""Names of fields that the objects at one place may have; with more of them they count as a record of any names."""

_NESTING_MAX: Final = 64

Hint = Any
"""What one value is: the name of a kind, or a list or an object of hints; `"infer"` or None where the shape says it."""

_INFER: Final = "infer"
_FLOATS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_pack_float = struct.Struct("<d").pack
_unpack_float = struct.Struct("<d").unpack
_NAN: Final = _pack_float(math.nan)


class InvalidShape(Refused):
    """A shape, a hint or a string that is not what it should be."""

    code = "InvalidShape"


@dataclass(slots=True)
class _Field:
    """A field of the objects at one place; `count` is how many of them have it."""

    shape: Shape
    count: int = 0


@dataclass(slots=True)
class Shape:
    """What values stand at one place.

    Attributes:
        kinds: the kinds of those that have no parts, by their names in a shape's text.
        items: what the arrays hold, if there are arrays.
        fields: what the objects hold by field, if there are objects.
        objects: how many objects there are; a field that fewer of them have is optional.
        values: what records hold, if there are records.
    """

    kinds: dict[str, None] = field(default_factory=dict)  # a set that keeps its order
    items: Shape | None = None
    fields: dict[str, _Field] | None = None
    objects: int = 0
    values: Shape | None = None

    def add(self, value: Value) -> None:
        """Takes in one more value that stands here."""
        match value:
            case list():
                self.items = self.items or Shape()
                for item in value:
                    self.items.add(item)
            case dict():
                self._add_object(value)
            case float() if math.isnan(value) and _pack_float(value) != _NAN:
                # "NaN" will not do for this one: by making a string of it that could be either, it gets a hint.
                self.kinds |= dict.fromkeys(("float64", "string"))
            case _:
                self.kinds[_kind(value)] = None

    def _add_object(self, value: dict[str, Any]) -> None:
        if self.values is None:
            self.objects += 1
            if self.fields is None:
                self.fields = {}
            for name, item in value.items():
                known = self.fields.get(name)
                if known is None:
                    known = self.fields[name] = _Field(Shape())
                known.count += 1
                known.shape.add(item)
            self._generalize()
            return
        for item in value.values():
            self.values.add(item)

    def merge(self, other: Shape, *, as_told: bool = False) -> None:
        """Takes in all values of another place.

        Args:
            other: its shape.
            as_told: whether objects and records stay apart, as in the text of a shape, whoever wrote it.
        """
        self.kinds |= other.kinds
        if other.items is not None:
            self.items = self.items or Shape()
            self.items.merge(other.items, as_told=as_told)
        if other.values is not None:
            self.values = self.values or Shape()
            self.values.merge(other.values, as_told=as_told)
        if other.fields is not None:
            self.fields = self.fields if self.fields is not None else {}
            for name, known in other.fields.items():
                mine = self.fields.setdefault(name, _Field(Shape()))
                mine.count += known.count
                mine.shape.merge(known.shape, as_told=as_told)
        self.objects += other.objects
        if not as_told:
            self._generalize()

    def _generalize(self) -> None:
        """Makes a record of objects with too many names, and of all objects where there is one.

        With both, it could not be told of a value in a record whether it is one of the field that has its name.
        """
        fields = self.fields or {}
        if self.values is None and len(fields) > FIELDS_MAX:
            self.values = Shape()
        if self.values is not None:
            self.fields = None
            for known in fields.values():
                self.values.merge(known.shape)

    def __str__(self) -> str:
        alternatives = list(self.kinds)
        if {"normalfloat64", "float64"} <= self.kinds.keys():
            alternatives.remove("normalfloat64")
        if self.items is not None:
            alternatives.append(f"array<{self.items}>")
        if self.fields is not None:
            parts = (
                f"{_quoted(name)}{'' if known.count == self.objects else '?'}: {known.shape}"
                for name, known in self.fields.items()
            )
            alternatives.append(f"{{{', '.join(parts)}}}")
        if self.values is not None:
            alternatives.append(f"record<field_name, {self.values}>")
        return " | ".join(alternatives) or "never"

    @property
    def ambiguous(self) -> bool:
        """Whether a string of clean JSON may be one thing or another somewhere in it."""
        parts = [self.items, self.values, *(known.shape for known in (self.fields or {}).values())]
        return len(self._string_kinds()) > 1 or any(part is not None and part.ambiguous for part in parts)

    def _string_kinds(self) -> set[str]:
        """What a string here may be."""
        return {_OF_STRING[kind] for kind in self.kinds if kind in _OF_STRING}

    def _of_string(self) -> str:
        """What a string here is, without a hint."""
        kinds = self._string_kinds()
        return kinds.pop() if len(kinds) == 1 else "string"

    def _part(self, name: str) -> Shape:
        known = (self.fields or {}).get(name)
        return known.shape if known is not None else self.values or _NOTHING

    def hint(self, value: Value) -> Hint | None:
        """What must be said of a value so that its clean JSON is read as what it is; None if nothing."""
        match value:
            case list():
                items = self.items or _NOTHING
                hints = [items.hint(item) for item in value]
                return None if not any(hints) else [hint or _INFER for hint in hints]
            case dict():
                named = {name: self._part(name).hint(item) for name, item in value.items()}
                return None if not any(named.values()) else {name: hint or _INFER for name, hint in named.items()}
            case Int64():
                return None if self._of_string() == "int64" else "int64"
            case bytes():
                return None if self._of_string() == "bytes" else "bytes"
            case float() if math.isnan(value):
                raw = _pack_float(value)
                plain = self._of_string() == "float64" and raw == _NAN
                return None if plain else {"$float64NaN": b2a_base64(raw, newline=False).decode()}
            case float() if math.isinf(value):
                return None if self._of_string() == "float64" else "float64inf"
            case _:
                return None

    def read(self, clean: Any, hint: Hint = None) -> Value:
        """The value that clean JSON stands for at this place.

        Raises:
            InvalidShape: a string is not what the shape or the hint says.
        """
        match clean:
            case str():
                return _read_string(clean, self._of_string() if hint in (None, _INFER) else hint)
            case list():
                items, hints = self.items or _NOTHING, hint if isinstance(hint, list) else []
                return [items.read(item, each) for item, each in zip_longest(clean, hints[: len(clean)])]
            case dict():
                named = hint if isinstance(hint, dict) else {}
                return {name: self._part(name).read(item, named.get(name)) for name, item in clean.items()}
            case _:
                return decode(clean)


_NOTHING: Final = Shape()

_OF_STRING: Final = {
    "string": "string",
    "field_name": "string",
    "unknown": "string",
    "int64": "int64",
    "bytes": "bytes",
    **dict.fromkeys(("float64", "NaN", "inf", "-inf"), "float64"),
}
"""The kinds whose clean JSON is a string, and what that string then is."""

_KINDS: Final = frozenset({*_OF_STRING, "never", "null", "boolean", "normalfloat64", "-0"})


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case Int64():
            return "int64"
        case float() | int():
            return "normalfloat64" if math.isfinite(value) else "float64"
        case bytes():
            return "bytes"
    return "string"


def _read_string(text: str, kind: Hint) -> Value:
    try:
        match kind:
            case "string":
                return text
            case "int64":
                return Int64(int(text))
            case "bytes":
                return _from_base64(text)
            case "float64" | "float64inf":
                return _FLOATS[text]
            case {"$float64NaN": str(raw)}:
                return float(_unpack_float(_from_base64(raw))[0])
    except (ValueError, KeyError, Refused, struct.error):
        raise InvalidShape(f"{text[:100]!r} should be of the kind {kind}") from None
    raise InvalidShape(f"{str(kind)[:100]!r} is no kind of value")


def _from_base64(text: str) -> bytes:
    return a2b_base64(text, strict_mode=True)


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()


# Reading the text of a shape ------------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|([A-Za-z0-9_-]+)|([{}<>,:?|]))')


def parse_shape(text: str) -> Shape:
    """The shape with this text.

    Raises:
        InvalidShape: it is none.
    """
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._depth = 0
        self._next = ""
        self._advance()

    def whole(self) -> Shape:
        shape = self._union()
        if self._next:
            raise self._wrong()
        return shape

    def _union(self) -> Shape:
        self._depth += 1
        if self._depth > _NESTING_MAX:
            raise InvalidShape(f"a shape is nested at most {_NESTING_MAX} deep")
        shape = Shape()
        self._alternative(shape)
        while self._next == "|":
            self._advance()
            self._alternative(shape)
        self._depth -= 1
        return shape

    def _alternative(self, shape: Shape) -> None:
        word = self._take()
        if word == "{":
            shape.merge(self._object(), as_told=True)
        elif word.startswith('"'):
            shape.kinds["string"] = None  # a literal
        elif self._next == "<":
            self._generic(word, shape)
        elif word in _KINDS:
            if word != "never":
                shape.kinds[word] = None
        else:
            raise self._wrong(word)

    def _generic(self, word: str, shape: Shape) -> None:
        self._advance()
        match word:
            case "id":
                self._take()
                shape.kinds["string"] = None
            case "array" | "set":
                shape.merge(Shape(items=self._union()), as_told=True)
            case "record" | "map":
                self._union()
                self._expect(",")
                shape.merge(Shape(values=self._union()), as_told=True)
            case _:
                raise self._wrong(word)
        self._expect(">")

    def _object(self) -> Shape:
        shape = Shape(fields={}, objects=1)
        while self._next != "}":
            if shape.fields:
                self._expect(",")
            name = self._take()
            if name.startswith('"'):
                name = parse_json(name)
            optional = self._next == "?"
            if optional:
                self._advance()
            self._expect(":")
            assert shape.fields is not None
            shape.fields[name] = _Field(self._union(), count=0 if optional else 1)
        self._advance()
        return shape

    def _expect(self, token: str) -> None:
        if self._take() != token:
            raise self._wrong()

    def _take(self) -> str:
        """The next token that is there."""
        token = self._next
        if not token:
            raise self._wrong()
        self._advance()
        return token

    def _advance(self) -> None:
        found = _TOKEN.match(self._text, self._place)
        if found is None and self._text[self._place :].strip():
            raise self._wrong()
        self._next = found[0].strip() if found else ""
        self._place = found.end() if found else len(self._text)

    def _wrong(self, word: str = "") -> InvalidShape:
        return InvalidShape(f"{(word or self._text[self._place :])[:40]!r} is not expected in the text of a shape")
