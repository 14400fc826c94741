"""Plain documents are read and sent in a shorter way, and nobody can tell."""

from __future__ import annotations

import copy
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, Field, StringConstraints, field_serializer, model_validator

from yugen import UNSET, Document, Id, Int64, values
from yugen.errors import DocumentInvalid
from yugen.functions.tables import Tables
from yugen.schema import as_stored, as_wire, read_stored


class Colour(Enum):
    RED = "red"


class Owner(Document, table="owners"):
    name: str


class Item(Document, table="items"):
    name: str
    count: int
    weight: float = 1.5
    sold: bool = False
    owner: Id[Owner] | None = None
    kind: Literal["a", "b"] = "a"
    note: str | UNSET = UNSET
    size: Annotated[int, Field(ge=0, alias="howLarge")] = 0


TABLES = Tables({"items": Item})
ITEM = {"_id": "x", "_creationTime": 1.0, "name": "n", "count": 2.0, "weight": 3.0, "sold": True, "kind": "b"}
WHOLE = {**ITEM, "howLarge": 4.0}


def text(document: dict[str, Any]) -> bytes:
    return values.dumps(document)


def read(*documents: dict[str, Any]) -> list[Any]:
    found = read_stored(Item, [text(each) for each in documents])
    assert found is not None
    return found


def with_field(annotation: Any) -> type[Document]:
    return type("Other", (Document,), {"__annotations__": {"field": annotation}, "__module__": __name__})


@pytest.mark.parametrize(
    "annotation",
    [
        list[str],
        dict[str, str],
        Owner,
        Any,
        bytes,
        Int64,
        int | float,
        Colour,
        Literal[1, 2],
        Annotated[str, StringConstraints(strip_whitespace=True)],
        Annotated[str, AfterValidator(str.upper)],
        Annotated[str, Field(exclude=True)],
    ],
)
def test_what_may_change_or_look_otherwise_is_not_plain(annotation: Any) -> None:
    assert with_field(annotation).__plain__ is None


def test_classes_with_ways_of_their_own_are_not_plain() -> None:
    class Serialized(Document):
        field: str

        @field_serializer("field")
        def upper(self, field: str) -> str:
            return field.upper()

    class Validated(Document):
        field: str

        @model_validator(mode="after")
        def check(self) -> Validated:
            return self

    class Stripped(Document, str_strip_whitespace=True):
        field: str

    class Dumped(Item):
        def model_dump(self, **options: Any) -> dict[str, Any]:
            return {}

    assert Item.__plain__ is not None
    assert [each.__plain__ for each in (Document, Serialized, Validated, Stripped, Dumped)] == [None] * 5


def test_what_was_read_goes_out_as_it_is_stored() -> None:
    one, other = read(WHOLE, {**WHOLE, "note": "m", "owner": None})
    assert (one.count, type(one.count), one.size, one.note) == (2, int, 4, UNSET)
    assert as_stored(one) == text(WHOLE)
    assert as_stored([one, other]) == b"[%b,%b]" % (text(WHOLE), text({**WHOLE, "note": "m", "owner": None}))
    assert values.loads(as_stored([one, other]) or b"") == [one.to_fields(), other.to_fields()]
    assert as_stored([]) is None
    assert as_stored([one, "x"]) is None
    assert as_stored([one, Item(name="n", count=1)]) is None


def rename(item: Any) -> None:
    item.name = "n"


def forget(item: Any) -> None:
    del item.name


@pytest.mark.parametrize("change", [rename, forget, lambda item: setattr(item, "owner", None)])
def test_what_was_touched_does_not(change: Callable[[Any], None]) -> None:
    (item,) = read(WHOLE)
    change(item)
    assert as_stored(item) is None
    assert as_stored([item]) is None


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda item: item.model_copy(update={"name": "m"})])
def test_neither_do_copies(copied: Callable[[Any], Any]) -> None:
    (item,) = read(WHOLE)
    assert as_stored(copied(item)) is None


def test_a_document_without_a_field_that_has_got_a_default_shows_it() -> None:
    (item,) = read(ITEM)
    assert item.size == 0
    assert as_stored(item) is None
    assert item.to_fields()["howLarge"] == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"weight": float("nan")},
        {"name": '"$integer'},
        {"count": 2.5},
        {"count": 1e300},
        {"count": "2"},
        {"count": True},
        {"weight": "1"},
        {"weight": True},
        {"name": 1.0},
        {"sold": "true"},
        {"sold": 1.0},
        {"kind": "c"},
        {"owner": 1.0},
        {"howLarge": -1.0},
        {"size": 1.0},
        {"more": "x"},
    ],
)
def test_what_is_out_of_the_ordinary_takes_the_general_way(fields: dict[str, Any]) -> None:
    document = {**WHOLE, **fields}
    assert read_stored(Item, [text(WHOLE), text(document)]) is None
    assert outcome(lambda: TABLES.read("items", [text(document)])) == outcome(lambda: [TABLES.load("items", document)])


def outcome(read: Callable[[], Any]) -> str:
    try:
        return repr(read())
    except DocumentInvalid as error:
        return str(error)


scalars = st.none() | st.booleans() | st.floats() | st.integers(-(2**53), 2**53).map(float) | st.text(max_size=5)


others = dict.fromkeys(("weight", "sold", "owner", "kind", "note", "howLarge"), scalars)


@given(st.fixed_dictionaries({"name": scalars, "count": scalars}, optional=others))
def test_both_ways_agree(fields: dict[str, Any]) -> None:
    document = {"_id": "x", "_creationTime": 1.0, **fields}
    found = read_stored(Item, [text(document)])
    if found is None:
        return
    expected = TABLES.load("items", values.loads(text(document)))  # type: ignore[arg-type]
    assert found == [expected]
    assert repr(found) == repr([expected])
    assert found[0].model_fields_set == expected.model_fields_set
    assert found[0].to_fields() == expected.model_dump(by_alias=True, exclude_computed_fields=True)
    kept = as_stored(found[0])
    assert kept is None or values.loads(kept) == values.loads(values.dumps(expected, fallback=as_wire))
