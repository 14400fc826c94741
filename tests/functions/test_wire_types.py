"""What annotations mean on the wire, where validators of Convex say less."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import TypeAliasType, TypedDict

from yugen.functions.validators import gives, takes
from yugen.functions.wire_types import (
    ANY,
    NULL,
    STRING,
    ArrayType,
    LiteralType,
    NamedType,
    ObjectType,
    Reader,
    RecordType,
    Scalar,
    TupleType,
    UnionType,
    WireType,
    union,
    unnamed,
)
from yugen.schema import Document, Id

NUMBER = Scalar("number")


class Tree(BaseModel):
    value: Annotated[int, Field(description="How much.")]
    parts: list[Tree] = []


class Checked(BaseModel):
    parts: list[Checked] = []

    @model_validator(mode="before")
    @classmethod
    def whatever(cls, value: Any) -> Any:
        return value


class Pair(NamedTuple):
    left: int
    right: str = ""


class Color(Enum):
    RED = "red"


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")

    x: int


class Options(TypedDict):
    limit: int


class Checking(Document, table="checking"):
    text: str

    @model_validator(mode="before")
    @classmethod
    def before(cls, value: Any) -> Any:
        return value

    @model_validator(mode="after")
    def after(self) -> Self:
        return self


Nested = TypeAliasType("Nested", "list[Nested] | dict[str, Nested] | None")


def taken(annotation: Any) -> WireType:
    return Reader(output=False).read(annotation)


def named(found: WireType) -> NamedType:
    assert isinstance(found, NamedType)
    return found


def fields(found: WireType) -> Mapping[str, Any]:
    found = unnamed(found)
    assert isinstance(found, ObjectType)
    return found.fields


def test_tuples_keep_their_places() -> None:
    assert taken(tuple[int, str]) == TupleType((NUMBER, STRING), 2)
    assert taken(tuple[int, ...]) == ArrayType(NUMBER)
    assert unnamed(taken(Pair)) == TupleType((NUMBER, STRING), 1)
    assert unnamed(Reader(output=True).read(Pair)) == TupleType((NUMBER, STRING), 2)


@pytest.mark.parametrize("cls", [Tree, Checked])
def test_a_model_that_refers_to_itself_is_one_type(cls: type) -> None:
    for output in (False, True):
        tree = named(Reader(output=output).read(cls))
        assert (tree.name, tree.cls, tree.module) == (cls.__name__, cls, __name__)
        assert fields(tree)["parts"].type == ArrayType(tree)


def test_an_alias_that_refers_to_itself_has_a_name() -> None:
    nested = named(taken(Nested))
    assert (nested.name, nested.cls, nested.module) == ("Nested", None, __name__)
    assert nested.definition == UnionType((ArrayType(nested), RecordType(STRING, nested), NULL))


def test_a_name_is_one_type_for_all_annotations_of_a_reader() -> None:
    reader = Reader(output=True)
    assert reader.read(list[Tree]) == ArrayType(reader.read(Tree))
    assert reader.read(list[Nested]) == ArrayType(reader.read(Nested))
    assert [named(reader.read(each)).name for each in (Color, Options, Pair)] == ["Color", "Options", "Pair"]


def test_what_is_written_about_fields() -> None:
    assert fields(taken(Tree))["value"].description == "How much."


def test_unknown_fields_pass_in_open_objects() -> None:
    found = unnamed(taken(Loose))
    assert isinstance(found, ObjectType)
    assert (found.open, list(found.fields)) == (True, ["x"])


def test_literals_of_one_value_in_python_are_two() -> None:
    assert LiteralType(1) != LiteralType(True)
    assert taken(list[Literal[1]] | list[Literal[True]]) == UnionType(
        (ArrayType(LiteralType(1)), ArrayType(LiteralType(True)))
    )


def test_unions() -> None:
    assert union([]) == ANY
    assert union([STRING, ANY]) == ANY
    assert union([STRING, STRING]) == STRING
    assert union([UnionType((STRING, NULL)), NUMBER]) == UnionType((STRING, NULL, NUMBER))


def test_a_document_with_validators_of_its_own_is_read_like_any_other() -> None:
    expected = {"_id": Id, "_creationTime": float, "text": str}
    assert gives(Checking)["value"].keys() == takes(Checking)["value"].keys() == expected.keys()
    assert gives(Checking)["value"]["_id"]["fieldType"] == {"type": "id", "tableName": "checking"}
