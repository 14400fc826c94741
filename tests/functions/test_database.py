"""`ctx.db` over a real transaction."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from tests.engine import SECRET
from yugen import ids, keys, values
from yugen.bounds import Bound, InvalidRange, between, gt, gte, lt, lte
from yugen.catalog import STORAGE, TABLES, Catalog, IndexSpec, TableSpec
from yugen.errors import DocumentInvalid
from yugen.functions.cursors import Cursors
from yugen.functions.database import DatabaseReader, DatabaseWriter
from yugen.functions.faults import DocumentNotFound, IndexNotFound, NotUnique, TableNotFound
from yugen.functions.pagination import Pages
from yugen.functions.tables import Tables
from yugen.guards import Guard
from yugen.ids import InvalidId
from yugen.intervals import Interval
from yugen.runtime.transaction import Transaction
from yugen.schema import UNSET, Document, Id, Index, SchemaError
from yugen.storage.interface import Commit
from yugen.storage.memory import MemoryStore
from yugen.values import Int64

PICTURE, OTHER_PICTURE = (ids.encode_id(STORAGE.number, bytes([n]) * 16) for n in (1, 2))


class Address(BaseModel):
    city: str
    zip_code: str | None = Field(default=None, alias="zipCode")


class User(Document, table="users"):
    name: str
    role: Literal["member", "admin"] = "member"
    note: str | None = None
    remark: str | UNSET = UNSET
    tags: set[str] = set()  # noqa: RUF012 -- an app may write it so, and pydantic copies it
    seen: datetime | None = None
    big: Int64 | None = None
    address: Address | None = None
    picture_id: Id[Literal["_storage"]] | None = Field(default=None, alias="pictureId")

    by_name = Index("name")
    by_role = Index("role", "name")
    by_big = Index("big")
    by_note = Index("note")
    by_city = Index("address.city")
    by_picture = Index("picture_id")


class Message(Document, table="messages"):
    author: Id[User]
    body: str

    by_name = Index("author")


DOCUMENTS: dict[str, type[Document]] = {"users": User, "messages": Message}


def spec(number: int, cls: type[Document]) -> TableSpec:
    indexes = [IndexSpec(name, slot, index.fields) for slot, (name, index) in enumerate(cls.__indexes__.items(), 2)]
    return TableSpec(cls.__table__, number, (IndexSpec("by_creation_time", 1, ()), *indexes))


def pages(journal: str | None = None) -> Pages:
    return Pages(Cursors(SECRET), remembers=True, journal=journal)


class Desk:
    """A database of two tables, with one transaction after another."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.catalog = Catalog([spec(10_001, User), spec(10_002, Message)])
        self.tables = Tables(DOCUMENTS)
        self.pages = pages()
        self.dice = random.Random(7)
        self.ts = 0
        self.now = 1_000.0

    async def begin(self) -> DatabaseWriter:
        """Each transaction is 1 ms after the one before."""
        self.now += 1
        if self.ts == 0:
            await self._enter_tables()
        self.transaction = Transaction(
            await self.store.snapshot(self.ts), self.catalog, now=self.now, random_bytes=self.dice.randbytes
        )
        return DatabaseWriter(self.transaction, self.tables, self.pages)

    async def _enter_tables(self) -> None:
        transaction = Transaction(await self.store.snapshot(0), self.catalog, now=1.0, random_bytes=self.dice.randbytes)
        for table in list(self.catalog)[2:]:
            await transaction.insert(TABLES, {"name": table.name, "number": float(table.number)})
        await self._append(transaction)

    async def _append(self, transaction: Transaction) -> None:
        self.ts += 1
        commit = Commit(self.ts, transaction.changes)
        await self.store.append(lambda _news, _newest: [commit])

    async def commit(self) -> DatabaseWriter:
        """Makes the writes permanent and begins the next transaction."""
        await self._append(self.transaction)
        return await self.begin()

    @property
    def reads(self) -> list[Interval]:
        return list(self.transaction.reads)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def db(desk: Desk) -> DatabaseWriter:
    return await desk.begin()


