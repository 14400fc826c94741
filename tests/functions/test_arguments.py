"""Arguments and results against the annotations of a function."""

from __future__ import annotations

import dataclasses
import json
import types
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field
from typing_extensions import TypedDict

from yugen.catalog import Catalog, TableSpec
from yugen.functions.arguments import ArgumentValidationError, ReturnsValidationError, Signature
from yugen.functions.declare import DeclarationError, Query, query
from yugen.ids import encode_id
from yugen.schema import UNSET, Document, Id
from yugen.values import Int64

USER_ID = encode_id(10_001, bytes(16))
MESSAGE_ID = encode_id(10_002, bytes(16))
CATALOG = Catalog([TableSpec("users", 10_001), TableSpec("messages", 10_002)])


class User(Document, table="users"):
    name: str
    note: str | None = None


class Color(Enum):
    RED = "red"


class Address(BaseModel):
    city: str


class Options(TypedDict, total=False):
    limit: int


@dataclasses.dataclass
class Point:
    x: float
    raw: bytes = b""


def signature(handler: Any) -> Signature:
    return Signature("m:f", query(handler))


def bind(handler: Any, **args: Any) -> dict[str, Any]:
    return signature(handler).bind(args, CATALOG)


def refused(handler: Any, **args: Any) -> str:
    with pytest.raises(ArgumentValidationError) as caught:
        bind(handler, **args)
    return str(caught.value)


async def send(ctx: Any, author: Id[User], body: str, count: int = 1, since: float = 0) -> None: ...


async def everything(
    ctx: Any,
    address: Address,
    point: Point,
    options: Options,
    color: Color,
    kind: Literal["a", "b"],
    at: datetime,
    pair: tuple[int, str],
    tags: set[str],
    users: list[Id[User]],
    reply: Id[User] | None,
    big: Int64,
    raw: bytes,
) -> None: ...


# Binding -------------------------------------------------------------------------------------------------------------


def test_arguments_come_by_name_with_defaults() -> None:
    bound = bind(send, author=USER_ID, body="hi", count=3.0)
    assert bound == {"author": USER_ID, "body": "hi", "count": 3, "since": 0}
    assert type(bound["count"]) is int


def test_arguments_become_what_their_annotations_promise() -> None:
    bound = bind(
        everything,
        address={"city": "Oslo"},
        point={"x": 1.0, "raw": b"x"},
        options={"limit": 3.0},
        color="red",
        kind="a",
        at="2026-01-02T00:00:00Z",
        pair=[1.0, "x"],
        tags=["a", "b"],
        users=[USER_ID],
        reply=None,
        big=Int64(3),
        raw=b"\xff",
    )
    assert bound == {
        "address": Address(city="Oslo"),
        "point": Point(1.0, b"x"),
        "options": {"limit": 3},
        "color": Color.RED,
        "kind": "a",
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "pair": (1, "x"),
        "tags": {"a", "b"},
        "users": [USER_ID],
        "reply": None,
        "big": Int64(3),
        "raw": b"\xff",
    }


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"body": "hi"}, "The argument `author` of m:f is missing."),
        ({"author": USER_ID, "body": 3.0}, "The argument `body` of m:f must be a string, got the number 3."),
        (
            {"author": USER_ID, "body": "hi", "count": True},
            "The argument `count` of m:f must be a whole number, got true.",
        ),
        (
            {"author": MESSAGE_ID, "body": "hi"},
            f"The argument `author` of m:f must be an id of table users, not of table messages, got '{MESSAGE_ID}'.",
        ),
        (
            {"author": USER_ID, "body": "hi", "text": "hi"},
            "The argument `text` of m:f is not expected here; it takes author, body, count, since.",
        ),
    ],
)
def test_a_refusal_names_the_argument_what_was_expected_and_what_came(args: dict[str, Any], words: str) -> None:
    assert refused(send, **args) == words


def test_a_refusal_names_the_place_within_an_argument() -> None:
    async def handler(ctx: Any, items: list[Address], strict: User | None = None) -> None: ...

    assert refused(handler, items=[{"city": 1.0}]).startswith("The argument `items[0].city` of m:f must be a string")
    assert refused(handler, items=[], strict={"name": "a", "x": 1.0}) == (
        "The argument `strict.x` of m:f is not expected here."
    )


def test_a_function_without_arguments_says_so() -> None:
    async def handler(ctx: Any) -> None: ...

    assert bind(handler) == {}
    assert refused(handler, x=1.0) == "The argument `x` of m:f is not expected here; it takes no arguments."


