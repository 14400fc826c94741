from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from yugen.codegen.typescript import comment, print_type, property_name
from yugen.functions.pagination import PaginationOptions, PaginationResult
from yugen.functions.wire_types import LiteralType, Reader
from yugen.schema import Id
from yugen.values import Int64


class Model(BaseModel):
    x: int


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "number"),
        (Int64, "bigint"),
        (bytes, "ArrayBuffer"),
        (Any, "any"),
        (str | None, "string | null"),
        (Id[Literal["users"]], 'Id<"users">'),
        (list[Id[Literal["users"]]], 'Id<"users">[]'),
        (list[int | None], "Array<number | null>"),
        (list[list[str]], "string[][]"),
        (Literal["a", 'b"', 1, True, -2, None], '"a" | "b\\"" | 1 | true | -2 | null'),
        (dict[str, int], "{ [key: string]: number }"),
        (dict[Id[Literal["users"]], int], '{ [id: Id<"users">]: number }'),
        (dict[Literal["a", "b c"], int], '{\n  a?: number;\n  "b c"?: number;\n}'),
        (tuple[int, str], "[number, string]"),
        (tuple[int, ...], "number[]"),
        (set[str], "string[]"),
        (Model, "Model"),
        (list[Model], "Model[]"),
        (PaginationOptions, "PaginationOptions"),
        (PaginationResult[Model], "PaginationResult<Model>"),
        (Annotated[int, Field(gt=3)], "number"),
    ],
    ids=str,
)
def test_types(annotation: Any, text: str) -> None:
    assert print_type(Reader(output=True).read(annotation), lambda found: found.name) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1.5"),
        (2.0, "2"),
        (1e300, "1e+300"),
        (float("inf"), "number"),
        (Int64(2**60), f"{2**60}n"),
        ("é", '"\\u00e9"'),
    ],
)
def test_literals(value: Any, text: str) -> None:
    assert print_type(LiteralType(value), str) == text


def test_a_long_union_stands_on_lines_of_its_own() -> None:
    long: Any = Literal[tuple("x" * 20 + str(number) for number in range(5))]
    lines = print_type(Reader(output=True).read(long), str).split("\n")
    assert lines == ["", *(f'  | "{"x" * 20}{number}"' for number in range(5))]


def test_names_that_are_no_identifiers_are_in_quotes() -> None:
    assert [property_name(name) for name in ("a", "$1", "class", "1a", "a b", "a-b", "", "é")] == [
        *("a", "$1", "class", '"1a"', '"a b"', '"a-b"', '""', '"\\u00e9"')
    ]


def test_comments() -> None:
    assert comment(None) == comment("  \n ") == ""
    assert comment(" one ") == "/** one */\n"
    assert comment("one\n\n    two */\n      three") == "/**\n * one\n *\n * two *\\/\n *   three\n */\n"