async def stored(db: DatabaseWriter, one: str) -> dict[str, Any]:
    """The document as it is kept, without its system fields."""
    number, internal = ids.decode_id(one)
    text = await db._transaction.get(keys.document_key(number, internal))
    assert text is not None
    document = values.loads(text)
    assert isinstance(document, dict)
    return {name: value for name, value in document.items() if not name.startswith("_")}


Write = Callable[[DatabaseWriter, str], Awaitable[Any]]


# Writing -------------------------------------------------------------------------------------------------------------


async def test_a_document_comes_back_as_it_was_with_an_id_and_a_time(desk: Desk, db: DatabaseWriter) -> None:
    one = await db.insert(User(name="ada", tags={"b", "a"}, big=Int64(2**60)))
    db = await desk.commit()
    user = await db.get(one)
    assert user is not None
    assert user == User(name="ada", tags={"a", "b"}, big=Int64(2**60), id=one, creation_time=1_001.0)  # type: ignore[call-arg]
    assert type(user.big) is Int64
    assert await stored(db, one) == {"name": "ada", "role": "member", "tags": ["a", "b"], "big": Int64(2**60)}


async def test_a_document_can_be_given_as_fields(db: DatabaseWriter) -> None:
    seen = datetime(2026, 1, 2, tzinfo=UTC)
    fields = {
        "name": "ada",
        "big": 3,
        "seen": seen,
        "address": Address(city="Oslo"),
        "picture_id": PICTURE,
        "note": None,
    }
    one = await db.insert(User, fields)
    assert await stored(db, one) == {
        "name": "ada",
        "role": "member",
        "tags": [],
        "big": Int64(3),
        "seen": "2026-01-02T00:00:00Z",
        "address": {"city": "Oslo", "zipCode": None},
        "pictureId": PICTURE,
        "note": None,
    }
    same = await db.insert("users", {**fields, "remark": UNSET})
    assert await stored(db, same) == await stored(db, one)
    assert (await db.get(one)).picture_id == PICTURE  # type: ignore[union-attr]


async def test_tables_without_a_class_hold_dicts(desk: Desk, db: DatabaseWriter) -> None:
    one = await db.insert("notes", {"text": "a", "n": 1, "tags": {"x"}, "gone": UNSET})
    note = await db.get(one)
    assert note == {"_id": one, "_creationTime": note["_creationTime"], "text": "a", "n": 1.0, "tags": ["x"]}
    assert 1_001 <= note["_creationTime"] < 1_002
    await db.patch(one, text=UNSET, n=Int64(3))
    assert await db.query("notes").collect() == [
        {**{name: note[name] for name in ("_id", "_creationTime", "tags")}, "n": Int64(3)}
    ]
    await db.replace(one, {"text": "b"})
    assert await stored(db, one) == {"text": "b"}
    db = await desk.commit()
    assert await db.query("notes").with_index("by_creation_time", creation_time=gte(0)).count() == 1


async def test_patch_changes_what_is_given_under_either_name(db: DatabaseWriter) -> None:
    one = await db.insert(User(name="ada", note="x"))
    await db.patch(one, picture_id=PICTURE, big=4)
    await db.patch(one, {"pictureId": OTHER_PICTURE, "role": "admin"})
    assert await stored(db, one) == {
        "name": "ada",
        "role": "admin",
        "note": "x",
        "tags": [],
        "big": Int64(4),
        "pictureId": OTHER_PICTURE,
    }
    await db.patch(one, {"note": UNSET}, picture_id=None, big=UNSET)
    assert await stored(db, one) == {"name": "ada", "role": "admin", "tags": [], "pictureId": None}


