"""How the documents of an app look in Python, and how they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError, create_model

from yugen import values
from yugen.bounds import InvalidRange
from yugen.catalog import Catalog
from yugen.errors import DocumentInvalid
from yugen.functions.faults import TableNotFound
from yugen.functions.predicates import DICT, Shape, shape_of
from yugen.functions.references import Referrer, referrers
from yugen.schema import UNSET, Document, as_wire, read_stored, stored_names
from yugen.validation import NOT_EXPECTED, Validator, explain
from yugen.values import EXACT_INT_MAX, SYSTEM_FIELDS, Int64

_SCALARS = frozenset({str, float, int, bool, type(None)})


class Tables:
    """How the documents of an app look in Python: the class of each table that has one.

    Args:
        documents: the classes by table.
        strict: whether there are no other tables.
        references: the classes whose `Ref`s count, if they are others.
    """

    def __init__(
        self,
        documents: Mapping[str, type[Document]],
        *,
        strict: bool = False,
        references: Mapping[str, type[Document]] | None = None,
    ) -> None:
        self._documents = documents
        self._strict = strict
        self._references: dict[str, list[Referrer]] = {}
        self._referrers: dict[str, list[Referrer]] = {}
        for referrer in referrers(documents if references is None else references):
            self._references.setdefault(referrer.table, []).append(referrer)
            self._referrers.setdefault(referrer.target, []).append(referrer)
        self._validators = {name: Validator(cls) for name, cls in documents.items()}
        self._names = {name: stored_names(cls) for name, cls in documents.items()}
        self._shapes = {name: shape_of(cls) for name, cls in documents.items()}
        self._parts: dict[tuple[str, tuple[str, ...]], Part] = {}
        self._ints = {name: _int_fields(cls) for name, cls in documents.items()}
        self._int64s = {name: _int64_fields(cls) for name, cls in documents.items()}

    def read(self, table: str, texts: Sequence[bytes]) -> list[Any]:
        """Documents from their stored JSON, as `load` gives them.

        Raises:
            DocumentInvalid: a stored document does not fit its class any more.
        """
        cls = self._documents.get(table)
        read = None if cls is None else read_stored(cls, texts)
        return [self.load(table, decoded(text)) for text in texts] if read is None else read

    def load(self, table: str, document: dict[str, Any]) -> Any:
        """A stored document as its class, or as a dict when the table has none.

        Raises:
            DocumentInvalid: a stored document does not fit its class any more.
        """
        validator = self._validators.get(table)
        if validator is None:
            return document
        try:
            return validator(document, None)
        except ValidationError as error:
            place, fault = explain(error)
            raise DocumentInvalid(
                f"The document {document['_id']} does not fit {self._class(table)} any more: `{place}` {fault}; "
                "let the class take it, or change what is stored."
            ) from None

    def references(self, table: str) -> Sequence[Referrer]:
        """The fields of a table that refer to other documents."""
        return self._references.get(table, ())

    def referrers(self, table: str) -> Sequence[Referrer]:
        """The fields, of whatever table, that refer to documents of this one."""
        return self._referrers.get(table, ())

    def check_declared(self, table: str) -> None:
        """Sees to it that a strict app has a class for a table.

        Raises:
            TableNotFound: it has none.
        """
        if self._strict and table not in self._documents:
            raise TableNotFound(f"{table} has no class, and this app is strict; declare one in schema.py.")

    def shape(self, table: str) -> Shape:
        """How the documents of a table look to a predicate."""
        return self._shapes.get(table, DICT)

    def part(self, table: str, fields: tuple[str, ...] | type[Document]) -> Part:
        """What `select` makes of the documents of a table.

        Raises:
            DocumentInvalid: the table has no such field.
        """
        if isinstance(fields, type):
            stored = tuple(stored_names(fields).values())
            unknown = [name for name in stored if not self.has_field(table, name)]
            if unknown:
                raise self.no_field(table, unknown[0])
            return Part(table, stored, Validator(fields))
        found = self._parts.get((table, fields))
        if found is None:
            found = self._parts[table, fields] = self._part_of(table, fields)
        return found

    def _part_of(self, table: str, fields: tuple[str, ...]) -> Part:
        stored = tuple(dict.fromkeys(self.stored_name(table, field) for field in fields))
        for name in stored:
            if not self.has_field(table, name):
                raise self.no_field(table, name)
        cls = self._documents.get(table)
        if cls is None:
            return Part(table, stored, None)
        given = {
            name: (field.annotation, field)
            for name, field in cls.model_fields.items()
            if (field.alias or name) in stored and name not in ("id", "creation_time")
        }
        return Part(table, stored, Validator(create_model(f"{cls.__name__}Part", __base__=Document, **given)))  # type: ignore[call-overload]

    def fault(self, table: str, document: dict[str, Any], catalog: Catalog) -> str | None:
        """What keeps a stored document from fitting its class; None if nothing does."""
        validator = self._validators.get(table)
        if validator is None:
            return None
        try:
            validator(document, catalog)
        except ValidationError as error:
            place, fault = explain(error)
            return f"`{place}` {fault}"
        return None

    def check(self, table: str, document: Mapping[str, Any], catalog: Catalog) -> dict[str, Any]:
        """The wire values to store for a document about to be written, with defaults filled in.

        Raises:
            DocumentInvalid: it does not fit its class, or cannot be stored; the text names the field.
        """
        given = {
            name: value if type(value) in _SCALARS else _unwrapped(value)
            for name, value in document.items()
            if value is not UNSET
        }
        validator = self._validators.get(table)
        if validator is None:
            return _wire_fields(given, table)
        try:
            model: Document = validator(given, catalog)
        except ValidationError as error:
            place, fault = explain(error)
            if fault == NOT_EXPECTED and place in given:
                raise self.no_field(table, place) from None
            raise DocumentInvalid(
                f"A document of {table} does not fit {self._class(table)}: `{place}` {fault}."
            ) from None
        fields = model.to_fields()
        return fields if _are_scalars(fields) else _wire_fields(fields, table)

    def stored_name(self, table: str, field: str) -> str:
        """The name in storage of a field, which Python may know by another."""
        return self._names.get(table, {}).get(field, field)

    def is_int(self, table: str, stored: str) -> bool:
        """Whether a field, by its name in storage, holds whole numbers only."""
        return stored in self._ints.get(table, ())

    def has_field(self, table: str, stored: str) -> bool:
        """Whether a document of the table can have a field of this name in storage."""
        return table not in self._names or stored in self._names[table].values()

    def no_field(self, table: str, field: str) -> DocumentInvalid:
        names = (name for name in self._names[table] if name not in ("id", "creation_time"))
        return DocumentInvalid(f"{self._class(table)} has no field `{field}`; its fields are {', '.join(names)}.")

    def index_value(self, table: str, stored: str, value: Any) -> Any:
        """The wire value, or `ABSENT`, by which an index finds what Python has as `value`.

        Raises:
            InvalidRange: no value that could be stored.
        """
        if value is UNSET:
            return values.ABSENT
        if type(value) is float or (type(value) is str and value.isascii()):
            return value
        if type(value) is int and stored in self._int64s.get(table, ()):
            return Int64(value)
        try:
            return values.decode(values.encode(value, fallback=as_wire))
        except values.InvalidValue as error:
            raise InvalidRange(f"The bound of `{stored}` must be a value that can be stored: {error}.") from None

    def _class(self, table: str) -> str:
        return self._documents[table].__name__


@dataclass(frozen=True, slots=True)
class Part:
    """Some fields of the documents of a table, and always their ids and creation times.

    Attributes:
        table: the table, for errors.
        stored: the names of the fields in storage.
        validator: makes what Python gets; None where that is a dict.
    """

    table: str
    stored: tuple[str, ...]
    validator: Validator | None

    def of(self, document: dict[str, Any]) -> Any:
        kept = {name: value for name, value in document.items() if name in self.stored or name in SYSTEM_FIELDS}
        if self.validator is None:
            return kept
        try:
            return self.validator(kept, None)
        except ValidationError as error:
            place, fault = explain(error)
            raise DocumentInvalid(
                f"The document {document['_id']} of {self.table} does not fit what is selected: `{place}` {fault}."
            ) from None


def _int64_fields(cls: type[Document]) -> frozenset[str]:
    """The fields, by their names in storage, that hold an Int64 and no other number."""
    kinds = {
        field.alias or name: {field.annotation, *get_args(field.annotation)} for name, field in cls.model_fields.items()
    }
    return frozenset(name for name, kind in kinds.items() if Int64 in kind and kind.isdisjoint((int, float)))


def _int_fields(cls: type[Document]) -> frozenset[str]:
    """The fields, by their names in storage, that hold whole numbers only."""
    kinds = {
        field.alias or name: {field.annotation, *get_args(field.annotation)} for name, field in cls.model_fields.items()
    }
    return frozenset(name for name, kind in kinds.items() if int in kind and float not in kind)


def _unwrapped(value: Any) -> Any:
    """Models as their fields, so that what they hold is checked anew: it may have been changed since."""
    match value:
        case BaseModel():
            return as_wire(value)
        case dict():
            return {name: _unwrapped(part) for name, part in value.items()}
        case list() | tuple():
            return [_unwrapped(part) for part in value]
    return value


def _are_scalars(fields: dict[str, Any]) -> bool:
    """Whether all fields are wire values that hold no others; numbers are made what decoding makes them."""
    for name, value in fields.items():
        kind = type(value)
        if kind is int and -EXACT_INT_MAX <= value <= EXACT_INT_MAX:
            fields[name] = float(value)
        elif not (kind is str or kind is float or kind is bool or value is None):
            return False
    return True


def _wire_fields(fields: dict[str, Any], table: str) -> dict[str, Any]:
    """Fields as decoded wire values, from whatever Python objects stand for them."""
    try:
        decoded = values.decode(values.encode(fields, fallback=as_wire))
    except values.InvalidValue as error:
        raise DocumentInvalid(f"A document of {table} cannot be stored: {error}.") from None
    assert isinstance(decoded, dict)
    return decoded


def table_name(table: type[Document] | str) -> str:
    """The name of a table given as a class or as a string.

    Raises:
        TableNotFound: the class has no table, or the name is of a system table, which is not read and written so.
    """
    name = table if isinstance(table, str) else table.__table__
    if not name:
        raise TableNotFound(f'{table} names no table; write `class Name(Document, table="...")`.')
    if name.startswith("_"):
        raise TableNotFound(f"{name} is a system table; an app keeps its documents in tables of its own.")
    return name


def decoded(text: bytes) -> dict[str, Any]:
    """The fields of a document from its stored JSON."""
    document = values.reloads(text)
    assert isinstance(document, dict)
    return document