def test_any_arguments_are_taken_as_they_are() -> None:
    async def handler(ctx: Any, **args: Any) -> None: ...

    assert bind(handler, a=1.0, json=[None]) == {"a": 1.0, "json": [None]}
    assert refused(handler, ctx=1.0) == (
        "The argument `ctx` of m:f has the name of its context; declare that as `ctx, /` or rename the argument."
    )

    async def apart(ctx: Any, /, **args: Any) -> None: ...

    assert bind(apart, ctx=1.0) == {"ctx": 1.0}


def test_parameters_may_have_any_name() -> None:
    async def handler(
        ctx: Any, json: str, schema: str, id: str, copy: str, self: str, cls: str, args: str, _x: str
    ) -> None: ...

    names = {"json": "1", "schema": "2", "id": "3", "copy": "4", "self": "5", "cls": "6", "args": "7", "_x": "8"}
    assert bind(handler, **names) == names


def test_a_parameter_without_an_annotation_takes_any_value() -> None:
    async def handler(ctx, value, other=None):  # type: ignore[no-untyped-def]
        ...

    assert bind(handler, value={"a": [1.0]}) == {"value": {"a": [1.0]}, "other": None}


def test_changing_a_default_changes_it_for_one_call_only() -> None:
    async def handler(
        ctx: Any,
        tags: list[str] = [],  # noqa: B006 -- an app may write it so
        where: Address = Address(city="Oslo"),  # noqa: B008
    ) -> None: ...

    first = bind(handler)
    first["tags"].append("x")
    first["where"].city = "Rome"
    assert bind(handler) == {"tags": [], "where": Address(city="Oslo")}


def test_an_argument_may_be_absent_but_not_null() -> None:
    async def handler(ctx: Any, note: str | UNSET = UNSET) -> None: ...

    assert bind(handler)["note"] is UNSET
    assert bind(handler, note="a")["note"] == "a"
    assert refused(handler, note=None) == "The argument `note` of m:f must be a string, got null."


async def aliased(
    ctx: Any,
    storage_id: str = Field(alias="storageId"),
    other: Annotated[str, Field(alias="otherName")] = "x",
) -> None: ...


def test_an_alias_names_the_argument_on_the_wire_and_python_takes_either() -> None:
    assert bind(aliased, storageId="a", otherName="b") == {"storage_id": "a", "other": "b"}
    assert bind(aliased, storage_id="a", other="b") == {"storage_id": "a", "other": "b"}
    assert bind(aliased, storageId="a") == {"storage_id": "a", "other": "x"}
    assert refused(aliased) == "The argument `storageId` of m:f is missing."
    assert refused(aliased, storageId="a", x=1.0).endswith("it takes storageId, otherName.")


def test_arguments_given_in_python_go_over_the_wire_under_their_names_there() -> None:
    async def handler(ctx: Any, big: Int64, at: datetime, storage_id: str = Field(alias="storageId")) -> None: ...

    encoded = signature(handler).encode_arguments(
        {"big": 3, "at": datetime(2026, 1, 2, tzinfo=UTC), "storage_id": "a"}, CATALOG
    )
    assert json.loads(encoded) == {
        "big": {"$integer": "AwAAAAAAAAA="},
        "at": "2026-01-02T00:00:00Z",
        "storageId": "a",
    }
    assert signature(send).encode_arguments({"author": USER_ID, "body": "b"}, CATALOG) == (
        f'{{"author":"{USER_ID}","body":"b"}}'.encode()
    )
    with pytest.raises(ArgumentValidationError, match="`author` of m:f is missing"):
        signature(send).encode_arguments({}, CATALOG)


def test_arguments_given_in_python_must_be_values() -> None:
    async def handler(ctx: Any, **args: Any) -> None: ...

    with pytest.raises(
        ArgumentValidationError, match=r"The arguments of m:f cannot be sent: \.x: builtins\.object|object"
    ):
        signature(handler).encode_arguments({"x": object()}, CATALOG)


# Declarations --------------------------------------------------------------------------------------------------------


class Renamed(BaseModel):
    name: Annotated[str, Field(validation_alias=AliasChoices("name", "title"))]