async def test_replace_leaves_nothing_but_id_and_time(desk: Desk, db: DatabaseWriter) -> None:
    one = await db.insert(User(name="ada", note="x"))
    db = await desk.commit()
    await db.replace(one, User(name="bob"))
    assert await stored(db, one) == {"name": "bob", "role": "member", "tags": []}
    user = await db.get(one)
    assert user is not None
    assert (user.id, user.creation_time) == (one, 1_001.0)
    user.name = "cid"
    await db.replace(one, user)
    assert (await stored(db, one))["name"] == "cid"


async def test_what_is_replaced_by_its_like_has_not_changed(desk: Desk, db: DatabaseWriter) -> None:
    user, note = await db.insert(User(name="ada", note="x")), await db.insert("notes", {"text": "x"})
    db = await desk.commit()
    await db.replace(user, User(name="ada", note="x"))
    await db.replace(note, {"text": "x"})
    assert desk.transaction.changes == ()


async def test_a_deleted_document_is_gone(desk: Desk, db: DatabaseWriter) -> None:
    one = await db.insert(User(name="ada"))
    db = await desk.commit()
    await db.delete(one)
    assert await db.get(one) is None
    assert await db.query(User).collect() == []


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda db, one: db.patch(one, nick="x"), r"User has no field `nick`; its fields are name, role, note, "),
        (lambda db, one: db.patch(one, nick=UNSET), r"User has no field `nick`"),
        (
            lambda db, one: db.patch(one, name=3),
            r"A document of users does not fit User: `name` must be a string, got the number 3",
        ),
        (lambda db, one: db.patch(one, name=UNSET), r"A document of users does not fit User: `name` is missing"),
        (lambda db, one: db.patch(one, remark=None), r"`remark` must be a string, got null"),
        (lambda db, one: db.patch(one, big=2.0), r"`big` must be an Int64"),
        (lambda db, one: db.patch(one, big=True), r"`big` must be an Int64"),
        (lambda db, one: db.patch(one, role="boss"), r"`role` must be 'member' or 'admin', got 'boss'"),
        (lambda db, one: db.patch(one, address={"city": 3}), r"`address\.city` must be a string"),
        (lambda db, one: db.patch(one, address=Address.model_construct(city=3)), r"`address\.city` must be a string"),
        (lambda db, one: db.patch(one, _id="x"), r"patch: `_id` of a document never changes; leave it out"),
        (lambda db, one: db.patch(one, id="x"), r"patch: `_id` of a document never changes"),
        (lambda db, one: db.patch(one, creation_time=0), r"patch: `_creationTime` of a document never changes"),
        (lambda db, one: db.replace(one, {}), r"`name` is missing"),
        (lambda db, one: db.replace(one, {"name": "a", "nick": 1}), r"User has no field `nick`"),
        (
            lambda db, one: db.replace(one, Message(author=one, body="x")),
            r"is a document of users, and a Message is not",
        ),
        (lambda db, one: db.insert(User.model_construct(name=3)), r"`name` must be a string"),
        (lambda db, one: db.insert(User.model_construct()), r"`name` is missing"),
        (lambda db, one: db.insert("users", {"name": "a", "nick": 1}), r"User has no field `nick`"),
        (lambda db, one: db.insert("users", {"name": "a", "_id": one}), r"insert into users: the database gives"),
        (lambda db, one: db.insert("users", {"name": "a", "id": one}), r"insert into users: the database gives"),
        (lambda db, one: db.insert(User(name="a", id=one)), r"insert into users: the database gives"),
        (lambda db, one: db.insert("notes", {"_creationTime": 1}), r"insert into notes: the database gives"),
        (lambda db, one: db.insert("notes", {"a": [object()]}), r"of notes cannot be stored: \.a\[0\]: object is not"),
        (lambda db, one: db.insert("notes", {"a": 2**60}), r"of notes cannot be stored: \.a: .* wrap it in Int64"),
        (lambda db, one: db.insert("users"), r"insert takes a document"),
        (
            lambda db, one: db.insert("messages", {"author": "x", "body": ""}),
            r"`author` must be an id of table users, got 'x'",
        ),
    ],
)
async def test_what_does_not_fit_is_refused_and_changes_nothing(
    desk: Desk, db: DatabaseWriter, write: Write, words: str
) -> None:
    one = await db.insert(User(name="ada"))
    db = await desk.commit()
    with pytest.raises(DocumentInvalid, match=words):
        await write(db, one)
    assert desk.transaction.changes == ()


