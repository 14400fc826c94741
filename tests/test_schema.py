"""Documents, ids and indexes as an app declares them."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, TypeVar

import pytest
from pydantic import AliasChoices, BaseModel, Field, RootModel, ValidationError, computed_field, model_serializer

from yugen import values
from yugen.catalog import Catalog, TableSpec
from yugen.errors import DocumentInvalid
from yugen.ids import encode_id
from yugen.schema import UNSET, Document, Id, Index, SchemaError, as_wire
from yugen.validation import Validator, explain

INTERNAL = bytes(16)
USER_ID = encode_id(10_001, INTERNAL)
MESSAGE_ID = encode_id(10_002, INTERNAL)
CATALOG = Catalog([TableSpec("users", 10_001), TableSpec("messages", 10_002)])


class Address(BaseModel):
    city: str
    zip_code: str | None = Field(default=None, alias="zipCode")


class User(Document, table="users"):
    name: str
    role: Literal["member", "admin"] = "member"
    nickname: str | None = None
    note: str | UNSET = UNSET
    tags: list[str] = []  # noqa: RUF012 -- an app may write it so, and pydantic copies it
    picture: Id[Literal["_storage"]] | None = Field(default=None, alias="pictureId")
    address: Address | None = None

    by_name = Index("name", unique=True)
    by_picture = Index("picture", "address.city")


class Message(Document, table="messages"):
    author: Id[User]
    reply_to: Id[Message] | None = None
    named: Id["Message"] | None = None  # noqa: UP037
    readers: list[Id[User]] = Field(default=[])


def fault(cls: Any, value: Any) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        Validator(cls)(value, CATALOG)
    return explain(caught.value)


# What is absent, what is null ----------------------------------------------------------------------------------------


def test_a_field_left_at_none_or_unset_is_absent_and_other_defaults_are_there() -> None:
    assert User(name="a").to_fields() == {"name": "a", "role": "member", "tags": []}


def test_a_field_set_to_none_is_null() -> None:
    user = User(name="a", nickname=None)
    assert user.to_fields()["nickname"] is None
    user.address = None
    assert user.to_fields()["address"] is None


def test_a_field_set_to_unset_is_absent() -> None:
    assert "note" not in User(name="a", note=UNSET).to_fields()
    assert User(name="a", note="x").to_fields()["note"] == "x"


def test_a_field_that_may_be_absent_need_not_take_null_and_reads_as_unset() -> None:
    stored = {"_id": USER_ID, "_creationTime": 1.0, "name": "a"}
    user = Validator(User)(stored, CATALOG)
    assert user.note is UNSET
    assert user.nickname is None
    assert fault(User, {**stored, "note": None}) == ("note", "must be a string, got null")


def test_what_is_stored_is_what_is_written_again() -> None:
    stored = {
        "_id": USER_ID,
        "_creationTime": 1.5,
        "name": "a",
        "role": "admin",
        "nickname": None,
        "tags": ["x"],
        "pictureId": "p",
        "address": {"city": "Oslo", "zipCode": None},
    }
    assert Validator(User)(stored, None).to_fields() == stored


def test_a_document_within_another_model_keeps_its_absent_fields_absent() -> None:
    class Page(BaseModel):
        users: list[User]

    assert as_wire(Page(users=[User(name="a")])) == {"users": [{"name": "a", "role": "member", "tags": []}]}


class Tags(RootModel[set[str]]):
    pass


def test_a_model_of_one_value_goes_out_as_what_stands_for_that() -> None:
    assert values.loads(values.dumps([Tags({"b", "a"})], fallback=as_wire)) == [["a", "b"]]


def test_computed_fields_are_not_stored() -> None:
    class Named(Document, table="named"):
        first: str

        @computed_field  # type: ignore[prop-decorator]
        @property
        def shout(self) -> str:
            return self.first.upper()

    assert Named(first="a").to_fields() == {"first": "a"}


def test_a_constructed_or_changed_document_is_written_as_it_is_and_without_a_warning() -> None:
    user = User(name="a")
    user.name = 3  # type: ignore[assignment]
    assert user.to_fields()["name"] == 3
    assert User.model_construct(role="member").to_fields() == {"role": "member", "tags": []}


# The class itself ----------------------------------------------------------------------------------------------------


def test_a_new_document_has_no_id_and_shows_none() -> None:
    user = User(name="a")
    assert user.id == ""
    assert user.creation_time == 0.0
    assert repr(Address(city="b")) in repr(User(name="a", address=Address(city="b")))
    assert "id=" not in repr(user)
    stored = Validator(User)({"_id": USER_ID, "_creationTime": 1.0, "name": "a"}, None)
    assert f"id='{USER_ID}', creation_time=1.0" in repr(stored)


def test_documents_are_equal_when_their_class_and_fields_are() -> None:
    assert User(name="a") == User(name="a")
    assert User(name="a") != User(name="b")
    assert User(name="a") == User(name="a", nickname=None)


def test_constructors_take_either_name() -> None:
    user = Validator(User)({"name": "a", "picture": "p"}, None)
    assert user == Validator(User)({"name": "a", "pictureId": "p"}, None)
    assert user.to_fields()["pictureId"] == "p"
    by_python_name: Any = {"name": "a", "picture": "p"}
    by_stored_name: Any = {"name": "a", "pictureId": "p"}
    assert User(**by_python_name) == User(**by_stored_name) == user


def test_a_subclass_without_a_table_is_of_no_table_and_keeps_the_fields_and_indexes() -> None:
    class View(User):
        unread: int = 0

    class Member(View, table="members"):
        by_unread = Index("unread")

    assert View.__table__ == ""
    assert Member.__table__ == "members"
    assert set(Member.__indexes__) == {"by_name", "by_picture", "by_unread"}
    assert set(User.__indexes__) == {"by_name", "by_picture"}


def test_indexes_are_attributes_with_the_names_of_storage() -> None:
    assert User.by_name.name == "by_name"
    assert User.by_name.unique
    assert User.by_picture.fields == ("pictureId", "address.city")
    assert repr(User.by_name) == "Index('name', unique=True)"
    assert (User.by_id.name, User.by_creation_time.name) == ("by_id", "by_creation_time")
    assert set(User.__indexes__) == {"by_name", "by_picture"}


@pytest.mark.parametrize("name", ["", "_users", "2users", "users!", "a" * 65, "ü", "users\n"])
def test_a_table_has_a_plain_name(name: str) -> None:
    with pytest.raises(SchemaError, match="cannot name a table: use a letter"):
        type("Wrong", (Document,), {"__module__": __name__}, table=name)


def declare(**members: Any) -> type[Document]:
    fields = {"__annotations__": {name: str for name, value in members.items() if not isinstance(value, Index)}}
    given = {name: value for name, value in members.items() if value is not ...}
    return type("Wrong", (Document,), {"__module__": __name__, **fields, **given}, table="wrong")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a": ..., "by_b": Index("b")}, r"Wrong\.by_b orders by 'b', which is no field .*; it has id, a\."),
        ({"a": ..., "by_a": Index("a", "a")}, r"Wrong\.by_a orders by a field twice"),
        ({"a": ..., "by_a": Index("a", "creation_time")}, r"creation_time is the last field of every index; leave it"),
        ({"a": ..., "by_a": Index("a..b")}, r"orders by 'a\.\.b'"),
        ({"a": ..., "by_id": Index("a")}, r"Wrong\.by_id: every table has this index already"),
        ({"a": ..., "_by_a": Index("a")}, r"'_by_a' cannot name an index"),
        ({"a": ..., **{f"by_{n}": Index("a") for n in range(33)}}, r"has 33 indexes; a table has at most 32"),
        ({"id": ...}, r"every document has `id` and `creation_time` already; rename the field"),
        ({"creation_time": ...}, r"every document has `id` and `creation_time` already"),
        ({"a": Field(alias="b"), "b": ...}, r"a and b are both stored as 'b'; rename one"),
        ({"a": Field(alias="_b")}, r"Wrong\.a: '_b' cannot name a field of a document"),
        ({"a": Field(alias="$b")}, r"Wrong\.a: '\$b' cannot name a field of a document"),
        ({"a": Field(validation_alias="b")}, r"Wrong\.a: a field has one name in storage; give it as `alias`"),
        ({"a": Field(serialization_alias="b")}, r"Wrong\.a: a field has one name in storage"),
        ({"a": Field(alias="b", validation_alias=AliasChoices("b", "c"))}, r"Wrong\.a: a field has one name"),
        ({"größe": ...}, r"Wrong\.größe: 'größe' cannot name a field"),
    ],
)
def test_a_wrong_declaration_says_what_and_where(members: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        declare(**members)


def test_an_index_has_1_to_16_fields() -> None:
    for fields in [(), tuple(f"f{n}" for n in range(17))]:
        with pytest.raises(SchemaError, match=f"1 to 16 fields, not {len(fields)}"):
            Index(*fields)


def test_a_document_has_no_serializer_of_its_own() -> None:
    with pytest.raises(SchemaError, match="Wrong: a document is sent as it is stored"):

        class Wrong(Document, table="wrong"):
            @model_serializer
            def as_text(self) -> str:
                return self.id


# Ids -----------------------------------------------------------------------------------------------------------------


def test_ids_are_checked_to_be_of_their_table() -> None:
    assert Validator(Id[User])(USER_ID, CATALOG) == USER_ID
    assert Validator(list[Id[User]])([USER_ID], CATALOG) == [USER_ID]
    assert Validator(Id[User] | None)(None, CATALOG) is None
    assert fault(Id[User], MESSAGE_ID) == (
        "",
        f"must be an id of table users, not of table messages, got '{MESSAGE_ID}'",
    )
    assert fault(list[Id[User]], [USER_ID, "x"]) == ("[1]", "must be an id of table users, got 'x'")
    assert fault(Id[User], 3.0) == ("", "must be an id of table users, got the number 3")
    assert fault(Id[User], encode_id(10_003, INTERNAL))[1].startswith("must be an id of table users, not of no table")


def test_a_class_can_be_named_before_it_is_defined_and_within_itself() -> None:
    message = {"author": USER_ID, "reply_to": MESSAGE_ID, "named": MESSAGE_ID, "readers": [USER_ID]}
    assert Validator(Message)(message, CATALOG).named == MESSAGE_ID
    assert fault(Message, {**message, "reply_to": USER_ID})[0] == "reply_to"
    assert fault(Message, {**message, "named": USER_ID})[0] == "named"
    assert fault(Message, {**message, "readers": [MESSAGE_ID]})[0] == "readers[0]"


def test_a_table_without_a_class_is_named_by_a_string() -> None:
    assert fault(Id["messages"], USER_ID)[1].startswith("must be an id of table messages")  # type: ignore[name-defined]
    assert fault(Id[Literal["messages"]], USER_ID)[1].startswith("must be an id of table messages")


def test_an_id_of_a_table_made_by_the_running_transaction_is_taken() -> None:
    assert Validator(Id[Literal["notes"]])(encode_id(10_009, INTERNAL), CATALOG)
    assert fault(Id[Literal["notes"]], "x") == ("", "must be an id of table notes, got 'x'")


def test_without_a_catalog_any_string_is_an_id() -> None:
    assert Validator(Id[User])("anything", None) == "anything"
    with pytest.raises(DocumentInvalid, match="This is no User: `pictureId` must be an id of table _storage, got"):
        User(name="a", pictureId=3)  # type: ignore[arg-type]


def test_an_id_is_of_something_that_has_ids() -> None:
    class View(User):
        pass

    assert Id[TypeVar("T")] is str  # type: ignore[misc, comparison-overlap]
    for wrong, words in [(int, "an id is of a Document class"), (View, "the class names no table; write `class View")]:
        with pytest.raises(SchemaError, match=words):
            Id[wrong]  # type: ignore[valid-type]
    with pytest.raises(SchemaError, match=r"write Id\[User\]"):
        Validator(Id)


# Python objects on the wire ------------------------------------------------------------------------------------------


class Color(Enum):
    RED = "red"


@dataclasses.dataclass
class Sample:
    raw: bytes
    big: values.Int64
    user: User
    note: str | UNSET = UNSET


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (User(name="a"), {"name": "a", "role": "member", "tags": []}),
        (Address(city="a"), {"city": "a", "zipCode": None}),
        (Color.RED, "red"),
        ({"b", "a", "c"}, ["a", "b", "c"]),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.10"), "1.10"),
        (
            Sample(b"\xff", values.Int64(3), User(name="a")),
            {"raw": b"\xff", "big": values.Int64(3), "user": {"name": "a", "role": "member", "tags": []}},
        ),
    ],
)
def test_what_stands_for_python_objects(value: object, expected: object) -> None:
    decoded = values.decode(values.encode(value, fallback=as_wire))
    assert decoded == expected
    assert repr(decoded) == repr(expected)


@pytest.mark.parametrize("value", [object(), UNSET, {"a": object()}, int, Sample])
def test_other_objects_are_no_values(value: object) -> None:
    with pytest.raises(values.InvalidValue, match="is not a value"):
        values.encode(value, fallback=as_wire)
