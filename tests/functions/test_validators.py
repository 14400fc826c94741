"""Annotations as validators of Convex."""

from __future__ import annotations

import collections
import dataclasses
import enum
import pathlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, Required

import pydantic.dataclasses
import pytest
from jsonschema import Draft202012Validator
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    WrapSerializer,
    computed_field,
    field_serializer,
)
from typing_extensions import TypedDict

from yugen import values
from yugen.codegen.json_schema import GIVEN, schemas
from yugen.functions.arguments import Signature
from yugen.functions.declare import Query, query
from yugen.functions.pagination import PaginationOptions, PaginationResult
from yugen.functions.validators import Json, gives, takes
from yugen.schema import UNSET, Document, Id
from yugen.validation import Validator
from yugen.values import Int64

ANY = {"type": "any"}
NULL = {"type": "null"}
NUMBER = {"type": "number"}
STRING = {"type": "string"}


class User(Document, table="users"):
    name: str
    role: Literal["member", "admin"] = "member"
    note: str | None = None
    color: str | UNSET = UNSET
    storage: Annotated[Id[Literal["_storage"]] | None, Field(alias="storageId")]


class Color(enum.Enum):
    RED = "red"
    TWO = 2


@dataclasses.dataclass
class Point:
    x: float
    label: str = ""


class Options(TypedDict, total=False):
    limit: Required[int]
    after: str


class Pair(NamedTuple):
    left: int
    right: str


class Tree(BaseModel):
    value: int
    parts: list[Tree] = []


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class Names(RootModel[list[str]]):
    pass


class Shown(BaseModel):
    size: Annotated[int, Field(validation_alias="inSize", serialization_alias="outSize")]
    when: datetime
    secret: Annotated[str, Field(exclude=True)] = ""
    plain: int = 0

    @field_serializer("when")
    def seconds(self, when: datetime) -> float:
        return when.timestamp()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> float:
        return self.size * 2


def sent(result: Any, annotation: Any = Any) -> Any:
    """What a client gets of the result of a function that is annotated so."""

    async def handler(ctx: Any) -> Any: ...

    handler.__annotations__["return"] = annotation
    function: Query[[], Any] = query(handler)
    signature = Signature("m:f", function)
    return values.to_clean(values.loads(signature.encode_result(signature.result(result, None))))


def union(*members: Json) -> Json:
    return {"type": "union", "value": list(members)}


def array(value: Json) -> Json:
    return {"type": "array", "value": value}


def record(values: Json, keys: Json = STRING) -> Json:
    return {"type": "record", "keys": keys, "values": {"fieldType": values, "optional": False}}


def literal(value: object) -> Json:
    return {"type": "literal", "value": value}


def an_id(table: str) -> Json:
    return {"type": "id", "tableName": table}


def obj(**fields: Json | tuple[Json]) -> Json:
    """An object; an optional field is given as a tuple of one."""
    return {
        "type": "object",
        "value": {
            name: {"fieldType": field[0] if isinstance(field, tuple) else field, "optional": isinstance(field, tuple)}
            for name, field in fields.items()
        },
    }


SAME = {
    "none": (None, NULL),
    "bool": (bool, {"type": "boolean"}),
    "int": (int, NUMBER),
    "float": (float, NUMBER),
    "bounded": (Annotated[int, Field(gt=3)], NUMBER),
    "int64": (Int64, {"type": "bigint"}),
    "str": (str, STRING),
    "bytes": (bytes, {"type": "bytes"}),
    "any": (Any, ANY),
    "object": (object, ANY),
    "datetime": (datetime, STRING),
    "uuid": (uuid.UUID, STRING),
    "decimal": (Decimal, STRING),
    "id": (Id[User], an_id("users")),
    "id of a system table": (Id[Literal["_storage"]], an_id("_storage")),
    "id by name": (Id[Literal["User"]], an_id("users")),
    "optional": (int | None, union(NUMBER, NULL)),
    "union in union": (int | (str | None) | int, union(NUMBER, STRING, NULL)),
    "union with any": (int | Any, ANY),
    "literal": (Literal["a"], literal("a")),
    "literals": (Literal["a", 1, True, None], union(literal("a"), literal(1), literal(True), NULL)),
    "enum": (Color, union(literal("red"), literal(2))),
    "list": (list[int], array(NUMBER)),
    "bare list": (list, array(ANY)),
    "sequence": (Sequence[int], array(NUMBER)),
    "deque": (collections.deque[int], array(NUMBER)),
    "set": (frozenset[str], array(STRING)),
    "tuple": (tuple[int, ...], array(NUMBER)),
    "mixed tuple": (tuple[int, str], array(union(NUMBER, STRING))),
    "empty tuple": (tuple[()], array(ANY)),
    "named tuple": (Pair, array(union(NUMBER, STRING))),
    "dict": (dict[str, int], record(NUMBER)),
    "bare dict": (dict, record(ANY)),
    "mapping": (Mapping[str, int | None], record(union(NUMBER, NULL))),
    "dict by id": (dict[Id[User], int], record(NUMBER, an_id("users"))),
    "dict by literal": (dict[Literal["a", "b"], int], record(NUMBER)),
    "counter": (collections.Counter[str], record(NUMBER)),
    "typed dict": (Options, obj(limit=NUMBER, after=(STRING,))),
    "root model": (Names, array(STRING)),
    "extra fields": (Loose, ANY),
    "recursive": (Tree, obj(value=NUMBER, parts=(array(ANY),))),
    "callable": (Callable[[], None], ANY),
    "no schema": (bytearray, ANY),
}