async def test_an_id_must_be_of_the_table_of_its_field(db: DatabaseWriter) -> None:
    user = await db.insert(User(name="ada"))
    message = await db.insert(Message(author=user, body="hi"))
    with pytest.raises(DocumentInvalid, match="must be an id of table users, not of table messages"):
        await db.patch(message, author=message)


@pytest.mark.parametrize("name", ["patch", "replace", "delete"])
async def test_writing_to_what_does_not_exist_is_an_error(db: DatabaseWriter, name: str) -> None:
    writes: dict[str, Write] = {
        "patch": lambda db, one: db.patch(one, name="x"),
        "replace": lambda db, one: db.replace(one, User(name="x")),
        "delete": lambda db, one: db.delete(one),
    }
    one = await db.insert(User(name="ada"))
    await db.delete(one)
    for gone in (one, ids.encode_id(10_009, bytes(16))):
        with pytest.raises(DocumentNotFound, match=f"{name}: there is no document with the id '{gone}'"):
            await writes[name](db, gone)
    with pytest.raises(InvalidId):
        await writes[name](db, "x")


async def test_system_tables_are_out_of_reach(db: DatabaseWriter) -> None:
    await db.insert("notes", {})
    rows = await db._transaction.rows(keys.index_prefix(1, 0), keys.index_prefix(1, 1)).take(9)
    one = ids.encode_id(TABLES.number, keys.internal_of(rows[0].key))
    assert await db.get(one) is None
    with pytest.raises(DocumentNotFound):
        await db.delete(one)
    for use in (lambda: db.query("_tables"), lambda: db.normalize_id("_tables", one)):
        with pytest.raises(TableNotFound, match="_tables is a system table"):
            await use()  # type: ignore[misc]
    with pytest.raises(TableNotFound):
        await db.insert("_tables", {})


async def test_a_table_needs_a_name(db: DatabaseWriter) -> None:
    class View(Document):
        name: str

    with pytest.raises(TableNotFound, match=r"names no table; write `class Name\(Document, table=\"\.\.\.\"\)`"):
        db.query(View)
    with pytest.raises(SchemaError, match="'a b' cannot name a table"):
        await db.insert("a b", {})


# Reading -------------------------------------------------------------------------------------------------------------


async def test_an_id_of_another_table_or_none(db: DatabaseWriter) -> None:
    user = await db.insert(User(name="ada"))
    assert await db.normalize_id(User, user) == user
    assert await db.normalize_id("users", user) == user
    assert await db.normalize_id(Message, user) is None
    assert await db.normalize_id("nowhere", user) is None
    assert await db.normalize_id(User, "x") is None
    assert await db.get(ids.encode_id(10_001, bytes(16))) is None
    assert await db.get(ids.encode_id(10_009, bytes(16))) is None
    with pytest.raises(InvalidId):
        await db.get("x")


async def test_a_stored_document_that_fits_no_more_says_so(desk: Desk, db: DatabaseWriter) -> None:
    plain = DatabaseWriter(desk.transaction, Tables({}), desk.pages)
    wrong = await plain.insert("users", {"name": 3})
    with pytest.raises(
        DocumentInvalid,
        match=rf"The document {wrong} does not fit User any more: `name` must be a string, got the number 3; let the",
    ):
        await db.get(wrong)


@pytest.fixture
async def five(desk: Desk, db: DatabaseWriter) -> DatabaseWriter:
    """Users a to e, a millisecond apart; a, c and e are admins."""
    for name in "abcde":
        await db.insert(User(name=name, role="admin" if name in "ace" else "member"))
        db = await desk.commit()
    return db


async def names(query: Any) -> str:
    return "".join([user.name async for user in query])