async def no_context() -> None: ...
async def only_named_context(*, ctx: Any) -> None: ...
async def positional(ctx: Any, x: int, /) -> None: ...
async def variadic(ctx: Any, *xs: int) -> None: ...
async def both(ctx: Any, x: int, **args: Any) -> None: ...
async def unknown(ctx: Any, x: Nope) -> None: ...  # type: ignore[name-defined]  # noqa: F821
async def unfit(ctx: Any, x: types.ModuleType) -> None: ...
async def path(ctx: Any, x: Annotated[int, Field(validation_alias=AliasPath("y", 0))]) -> None: ...
async def choice(ctx: Any, x: list[Renamed]) -> None: ...
async def unfit_result(ctx: Any) -> types.ModuleType: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (no_context, r"m:f has no context; write `async def no_context\(ctx, \.\.\.\)`"),
        (only_named_context, r"m:f has no context"),
        (positional, r"m:f: arguments come by name; `x` must be an ordinary parameter"),
        (variadic, r"m:f: arguments come by name; `xs` must be an ordinary parameter"),
        (both, r"m:f: `\*\*args` takes any arguments; declare either it or named ones"),
        (unknown, r"m:f: the annotation 'Nope' is not defined; import or define it in .*test_arguments"),
        (unfit, r"m:f: Unable to generate pydantic-core schema for <class 'module'>"),
        (path, r"m:f: what is sent as `x` has one name; give it as `alias`"),
        (choice, r"m:f: what is sent as `Renamed.name` has one name; give it as `alias`"),
        (unfit_result, r"m:f: Unable to generate pydantic-core schema for <class 'module'>"),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(handler: Any, words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        signature(handler)


# Results -------------------------------------------------------------------------------------------------------------


def returning(annotation: Any) -> Signature:
    async def handler(ctx: Any) -> Any: ...

    handler.__annotations__["return"] = annotation
    function: Query[[], Any] = query(handler)
    return Signature("m:f", function)


@pytest.mark.parametrize(
    ("annotation", "result", "encoded"),
    [
        (list[User], [User(name="a")], [{"name": "a"}]),
        (list[User], ({"name": n} for n in "ab"), [{"name": "a"}, {"name": "b"}]),
        (User | None, None, None),
        (dict[str, User], {"x": User(name="a", note=None)}, {"x": {"name": "a", "note": None}}),
        (tuple[int, str], (1, "a"), [1.0, "a"]),
        (set[str], {"b", "a"}, ["a", "b"]),
        (Address, {"city": "a"}, {"city": "a"}),
        (Address, Address(city="a"), {"city": "a"}),
        (Point, Point(1, b"\xff"), {"x": 1.0, "raw": {"$bytes": "/w=="}}),
        (Options, {"limit": 1}, {"limit": 1.0}),
        (Color, Color.RED, "red"),
        (datetime, datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (Int64, 3, {"$integer": "AwAAAAAAAAA="}),
        (int, 3.0, 3.0),
        (float, 3, 3.0),
        (Any, {"x": (1, None)}, {"x": [1.0, None]}),
        (None, None, None),
    ],
)
def test_results_of_every_shape(annotation: Any, result: Any, encoded: Any) -> None:
    promised = returning(annotation)
    text = promised.encode_result(promised.result(result, CATALOG))
    assert json.loads(text) == encoded
    # What a caller over the wire gets is what the annotation promises, and goes back the same way.
    assert promised.encode_result(promised.decode_result(text, CATALOG)) == text


def test_a_document_stays_the_object_it_is() -> None:
    user = User(name="a")
    assert returning(User).result(user, CATALOG) is user


@pytest.mark.parametrize(
    ("annotation", "result", "words"),
    [
        (None, 1, "The result of m:f must be null, got the number 1."),
        (int, True, "The result of m:f must be a whole number, got true."),
        (
            list[Address],
            [{"city": "a"}, {"city": 1}],
            "The result of m:f at `[1].city` must be a string, got the number 1.",
        ),
        (list[User], [Address(city="a")], "The result of m:f at `[0].name` is missing."),
        (User, 3, "The result of m:f must be an object, got the number 3."),
        (
            Id[User],
            MESSAGE_ID,
            f"The result of m:f must be an id of table users, not of table messages, got '{MESSAGE_ID}'.",
        ),
    ],
)
def test_a_wrong_result_names_the_place(annotation: Any, result: Any, words: str) -> None:
    with pytest.raises(ReturnsValidationError) as caught:
        returning(annotation).result(result, CATALOG)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"a": [object()]}, r"The result of m:f cannot be sent: \.a\[0\]: object is not a value"),
        ({1: "a"}, r"a field name is a string, not int"),
        (2**60, r"an integer beyond ±2\^53 is not exact as a number; wrap it in Int64"),
        ("\ud800", r"half of a surrogate pair"),
    ],
)
def test_a_result_that_cannot_be_sent_says_why(result: Any, words: str) -> None:
    with pytest.raises(ReturnsValidationError, match=words):
        returning(Any).encode_result(result)