@pytest.mark.parametrize("name", SAME)
def test_what_is_taken(name: str) -> None:
    annotation, expected = SAME[name]
    assert takes(annotation) == expected


@pytest.mark.parametrize("name", sorted(SAME.keys() - {"recursive"}))
def test_what_is_given_is_the_same(name: str) -> None:
    annotation, expected = SAME[name]
    assert gives(annotation) == expected


def test_one_and_true_are_different_literals() -> None:
    assert [each["value"] for each in takes(Literal[1, True])["value"]] == [1, True]
    assert [type(each["value"]) for each in takes(Literal[True, 1])["value"]] == [bool, int]


def test_defaults_are_optional_in_and_there_out() -> None:
    assert takes(Point) == obj(x=NUMBER, label=(STRING,))
    assert gives(Point) == obj(x=NUMBER, label=STRING)


def test_a_document_goes_out_without_what_was_left_at_none() -> None:
    role = union(literal("member"), literal("admin"))
    note, storage = union(STRING, NULL), union(an_id("_storage"), NULL)
    system = {"_id": an_id("users"), "_creationTime": NUMBER}
    assert gives(User) == obj(**system, name=STRING, role=role, note=(note,), color=(STRING,), storageId=storage)
    assert takes(User) == obj(
        **{name: (kind,) for name, kind in system.items()},
        name=STRING,
        role=(role,),
        note=(note,),
        color=(STRING,),
        storageId=storage,
    )


def test_serializers_count_where_something_goes_out() -> None:
    assert takes(Shown) == obj(inSize=NUMBER, when=STRING, secret=(STRING,), plain=(NUMBER,))
    assert gives(Shown) == obj(outSize=NUMBER, when=NUMBER, plain=NUMBER, double=NUMBER)
    assert takes(pathlib.Path) == gives(pathlib.Path) == STRING


Text = Annotated[int, PlainSerializer(str, return_type=str)]
TextOrNull = Annotated[int | None, PlainSerializer(str, return_type=str, when_used="unless-none")]


class Sizes(TypedDict):
    small: Annotated[Text, Field(alias="s")]
    large: Annotated[int, Field(exclude_if=lambda size: size == 0)]


class Sized(NamedTuple):
    name: str
    size: Text


@dataclasses.dataclass
class Scale:
    size: Text


class Box(BaseModel):
    size: int


JustSize = Annotated[Box, PlainSerializer(lambda box: box.size, return_type=int)]


class Sometimes(BaseModel):
    size: TextOrNull
    shown: Annotated[int, Field(exclude_if=lambda size: size == 0)]

    @computed_field(exclude_if=lambda size: size == 0)  # type: ignore[prop-decorator]
    @property
    def again(self) -> int:
        return self.shown