@pytest.mark.parametrize(
    ("index", "given_bounds", "expected"),
    [
        ("by_creation_time", {}, "abcde"),
        ("by_creation_time", {"creation_time": gt(1_002)}, "cde"),
        ("by_creation_time", {"creation_time": between(1_002, 1_003)}, "bc"),
        ("by_creation_time", {"_creationTime": 1_002}, "b"),
        ("by_id", {}, None),
        (User.by_name, {"name": "c"}, "c"),
        (User.by_name, {"name": gte("b") & lt("d")}, "bc"),
        (User.by_name, {"name": "c", "creation_time": gt(0)}, "c"),
        (User.by_role, {}, "acebd"),
        (User.by_role, {"role": "admin"}, "ace"),
        (User.by_role, {"role": "admin", "name": lte("c")}, "ac"),
        (User.by_role, {"name": gt("a"), "role": "admin"}, "ce"),
        (User.by_role, {"role": gt("admin")}, "bd"),
        ("by_note", {"note": UNSET}, "abcde"),
        ("by_note", {"note": None}, ""),
    ],
)
async def test_an_index_gives_its_range_in_its_order(
    five: DatabaseWriter, index: Any, given_bounds: dict[str, Any], expected: str | None
) -> None:
    query = five.query(User).with_index(index, **given_bounds)
    ascending = await names(query)
    if expected is None:
        assert sorted(ascending) == list("abcde")
    else:
        assert ascending == expected
    assert await names(query.order("desc")) == ascending[::-1]
    assert "".join(user.name for user in await query.collect()) == ascending
    assert await query.count() == len(ascending)
    assert "".join(user.name for user in await query.take(2)) == ascending[:2]


async def test_bounds_find_what_python_objects_stand_for(db: DatabaseWriter) -> None:
    await db.insert(User(name="a", big=3, address=Address(city="Oslo"), picture_id=PICTURE))  # type: ignore[arg-type, call-arg]
    assert await names(db.query(User).with_index(User.by_big, big=3)) == "a"
    assert await names(db.query(User).with_index(User.by_big, big=Int64(3))) == "a"
    assert await names(db.query(User).with_index(User.by_big, big=gte(3) & lt(4))) == "a"
    assert await names(db.query(User).with_index(User.by_big, big=3.0)) == ""
    assert await names(db.query(User).with_index(User.by_city, **{"address.city": "Oslo"})) == "a"
    assert await names(db.query(User).with_index(User.by_picture, picture_id=PICTURE)) == "a"
    assert await names(db.query(User).with_index(User.by_picture, pictureId=PICTURE)) == "a"


async def test_steps_do_not_change_the_query_they_are_taken_from(five: DatabaseWriter) -> None:
    query = five.query(User)
    admins = query.filter(lambda user: user.role == "admin")
    late = admins.filter(lambda user: user.name > "a").order("desc")
    assert [await names(each) for each in (late, admins, query)] == ["ec", "ace", "abcde"]
    assert await late.count() == 2
    assert [user.name for user in await late.take(1)] == ["e"]
    assert (await admins.first() or User(name="")).name == "a"


async def test_take_first_and_unique(five: DatabaseWriter) -> None:
    query = five.query(User)
    assert [len(await query.take(n)) for n in (0, 1, 4, 5, 6)] == [0, 1, 4, 5, 5]
    for wrong in (-1, True, 1.0, None):
        with pytest.raises(InvalidRange, match="take: how many must be a whole number from 0 up"):
            await query.take(wrong)  # type: ignore[arg-type]
    alone = query.with_index(User.by_name, name="c")
    assert (await alone.unique() or User(name="")).name == "c"
    assert await query.with_index(User.by_name, name="z").unique() is None
    assert await query.with_index(User.by_name, name="z").first() is None
    with pytest.raises(NotUnique, match="unique: the range holds more than one document of users; narrow it"):
        await query.unique()


async def test_a_table_that_nobody_wrote_to_is_empty(db: DatabaseWriter) -> None:
    query = db.query("nowhere")
    assert await query.collect() == []
    assert await query.take(3) == []
    assert await query.count() == 0
    assert await query.first() is None


