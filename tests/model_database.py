"""The database of an app as plain Python: documents in dicts, every question answered by looking at all of them.

It is written from the guides and shares no code with the engine, its order of values included. A question's answer
comes with what the guides say it depends on, so that an engine can be held against it in both directions: it must run
a question again when the answer changes, and must not for writes that the guides say are none of its business.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, Literal

from yugen.schema import UNSET
from yugen.values import Int64

Stored = dict[str, Any]
"""A document as clients see it."""

Position = tuple[Any, ...]
"""A place in an index; places compare as tuples."""


# Values -------------------------------------------------------------------------------------------------------------


def order(value: Any) -> tuple[Any, ...]:
    """What sorts as the value does among all values. Equal exactly for values that cannot be told apart."""
    match value:
        case None:
            return (1,)
        case Int64():
            return 2, int(value)
        case bool():
            return 4, value
        case int() | float():
            (bits,) = struct.unpack(">q", struct.pack(">d", value))
            return 3, bits if bits >= 0 else -(1 << 63) - 1 - bits
        case str():
            return 5, [ord(each) for each in value]
        case bytes():
            return 6, list(value)
        case list():
            return 7, [order(each) for each in value]
        case dict():
            return 8, [([ord(each) for each in name], order(value[name])) for name in sorted(value)]
    assert value is UNSET, value
    return (0,)


def lookup(document: Stored, path: str) -> Any:
    """The value at a dotted path, `UNSET` where there is none."""
    found: Any = document
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return UNSET
        found = found[name]
    return found


# Declarations -------------------------------------------------------------------------------------------------------

Kind = Literal["null", "int64", "int", "float", "bool", "str", "bytes", "list", "dict", "any", "id"]
OnDelete = Literal["restrict", "cascade", "set_null"]
REQUIRED: Any = object()


@dataclass(frozen=True)
class Field:
    """A field: the kinds of values it takes, and what it is without one: an error, absent, or a default.

    `target` is the table of an id.
    """

    name: str
    kinds: frozenset[Kind]
    default: Any = REQUIRED
    alias: str | None = None
    target: str = ""
    on_delete: OnDelete = "restrict"

    @property
    def stored(self) -> str:
        return self.alias or self.name

    def fits(self, value: Any) -> bool:
        return "any" in self.kinds or _kind_of(value, self.kinds) in self.kinds

    def in_python(self, value: Any) -> Any:
        """A stored value as a predicate gets it."""
        return int(value) if type(value) is float and "int" in self.kinds else value


def _kind_of(value: Any, among: frozenset[Kind]) -> Kind | None:
    match value:
        case None:
            return "null"
        case Int64():
            return "int64"
        case bool():
            return "bool"
        case float() if "int" in among:
            return "int" if value.is_integer() and abs(value) <= 2**53 else None
        case float():
            return "float"
        case str():
            return "id" if "id" in among else "str"
        case bytes():
            return "bytes"
        case list():
            return "list"
    return "dict"


@dataclass(frozen=True)
class Index:
    """An index by stored paths. `total` is None without totals, nothing for a count, or the field that is added up."""

    name: str
    paths: tuple[str, ...] = ()
    unique: bool = False
    total: str | None = None

    def position(self, document: Stored) -> Position:
        values = [lookup(document, path) for path in (*self.paths, "_creationTime")]
        number = lookup(document, self.total) if self.total else UNSET
        return tuple(order(value) for value in (*values, number if type(number) is float else UNSET))


@dataclass(frozen=True)
class Table:
    """A table with a class; one without fields has none, and its documents are dicts."""

    name: str
    fields: tuple[Field, ...] = ()
    indexes: tuple[Index, ...] = ()

    def index(self, name: str) -> Index:
        return next((each for each in self.indexes if each.name == name), Index(name))

    def checked(self, given: Mapping[str, Any]) -> Stored:
        """The document to store for fields by their stored names."""
        if not self.fields:
            return dict(given)
        document: Stored = {name: value for name, value in given.items() if name[0] == "_"}
        known = {each.stored: each for each in self.fields}
        if not given.keys() - document.keys() <= known.keys():
            raise Fault("DocumentInvalid")
        for name, each in known.items():
            if name in given:
                if not each.fits(given[name]):
                    raise Fault("DocumentInvalid")
                document[name] = float(each.in_python(given[name])) if _is_int(each, given[name]) else given[name]
            elif each.default is REQUIRED:
                raise Fault("DocumentInvalid")
            elif each.default is not None and each.default is not UNSET:
                document[name] = each.default
        return document

    def view(self, document: Stored) -> Any:
        """A document as a predicate gets it."""
        if not self.fields:
            return document
        shown = {
            each.name: each.in_python(document[each.stored]) if each.stored in document else each.default
            for each in self.fields
        }
        return SimpleNamespace(id=document["_id"], creation_time=document["_creationTime"], **shown)


def _is_int(field: Field, value: Any) -> bool:
    return type(value) is float and "int" in field.kinds


# Questions ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Predicate:
    """A filter by its source; `readable` tells whether the guide says that Yugen reads it."""

    text: str
    readable: bool

    @property
    def function(self) -> Callable[[Any], object]:
        return eval(f"lambda d: {self.text}", {"UNSET": UNSET})  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Limit:
    """A side of a range."""

    value: Any
    inclusive: bool


End = Literal["collect", "take", "first", "unique", "count", "paginate", "for", "sum", "min", "max", "rank", "get"]


@dataclass(frozen=True)
class Question:
    """A query. `equal` fixes the first fields of the index, `lower` and `upper` bound the next one.

    `limit` is what `take` takes, a page has, and after which a loop ends; `id` is what `rank` and `get` are asked for.
    """

    table: str
    end: End = "collect"
    index: str = "by_creation_time"
    equal: tuple[Any, ...] = ()
    lower: Limit | None = None
    upper: Limit | None = None
    descending: bool = False
    keep: tuple[Predicate, ...] = ()
    select: tuple[str, ...] | None = None
    limit: int = 0
    id: str = ""


@dataclass(frozen=True)
class Answer:
    """What a question gives, and what it can tell of a document of its table, by which it depends on it.

    `sees` gives None for a document that does not matter, and raises where a predicate does. `in_range` tells of a
    document whether it lies in the range that was asked for, whatever else was.
    """

    value: Any
    sees: Callable[[Stored], Any]
    in_range: Callable[[Stored], bool]

    def depends_on(self, before: Stored | None, after: Stored | None) -> bool:
        """Whether the guides let the question run again for a change of one document."""
        try:
            return bool((before and self.sees(before)) != (after and self.sees(after)))
        except Exception:
            return True


@dataclass(frozen=True)
class Page:
    """Where a page begins and ends: after a place, up to and with one; `END` is the end of the range."""

    after: Position | None = None
    until: Position | None = None


END: Position = ()


class Fault(Exception):
    """An error that a function may catch: its class, and the unique index."""

    @property
    def value(self) -> Any:
        return {"error": list(self.args)}


# The database -------------------------------------------------------------------------------------------------------


@dataclass
class Database:
    """Tables of documents by their ids. `ids` are the tables of all ids that there ever were."""

    schema: Mapping[str, Table]
    tables: dict[str, dict[str, Stored]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def snapshot(self) -> dict[str, dict[str, Stored]]:
        return {name: dict(documents) for name, documents in self.tables.items()}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Undoes what is written within when it is left by an error."""
        tables, ids = self.snapshot(), dict(self.ids)
        try:
            yield
        except Fault:
            self.tables, self.ids = tables, ids
            raise

    def insert(self, table: str, fields: Mapping[str, Any], identify: Callable[[], tuple[str, float]]) -> str:
        checked = self.schema[table].checked(fields)
        self._check_references(table, checked, {})
        # Only what has been checked has an id to be asked for.
        self._check_unique(table, checked)
        new, created = identify()
        self.ids[new] = table
        self.tables.setdefault(table, {})[new] = {"_id": new, "_creationTime": created, **checked}
        return new

    def patch(self, id: str, fields: Mapping[str, Any]) -> None:
        """Changes fields by their names in Python; `UNSET` removes one."""
        table = self._table_of(id)
        names = {each.name: each.stored for each in self.schema[table].fields}
        if names and not fields.keys() <= {*names, *names.values()}:
            raise Fault("DocumentInvalid")
        merged = self.tables[table][id] | {names.get(name, name): value for name, value in fields.items()}
        self._put(table, id, {name: value for name, value in merged.items() if value is not UNSET})

    def replace(self, id: str, fields: Mapping[str, Any]) -> None:
        table = self._table_of(id)
        kept = {name: value for name, value in self.tables[table][id].items() if name[0] == "_"}
        self._put(table, id, {**fields, **kept})

    def delete(self, id: str) -> None:
        self._table_of(id)
        with self.transaction():
            going, gone = [id], []
            while going:
                one = going.pop()
                if self.tables[self.ids[one]].pop(one, None) is None:
                    continue
                gone.append(one)
                for table, each, document in self._referring(one):
                    if each.on_delete == "cascade":
                        going.append(document["_id"])
                    elif each.on_delete == "set_null":
                        documents = self.tables[table]
                        documents[document["_id"]] = {**documents[document["_id"]], each.stored: None}
            if any(each.on_delete == "restrict" for one in gone for _, each, _ in self._referring(one)):
                raise Fault("BrokenReference")

    def get(self, id: str) -> Stored | None:
        if id not in self.ids:
            raise Fault("InvalidId")
        return self.tables.get(self.ids[id], {}).get(id)

    def _table_of(self, id: str) -> str:
        if self.get(id) is None:
            raise Fault("DocumentNotFound")
        return self.ids[id]

    def _put(self, table: str, id: str, fields: Mapping[str, Any]) -> None:
        checked = self.schema[table].checked(fields)
        self._check_references(table, checked, self.tables[table][id])
        self._check_unique(table, checked)
        self.tables[table][id] = checked

    def _check_references(self, table: str, document: Stored, before: Stored) -> None:
        references = [each for each in self.schema[table].fields if each.target]
        given = [(each, document[each.stored]) for each in references if document.get(each.stored) is not None]
        if any(self.ids.get(other) != each.target for each, other in given):
            raise Fault("DocumentInvalid")
        for each, other in given:
            if other != before.get(each.stored) and other not in self.tables.get(each.target, {}):
                raise Fault("BrokenReference")

    def _check_unique(self, table: str, document: Stored) -> None:
        for index in self.schema[table].indexes:
            values = [lookup(document, path) for path in index.paths]
            if not index.unique or UNSET in values:
                continue
            for other in self.tables.get(table, {}).values():
                same = [order(lookup(other, path)) for path in index.paths] == [order(value) for value in values]
                if same and other["_id"] != document.get("_id"):
                    raise Fault("UniqueError", index.name)

    def _referring(self, id: str) -> list[tuple[str, Field, Stored]]:
        return [
            (name, each, document)
            for name, table in self.schema.items()
            for each in table.fields
            for document in list(self.tables.get(name, {}).values())
            if each.target and document.get(each.stored) == id
        ]

    # Reading ----------------------------------------------------------------------------------------------------

    def ask(self, question: Question) -> Answer:
        """The answer to a question; to one that fails, its error."""
        return self._total(question) if question.end in ("sum", "min", "max", "rank") else self._read(question)[0]

    def page(self, question: Question, page: Page) -> tuple[Answer, Page]:
        """One page of a question, and the same page with its end known."""
        return self._read(question, page)

    def _read(self, question: Question, page: Page | None = None) -> tuple[Answer, Page]:
        if question.end == "get":
            return self._get(question), Page()
        table, index = self.schema[question.table], self.schema[question.table].index(question.index)
        in_range = _range(question, index)
        predicates = [each.function for each in question.keep]

        def keeps(document: Stored) -> bool:
            view = table.view(document)
            return all(predicate(view) for predicate in predicates)

        after, until = (page.after, page.until) if page else (None, None)
        found = [each for each in self._sorted(question, index, in_range) if after is None or each[0] > after]
        if after == END and after is not None:
            found = []
        limit = _limit(question) if until is None else None
        kept: list[Stored] = []
        last: Position | None = END  # that was read; None if nothing was
        try:
            if limit == 0:
                found, last = [], None
            for place, document in found:
                if until and place > until:
                    break
                if keeps(document):
                    kept.append(document)
                    if len(kept) == limit:
                        last = place
                        break
        except Exception as error:  # of a predicate
            return Answer({"error": [type(error).__name__]}, _raises, in_range), Page(after, END)
        if until is not None:
            last = until
        sees = self._sees(question, index, in_range, keeps, after, last)
        if question.end == "unique" and len(kept) > 1:
            return Answer({"error": ["NotUnique"]}, sees, in_range), Page(after, last)
        return Answer(self._made(question, kept, last), sees, in_range), Page(after, last)

    def _sorted(
        self, question: Question, index: Index, in_range: Callable[[Stored], bool]
    ) -> list[tuple[Position, Stored]]:
        documents = self.tables.get(question.table, {}).values()
        found = [(_place(question, index, each), each) for each in documents if in_range(each)]
        return sorted(found, key=lambda each: each[0])

    def _made(self, question: Question, kept: list[Stored], last: Position | None) -> Any:
        """The value that comes of the documents that were kept."""
        shown = [_selected(document, question.select) for document in kept]
        match question.end:
            case "first" | "unique":
                return shown[0] if shown else None
            case "count":
                return float(len(shown))
            case "paginate":
                return {"page": shown, "isDone": last == END}
        return shown

    def _sees(
        self,
        question: Question,
        index: Index,
        in_range: Callable[[Stored], bool],
        keeps: Callable[[Stored], bool],
        after: Position | None,
        last: Position | None,
    ) -> Callable[[Stored], Any]:
        """What a question that has read from one place to another can tell of a document."""
        readable = all(each.readable for each in question.keep)

        def sees(document: Stored) -> Any:
            place = _place(question, index, document)
            read = last is not None and (last == END or place <= last) and (after is None or END != after < place)
            if not read or not in_range(document):
                return None
            if not readable:
                return _whole(document)
            if not keeps(document):
                return None
            if question.end == "count":
                return True
            if question.select is not None:
                return place, order(_selected(document, question.select))
            return _whole(document)

        return sees

    def _get(self, question: Question) -> Answer:
        value = self.tables.get(question.table, {}).get(question.id)

        def in_range(document: Stored) -> bool:
            return bool(document["_id"] == question.id)

        return Answer(value, lambda each: _whole(each) if in_range(each) else None, in_range)

    def _total(self, question: Question) -> Answer:
        index = self.schema[question.table].index(question.index)
        in_range = _range(question, index)
        found = self._sorted(question, index, in_range)
        if question.keep or index.total is None or (not index.total and question.end != "rank"):
            return Answer({"error": ["IndexNotFound"]}, lambda _: None, in_range)
        if question.end == "rank":
            places = [place for place, document in found if document["_id"] == question.id]
            value = float(sum(1 for place, _ in found if place < places[0])) if places else None

            def before(document: Stored) -> Any:
                place = _place(question, index, document)
                if document["_id"] == question.id:
                    return place, order(lookup(document, index.total or "_id"))
                return (bool(places) and in_range(document) and place < places[0]) or None

            return Answer(value, before, in_range)

        numbers = [each for _, document in found if type(each := lookup(document, index.total)) is float]

        def sees(document: Stored) -> Any:
            return order(lookup(document, index.total or "_id")) if in_range(document) else None

        if question.end == "sum":
            return Answer(_sum(numbers), sees, in_range)
        extreme = min if question.end == "min" else max
        return Answer(extreme(numbers, key=order) if numbers else None, sees, in_range)