SERIALIZED: dict[str, tuple[Any, Any, Json, Any]] = {
    "plain": (Text, 7, STRING, "7"),
    "in a list": (list[Text], [7], array(STRING), ["7"]),
    "what it gives is not said": (Annotated[int, PlainSerializer(lambda size: [size])], 7, ANY, [7]),
    "wrapping": (Annotated[int, WrapSerializer(lambda size, inner: [inner(size)])], 7, ANY, [7]),
    "of JSON only": (Annotated[int, PlainSerializer(str, return_type=str, when_used="json")], 7, NUMBER, 7),
    "of null": (TextOrNull, None, union(STRING, NULL), None),
    "of what may be null": (TextOrNull, 7, union(STRING, NULL), "7"),
    "of what is never null": (Annotated[Text, Field(ge=0)], 7, STRING, "7"),
    "typed dict": (Sizes, {"s": 7, "large": 0}, obj(s=STRING, large=(NUMBER,)), {"s": "7"}),
    "named tuple": (Sized, ["a", 7], array(STRING), ["a", "7"]),
    "dataclass": (Scale, {"size": 7}, obj(size=STRING), {"size": "7"}),
    "id": (Annotated[Id[User], PlainSerializer(len, return_type=int)], "abc", NUMBER, 3),
    "model": (JustSize, Box(size=7), NUMBER, 7),
    "model twice": (tuple[Box, JustSize], [Box(size=7)] * 2, array(union(obj(size=NUMBER), NUMBER)), [{"size": 7}, 7]),
    "document": (
        Annotated[User, PlainSerializer(lambda user: user.name, return_type=str)],
        User(name="a", storage=None),
        STRING,
        "a",
    ),
    "nothing to show": (
        Sometimes,
        Sometimes(size=None, shown=0),
        obj(size=union(STRING, NULL), shown=(NUMBER,), again=(NUMBER,)),
        {"size": None},
    ),
}


@pytest.mark.parametrize("name", SERIALIZED)
def test_what_a_serializer_makes_is_described_and_sent(name: str) -> None:
    annotation, result, described, expected = SERIALIZED[name]
    assert gives(annotation) == described
    assert sent(result, annotation) == expected
    found, definitions = schemas([("it", GIVEN, annotation)], "#/$defs/{model}")
    Draft202012Validator({**found["it", GIVEN], "$defs": definitions}).validate(expected)


class Base(BaseModel):
    shown: int = 1


class Derived(Base):
    more: int = 2


def test_an_object_is_sent_with_what_its_own_class_has() -> None:
    assert sent([Derived()], Sequence[Base]) == [{"shown": 1, "more": 2}]


def test_pages() -> None:
    options = takes(PaginationOptions)["value"]
    assert options["numItems"] == {"fieldType": NUMBER, "optional": False}
    assert options["cursor"] == {"fieldType": union(STRING, NULL), "optional": True}
    page = gives(PaginationResult[User])["value"]
    assert page["isDone"] == {"fieldType": {"type": "boolean"}, "optional": False}
    assert page["page"]["fieldType"] == array(gives(User))


class Area(BaseModel):
    sides: tuple[int, int]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def size(self) -> int:
        return self.sides[0] * self.sides[1]


class Meadow(Document, table="meadows"):
    area: Area | None = None

    @computed_field(alias="isLarge")  # type: ignore[prop-decorator]
    @property
    def is_large(self) -> bool:
        return self.area is not None and self.area.size > 9


class Farm(BaseModel):
    best: Meadow


@dataclasses.dataclass
class Barn:
    beside: Meadow


@pydantic.dataclasses.dataclass
class Shed:
    beside: Meadow


@pytest.mark.parametrize("area", [None, Area(sides=(2, 5))])
def test_a_document_looks_the_same_wherever_it_is(area: Area | None) -> None:
    one: Meadow = Validator(Meadow)({"_id": "f", "_creationTime": 1.0, "area": area}, None)
    alone = sent(one)
    area_sent = None if area is None else {"sides": [2, 5], "size": 10}
    assert alone == {"_id": "f", "_creationTime": 1, "area": area_sent}
    assert set(alone) == set(gives(Meadow)["value"])
    assert sent([one]) == [alone]
    page = PaginationResult[Meadow](page=[one], is_done=True, continue_cursor="")
    assert sent(page)["page"] == [alone]
    assert sent(Farm(best=one)) == {"best": alone}
    assert sent(Barn(one)) == sent(Shed(one)) == {"beside": alone}


def test_what_is_computed_of_a_document_is_there_in_python() -> None:
    assert Farm(best=Meadow()).model_dump() == {"best": {"is_large": False}}
    assert Meadow().model_dump(by_alias=True) == {"isLarge": False}