@pytest.mark.parametrize(
    ("step", "error", "words"),
    [
        (lambda q: q.with_index("by_nope"), IndexNotFound, r"users has no index 'by_nope'; it has by_id, by_creation"),
        (
            lambda q: q.with_index(Message.by_name),
            IndexNotFound,
            r"the index by_name of users is not Index\('author'\)",
        ),
        (lambda q: q.with_index("by_name").with_index("by_role"), InvalidRange, r"call with_index once"),
        (lambda q: q.with_index("by_creation_time").with_index("by_role"), InvalidRange, r"call with_index once"),
        (lambda q: q.with_index("by_id", _id="x"), InvalidRange, r"by_id takes no bounds; read one document with"),
        (
            lambda q: q.with_index("by_role", name="a"),
            InvalidRange,
            r"orders by role, name, creation_time: fix .*'name'",
        ),
        (lambda q: q.with_index("by_role", nope="a"), InvalidRange, r"'nope' cannot be used so"),
        (
            lambda q: q.with_index("by_role", role=gt("a"), name="a"),
            InvalidRange,
            r"bound at most the one after them; 'name' cannot be used so",
        ),
        (lambda q: q.with_index("by_name", name=object()), InvalidRange, r"The bound of `name` must be a value that"),
        (lambda q: q.with_index("by_name", name=gt(object())), InvalidRange, r"The bound of `name` must be a value"),
        (lambda q: q.order("up"), InvalidRange, r'The order of a query is "asc" or "desc", not \'up\''),
    ],
)
async def test_a_query_that_cannot_be_is_told_why(
    db: DatabaseWriter, step: Callable[[Any], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await step(db.query(User)).collect()


class Item(Document, table="items"):
    a: Any = None
    b: Any = None

    by_a_b = Index("a", "b")


some = st.sampled_from([None, False, 0, 1, 1.5, Int64(1), "", "a", b"a", [1], {"x": 1}, UNSET])
limits = st.builds(lambda make, value: make(value), st.sampled_from([gt, gte, lt, lte]), some)
items = st.lists(st.fixed_dictionaries({"a": some, "b": some}), max_size=8)


@given(items, some, limits, st.booleans(), st.integers(0, 4))
async def test_a_query_equals_filtering_and_sorting_all_documents(
    given_items: list[dict[str, Any]], a: Any, bound: Bound, fixed: bool, count: int
) -> None:
    store = MemoryStore(pause=_at_once)
    catalog = Catalog([spec(10_001, Item)])
    transaction = Transaction(await store.snapshot(0), catalog, now=1.0, random_bytes=random.Random(1).randbytes)
    db = DatabaseWriter(transaction, Tables({"items": Item}), pages())
    placed: list[Any] = []
    for fields in given_items:
        one = await db.insert(Item, fields)
        kept = [values.ABSENT if fields[name] is UNSET else fields[name] for name in ("a", "b")]
        placed.append((*(values.compare_key(each) for each in kept), len(placed), one))

    def inside(place: Any) -> bool:
        key = values.compare_key
        for side, within in ((bound.lower, "above"), (bound.upper, "below")):
            if side is not None:
                limit = key(values.ABSENT if side.value is UNSET else side.value)
                apart = place > limit if within == "above" else place < limit
                if not (apart or (side.inclusive and place == limit)):
                    return False
        return True

    first = values.compare_key(values.ABSENT if a is UNSET else a)
    if fixed:
        query = db.query(Item).with_index(Item.by_a_b, a=a, b=bound)
        expected = [one for x, y, _, one in sorted(placed) if x == first and inside(y)]
    else:
        query = db.query(Item).with_index(Item.by_a_b, a=bound)
        expected = [one for x, _, _, one in sorted(placed) if inside(x)]
    assert [item.id for item in await query.collect()] == expected
    assert [item.id for item in await query.order("desc").take(count)] == expected[::-1][:count]


async def _at_once() -> None:
    pass


# What counts as read -------------------------------------------------------------------------------------------------


async def test_what_is_not_asked_for_does_not_count_as_read(desk: Desk, five: DatabaseWriter) -> None:
    await five.query(User).take(2)
    entries = [
        keys.entry_key(10_001, 1, [user.creation_time], ids.decode_id(user.id)[1])
        for user in await DatabaseReader((await desk.begin())._transaction, desk.tables, desk.pages)
        .query(User)
        .collect()
    ]
    db = await desk.begin()
    await db.query(User).take(2)
    assert [entry in desk.transaction.reads for entry in entries] == [True, True, False, False, False]
    db = await desk.begin()
    async for user in db.query(User).order("desc"):
        if user.name == "d":
            break
    assert [entry in desk.transaction.reads for entry in entries] == [False, False, False, True, True]


async def test_filtered_out_documents_count_as_read(desk: Desk, five: DatabaseWriter) -> None:
    await five.query(User).filter(lambda user: str(user.name) == "z").take(1)
    prefix = keys.index_prefix(10_001, 1)
    assert desk.reads == [(prefix, keys.prefix_end(prefix))]


async def test_only_what_a_filter_keeps_counts_as_read_where_it_can_be_told(desk: Desk, five: DatabaseWriter) -> None:
    await five.query(User).filter(lambda user: user.name == "z").take(1)
    prefix = keys.index_prefix(10_001, 1)
    keep = ("and", ("==", ("field", "name", None), ("value", "z")))
    assert desk.reads == []
    assert desk.transaction.guarded == (((prefix, keys.prefix_end(prefix)), Guard(keep)),)


async def test_what_comes_after_the_last_one_kept_does_not_count_as_read(desk: Desk, five: DatabaseWriter) -> None:
    taken = await five.query(User).filter(lambda user: str(user.name) > "a").take(2)
    ((_, end),) = desk.reads
    entries = [keys.entry_key(10_001, 1, [user.creation_time], ids.decode_id(user.id)[1]) for user in taken]
    assert end == entries[-1] + b"\x00"


async def test_only_what_is_selected_counts_as_read(desk: Desk, five: DatabaseWriter) -> None:
    for user in await five.query(User).select("name").take(2):
        assert user.id
        assert user.creation_time
        assert user.name
        assert not hasattr(user, "city")
    ((_, guard),) = desk.transaction.guarded
    assert guard == Guard(None, ("name",))
    assert desk.reads == []
    await five.query("messages").select("body").collect()
    await five.query(User).count()
    assert [guard for _, guard in desk.transaction.guarded[1:]] == [
        Guard(None, ("body",)),
        Guard(None, (), places=False),
    ]


async def test_select_takes_a_class_that_declares_the_fields(five: DatabaseWriter) -> None:
    class Name(Document):
        name: str

    first = await five.query(User).select(Name).first()
    assert type(first) is Name
    assert first.name

    class Other(Document):
        nothing: str

    for wrong in (Other, "nothing"):
        with pytest.raises(DocumentInvalid, match="User has no field `nothing`"):
            five.query(User).select(wrong)


async def test_the_absence_of_a_table_counts_as_read(desk: Desk, db: DatabaseWriter) -> None:
    await db.query("nowhere").collect()
    (interval,) = desk.reads
    assert keys.table_of(interval[0]) == TABLES.number


async def test_writes_awaited_side_by_side_come_one_after_the_other(db: DatabaseWriter) -> None:
    user = await db.insert(User(name="a"))
    await asyncio.gather(*(db.patch(user, **{field: "x"}) for field in ("name", "note", "remark")))
    found = await db.get(user)
    assert found is not None
    assert (found.name, found.note, found.remark) == ("x", "x", "x")
    ids = await asyncio.gather(*(db.insert(User(name=str(number))) for number in range(5)), db.delete(user))
    assert len(set(ids)) == 6
    assert await db.query(User).count() == 5
