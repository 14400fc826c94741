from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, create_model

from yugen.codegen.naming import name_types, reachable, same
from yugen.functions.wire_types import NamedType, Reader

T = TypeVar("T")


class Leaf(BaseModel):
    x: int


class Sent(BaseModel):
    leaf: Leaf
    more: list[Sent] = []


class Page(BaseModel, Generic[T]):
    items: list[T]


def named(annotation: Any, *, output: bool) -> list[NamedType]:
    return reachable([Reader(output=output).read(annotation)])


def names(*annotations: Any, reserved: frozenset[str] = frozenset()) -> list[str]:
    given = [each for annotation in annotations for each in named(annotation, output=True)]
    taken = [each for annotation in annotations for each in named(annotation, output=False)]
    return sorted(set(name_types(given, taken, reserved).values()))


def test_what_is_sent_in_another_form_has_two_names() -> None:
    assert names(Sent) == ["Leaf", "Sent", "SentInput"]


def test_a_name_that_is_taken_gets_a_number() -> None:
    assert names(Leaf, reserved=frozenset({"Leaf", "Leaf2"})) == ["Leaf3"]
    assert names(Sent, reserved=frozenset({"SentInput"})) == ["Leaf", "Sent2", "Sent2Input"]


def test_generic_models_are_named_after_what_they_hold() -> None:
    assert names(Page[Leaf]) == ["Leaf", "PageLeaf"]


def test_classes_of_one_name_are_named_after_their_modules() -> None:
    one = create_model("Leaf", __module__="app.admin.users", x=(int, ...))
    two = create_model("Leaf", __module__="app.shop", x=(int, ...))
    assert names(one, two) == ["AdminUsersLeaf", "ShopLeaf"]
    assert names(one, create_model("Leaf", __module__="app.admin.users")) == ["AdminUsersLeaf", "AdminUsersLeaf2"]


def test_sameness_goes_all_the_way_down() -> None:
    one, other = Reader(output=True), Reader(output=False)
    assert same(one.read(Leaf), other.read(Leaf))
    assert not same(one.read(list[Sent]), other.read(list[Sent]))
    assert same(one.read(dict[str, tuple[Leaf, int]]), other.read(dict[str, tuple[Leaf, int]]))
    assert not same(one.read(tuple[int, int]), other.read(tuple[int, str]))


def test_what_refers_to_itself_is_met_once() -> None:
    assert [each.name for each in named(Sent, output=True)] == ["Sent", "Leaf"]
