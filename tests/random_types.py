"""Random annotations with values of the wire that fit them, for what says the same of annotations in other terms."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Union, cast

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, create_model
from typing_extensions import TypeAliasType, TypedDict

from tests import strategies
from yugen import values
from yugen.schema import UNSET, Document, Id, as_wire
from yugen.validation import Validator
from yugen.values import EXACT_INT_MAX, Int64

_counter = itertools.count()

# What type checkers want to see in the text of a program is made here as it runs.
_LIST: Any = list
_SET: Any = set
_TUPLE: Any = tuple
_DICT: Any = dict
_UNION: Any = Union
_ROOT: Any = RootModel
_TYPED_DICT: Any = TypedDict


@dataclass(frozen=True, repr=False)
class Typed:
    """An annotation, and a strategy for values of the wire, as they are decoded, that fit it."""

    annotation: Any
    fitting: st.SearchStrategy[Any]
    hashable: bool = False

    def __repr__(self) -> str:
        return str(self.annotation)


class Color(Enum):
    RED = "red"
    TWO = 2


class Size(StrEnum):
    SMALL = "s"
    LARGE = "l"


class Tree(BaseModel):
    """A model that is a part of itself. */"""

    value: int
    parts: list[Tree] = []


class Pair(NamedTuple):
    left: int
    right: str = ""


class User(Document, table="users"):
    """Somebody."""

    name: str
    age: int = 0
    note: str | None = None
    color: str | UNSET = UNSET
    votes: Int64 = Int64(0)


Nested = TypeAliasType("Nested", "list[Nested] | dict[str, Nested] | str | None")

wire_values: st.SearchStrategy[Any] = strategies.values.filter(lambda value: b'"$float"' not in values.dumps(value))
"""Without the numbers that JSON does not have, of which JSON Schema does not speak either."""

_texts = st.text('ab/*"\\ é\n', max_size=4)
_keys = st.text("ab- é".replace("é", "_"), max_size=3)
_floats = st.sampled_from([0.0, 1.0, -1.0, 2.0, 0.5, 1e300, float(EXACT_INT_MAX), 2.0 * EXACT_INT_MAX])
_trees = st.recursive(
    st.integers(-3, 3).map(lambda value: cast("Any", {"value": float(value)})),
    lambda inside: st.lists(inside, max_size=2).map(lambda parts: {"value": 1.0, "parts": parts}),
    max_leaves=3,
)
_nested = st.recursive(
    st.none() | _texts,
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(_keys, inside, max_size=2),
    max_leaves=4,
)
_users = st.fixed_dictionaries(
    {"name": _texts, "_id": st.just("u1"), "_creationTime": st.just(1.0)},
    optional={"age": st.just(3.0), "note": st.none() | _texts, "color": _texts, "votes": st.just(Int64(2))},
)

LEAVES = [
    Typed(None, st.none(), hashable=True),
    Typed(bool, st.booleans(), hashable=True),
    Typed(int, st.integers(-9, 9).map(float), hashable=True),
    Typed(Annotated[int, Field(ge=1, lt=3)], st.sampled_from([1.0, 2.0]), hashable=True),
    Typed(Annotated[int, Field(multiple_of=2)], st.integers(-2, 2).map(lambda each: each * 2.0 + 0.0), hashable=True),
    Typed(float, _floats, hashable=True),
    Typed(Annotated[float, Field(gt=0, le=1)], st.sampled_from([0.5, 1.0]), hashable=True),
    Typed(str, _texts, hashable=True),
    Typed(Annotated[str, Field(min_length=1, max_length=3)], st.text("ab", min_size=1, max_size=3), hashable=True),
    Typed(Annotated[str, Field(pattern="^a+$")], st.text("a", min_size=1, max_size=3), hashable=True),
    Typed(bytes, strategies.blobs, hashable=True),
    Typed(Int64, strategies.int64s, hashable=True),
    Typed(Id[Literal["users"]], st.text("ab", max_size=3), hashable=True),
    Typed(Literal["a", 'b"\\'], st.sampled_from(["a", 'b"\\']), hashable=True),
    Typed(Literal["a", 1, True, None], st.sampled_from(["a", 1.0, True, None])),
    Typed(Literal[0, False, -2], st.sampled_from([0.0, False, -2.0])),
    Typed(Color, st.sampled_from(["red", 2.0]), hashable=True),
    Typed(Size, st.sampled_from(["s", "l"]), hashable=True),
    Typed(Tree, _trees),
    Typed(Pair, st.sampled_from([[1.0], [2.0, "x"]])),
    Typed(User, _users),
    Typed(Nested, _nested),
    Typed(Any, wire_values),
]


def _name(kind: str) -> str:
    return f"{kind}{next(_counter)}"


def _list(item: Typed) -> Typed:
    return Typed(_LIST[item.annotation], st.lists(item.fitting, max_size=3))


def _set(item: Typed) -> Typed:
    return Typed(_SET[item.annotation], st.lists(item.fitting, max_size=3))


def _short_list(item: Typed) -> Typed:
    items = _LIST[item.annotation]
    return Typed(Annotated[items, Field(min_length=1, max_length=2)], st.lists(item.fitting, min_size=1, max_size=2))


def _tuple(items: list[Typed]) -> Typed:
    annotation = _TUPLE[tuple(each.annotation for each in items)]
    return Typed(annotation, st.tuples(*(each.fitting for each in items)).map(list))


def _record(item: Typed) -> Typed:
    return Typed(_DICT[str, item.annotation], st.dictionaries(_keys, item.fitting, max_size=3))


def _by_literal(item: Typed) -> Typed:
    keys = st.sampled_from(["x", "y z"])
    return Typed(_DICT[Literal["x", "y z"], item.annotation], st.dictionaries(keys, item.fitting))


def _union(items: list[Typed]) -> Typed:
    annotation = _UNION[tuple(each.annotation for each in items)]
    return Typed(annotation, st.one_of(*(each.fitting for each in items)))


def or_null(annotation: Any) -> Any:
    return _UNION[annotation, None]


def _root(item: Typed) -> Typed:
    annotation = type(_name("Root"), (_ROOT[item.annotation],), {"__module__": __name__})
    return Typed(annotation, item.fitting)


@dataclass(frozen=True)
class _Member:
    """A field of a class: its names in Python and on the wire, and whether it may be missing."""

    python: str
    wire: str
    typed: Typed
    optional: bool


_KIND = _Member("kind", "kind", Typed(str, _texts), optional=False)


def _members(inside: st.SearchStrategy[Typed]) -> st.SearchStrategy[list[_Member]]:
    names = st.sampled_from([("f", "f"), ("g", "g"), ("long_name", "long-name"), ("h", "class"), ("i", "1")])
    member = st.builds(
        lambda name, typed, optional: _Member(name[0], name[1], typed, optional), names, inside, st.booleans()
    )
    members = st.lists(member, max_size=3, unique_by=lambda each: each.python)
    # Python takes an Int64, which has attributes, for a model whose fields are all optional.
    return members.map(lambda found: found if any(not each.optional for each in found) else [*found, _KIND])


def _fields(members: list[_Member], named: Callable[[_Member], str]) -> st.SearchStrategy[dict[str, Any]]:
    required = {named(each): each.typed.fitting for each in members if not each.optional}
    optional = {named(each): each.typed.fitting for each in members if each.optional}
    return st.fixed_dictionaries(required, optional=optional)


def _model(members: list[_Member], extra: Literal["allow", "ignore", "forbid"]) -> Typed:
    fields: dict[str, Any] = {
        each.python: (
            each.typed.annotation if not each.optional else or_null(each.typed.annotation),
            Field(alias=each.wire, description="What it is.\nAnd */ more.")
            if not each.optional
            else Field(default=None, alias=each.wire),
        )
        for each in members
    }
    cls = create_model(_name("Model"), __config__=ConfigDict(extra=extra), **fields)
    return Typed(cls, _fields(members, lambda each: each.wire))


def _typed_dict(members: list[_Member]) -> Typed:
    fields = {
        each.wire: NotRequired[each.typed.annotation] if each.optional else each.typed.annotation for each in members
    }
    cls = _TYPED_DICT(_name("Dict"), fields)
    return Typed(cls, _fields(members, lambda each: each.wire))


def _dataclass(members: list[_Member]) -> Typed:
    fields: list[Any] = [
        (each.python, or_null(each.typed.annotation), dataclasses.field(default=None))
        if each.optional
        else (each.python, each.typed.annotation)
        for each in sorted(members, key=lambda each: each.optional)
    ]
    return Typed(dataclasses.make_dataclass(_name("Data"), fields), _fields(members, lambda each: each.python))


def _containers(inside: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    some = st.lists(inside, min_size=2, max_size=3)
    return st.one_of(
        st.builds(_list, inside),
        st.builds(_short_list, inside),
        st.builds(_set, st.sampled_from([each for each in LEAVES if each.hashable])),
        st.builds(_tuple, some),
        st.builds(_union, some),
        st.builds(_record, inside),
        st.builds(_by_literal, inside),
        st.builds(_root, inside),
        st.builds(_model, _members(inside), st.sampled_from(["allow", "ignore", "forbid"])),
        st.builds(_typed_dict, _members(inside)),
        st.builds(_dataclass, _members(inside)),
    )


typed: st.SearchStrategy[Typed] = st.recursive(st.sampled_from(LEAVES), _containers, max_leaves=5)
"""Random annotations."""


@st.composite
def near(draw: st.DrawFn, fitting: st.SearchStrategy[Any]) -> Any:
    """A value that fits, or one that nearly does."""
    value = draw(fitting)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        value = _changed(draw, value)
    return value


def _changed(draw: st.DrawFn, value: Any) -> Any:
    match draw(st.sampled_from(["inside", "inside", "other", "more", "less"])), value:
        case "inside", list() if value:
            place = draw(st.integers(0, len(value) - 1))
            return [*value[:place], _changed(draw, value[place]), *value[place + 1 :]]
        case "inside", dict() if value:
            name = draw(st.sampled_from(sorted(value)))
            return {**value, name: _changed(draw, value[name])}
        case "more", list():
            return [*value, *value[:1]] if value else [draw(wire_values)]
        case "more", dict():
            return {**value, draw(_keys): draw(wire_values)}
        case "less", list():
            return value[:-1]
        case "less", dict() if value:
            return {name: value[name] for name in sorted(value)[1:]}
    scalars: st.SearchStrategy[Any] = st.sampled_from(
        [None, True, False, 0.0, 1.0, 2.0, 0.5, -1.0, 3e20, "", "a", "1", Int64(1), b"a", [], {}]
    )
    return draw(scalars | wire_values)


def as_json(value: Any) -> Any:
    """The JSON of a value as clients send it."""
    return values.encode(value)


def accepted(annotation: Any, value: Any) -> bool:
    """Whether Python takes a value of the wire for an argument that is annotated so."""
    try:
        Validator(annotation)(value, None)
    except ValidationError:
        return False
    return True


def sent(annotation: Any, value: Any) -> Any:
    """What comes back of a value that a function returns as it has got it."""
    return values.decode(values.encode(Validator(annotation)(value, None), fallback=as_wire))


def examples(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """That many examples, much the same in every run; Hypothesis also draws constants of what is loaded."""
    found: list[Any] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found
