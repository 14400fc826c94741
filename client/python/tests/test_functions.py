from __future__ import annotations

import types
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import BaseModel, BeforeValidator, Field

from yugen_client import InvalidResult
from yugen_client.functions import target

if TYPE_CHECKING:
    from nowhere import Context  # type: ignore[import-not-found]


class Message(BaseModel):
    body: str
    id: Annotated[str, Field(alias="_id")]


async def list_messages(ctx: Context, channel: str) -> list[Message]:
    raise NotImplementedError


async def untyped(ctx: Any) -> Any:
    raise NotImplementedError


class Declared:
    """As much of a function object of Yugen as the client looks at."""

    def __init__(self, handler: Callable[..., Awaitable[Any]], module: str, name: str) -> None:
        self.handler = handler
        self.name = name
        self.__module__ = module


@pytest.mark.parametrize(
    ("module", "app", "path"),
    [
        ("app.messages", None, "messages:list"),
        ("app.admin.users", None, "admin/users:list"),
        ("shop.backend.app.messages", "shop.backend.app", "messages:list"),
    ],
)
def test_the_path_of_a_function_object(module: str, app: str | None, path: str) -> None:
    assert target(Declared(list_messages, module, "list"), None, app).path == path


def test_its_return_annotation_types_the_result() -> None:
    what = target(Declared(list_messages, "app.messages", "list"), None, None)
    assert what.convert([{"_id": "a", "body": "hi"}]) == [Message.model_validate({"body": "hi", "_id": "a"})]
    with pytest.raises(InvalidResult, match=r"messages:list gave what is not list\[.*Message\]"):
        what.convert([{"body": 1}])


def test_a_type_that_is_asked_for_comes_first() -> None:
    declared = Declared(list_messages, "app.messages", "list")
    assert target(declared, list[dict[str, str]], None).convert([{"a": "b"}]) == [{"a": "b"}]
    assert target("messages:count", int, None).convert(3.0) == 3
    assert target("messages:count", Annotated[int, Field(ge=0), {"not": "hashable"}], None).convert(3.0) == 3


def test_a_validator_that_raises_what_it_should_not() -> None:
    def price(value: Any) -> float:
        return {"cheap": 1.0}[value]

    what = target("shop:price", Annotated[float, BeforeValidator(price)], None)
    assert what.convert("cheap") == 1.0
    with pytest.raises(InvalidResult, match=r"shop:price gave what is not .*: KeyError\('dear'\)"):
        what.convert("dear")


def test_without_a_type_the_result_is_as_it_is() -> None:
    value = object()
    for function in ("a:a", Declared(untyped, "app.a", "a"), Declared(list_messages, "app.a", "a")):
        assert target(function, Any if function != "a:a" else None, None).convert(value) is value


@pytest.mark.parametrize("function", [None, 1, print, types.SimpleNamespace(name="a")])
def test_what_stands_for_no_function(function: Any) -> None:
    with pytest.raises(TypeError, match="stands for no function"):
        target(function, None, None)


@pytest.mark.parametrize(("module", "app"), [("__main__", None), ("app", None), ("other.messages", "app")])
def test_a_function_outside_of_the_app(module: str, app: str | None) -> None:
    with pytest.raises(ValueError, match="not a module of the app"):
        target(Declared(list_messages, module, "list"), None, app)