def _whole(document: Stored) -> Any:
    """All that there is to a document: what is in it, and the order of its fields."""
    return order(document), repr(document)


def _raises(_: Stored) -> Any:
    raise AssertionError("a question that has failed may depend on anything")


def _limit(question: Question) -> int | None:
    match question.end:
        case "first":
            return 1
        case "unique":
            return 2
        case "take" | "paginate" | "for":
            return question.limit
    return None


def _range(question: Question, index: Index) -> Callable[[Stored], bool]:
    equal = [order(each) for each in question.equal]
    paths = (*index.paths, "_creationTime")
    lower, upper = question.lower, question.upper

    def in_range(document: Stored) -> bool:
        values = [order(lookup(document, path)) for path in paths]
        if values[: len(equal)] != equal:
            return False
        if lower and not (values[len(equal)] > order(lower.value) or _touches(lower, values[len(equal)])):
            return False
        return not upper or values[len(equal)] < order(upper.value) or _touches(upper, values[len(equal)])

    return in_range


def _touches(limit: Limit, value: tuple[Any, ...]) -> bool:
    return limit.inclusive and value == order(limit.value)


class _Reversed(tuple[Any, ...]):
    """A place in an index that is read from its end."""

    __slots__ = ()

    def __lt__(self, other: object) -> bool:
        return isinstance(other, tuple) and tuple(self) > tuple(other)

    def __gt__(self, other: object) -> bool:
        return isinstance(other, tuple) and tuple(self) < tuple(other)

    def __le__(self, other: object) -> bool:
        return not self > other

    def __ge__(self, other: object) -> bool:
        return not self < other


def _place(question: Question, index: Index, document: Stored) -> Position:
    place = index.position(document)
    return _Reversed(place) if question.descending else place


def _selected(document: Stored, fields: tuple[str, ...] | None) -> Stored:
    if fields is None:
        return document
    return {name: value for name, value in document.items() if name in fields or name[0] == "_"}


def _sum(numbers: list[float]) -> float:
    special = [each for each in numbers if not math.isfinite(each)]
    if special:
        return sum(special)
    exact = sum((Fraction(each) for each in numbers), Fraction())
    try:
        return exact.numerator / exact.denominator
    except OverflowError:
        return math.inf if exact > 0 else -math.inf
