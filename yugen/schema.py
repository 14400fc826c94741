"""What an app says about its data: `Document`, `Id`, `Index` and `UNSET`.

```python
class Message(Document, table="messages"):
    author: Id[User]
    body: str

    by_author = Index("author")
```
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import MISSING as UNSET
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic_core import PydanticCustomError, PydanticSerializationError, core_schema, to_jsonable_python

from yugen import ids
from yugen.catalog import BY_CREATION_TIME, BY_ID, CREATION_TIME, Catalog
from yugen.errors import DocumentInvalid, Refused
from yugen.plain import Plain, plain
from yugen.validation import explain
from yugen.values import ELEMENTS_MAX

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "ON_THE_WIRE",
    "UNSET",
    "Count",
    "Document",
    "Id",
    "Index",
    "Ref",
    "SchemaError",
    "Sum",
    "as_wire",
    "check_name",
    "document_serializer",
]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_FIELD_NAME = re.compile(r"(?![_$])[ -~]{1,64}")
_INDEX_FIELDS_MAX = 16
_INDEXES_MAX = 32
_TOTALS_MAX = 16


class SchemaError(Refused):
    """A declaration that cannot be a table or an index."""

    code = "SchemaError"


@dataclass(frozen=True)
class IdOf:
    """The table that an id belongs to, as an annotation says it: a document class, its name, or a table's name.

    Attributes:
        is_text: tells `yugen.plain` that what it checks is text and stays it.
    """

    target: Any
    is_text: ClassVar = True

    @cached_property
    def table(self) -> str:
        """The name of the table."""
        if isinstance(self.target, type) and issubclass(self.target, Document):
            return self.target.__table__
        # A class may be named before it is defined, so names are looked up when the first id comes.
        named = [each for each in _subclasses(Document) if each.__name__ == self.target and each.__table__]
        return named[-1].__table__ if named else str(self.target)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._check,
            serialization=core_schema.to_string_ser_schema(),
            json_schema_input_schema=core_schema.str_schema(),
        )

    def _check(self, value: object, info: core_schema.ValidationInfo) -> str:
        catalog = info.context.get("catalog") if isinstance(info.context, Mapping) else None
        if not isinstance(value, str):
            raise PydanticCustomError("id", "should be an id of table {table}", {"table": self.table})
        if catalog is not None:
            check_id(value, self.table, catalog)
        return value


def check_id(text: str, table: str, catalog: Catalog) -> None:
    """Raises a pydantic error unless `text` is an id of the table."""
    try:
        number, _ = ids.decode_id(text)
    except ids.InvalidId:
        raise PydanticCustomError("id", "should be an id of table {table}", {"table": table}) from None
    actual = catalog.numbered(number)
    if actual is None and catalog.named(table) is None:
        return  # a table that the running transaction has created is in no catalog yet
    if actual is None or actual.name != table:
        other = f"table {actual.name}" if actual else "no table"
        raise PydanticCustomError(
            "id_table", "should be an id of table {table}, not of {other}", {"table": table, "other": other}
        )


T = TypeVar("T")

if TYPE_CHECKING:

    class Id(str, Generic[T]):
        """The id of a document of `T`: a string at run time that carries its table."""

else:

    class Id(str):
        """The id of a document of `T`: a string at run time that carries its table.

        `Id[User]`; `Id["User"]` for a class declared further down; `Id["_storage"]` for a system table, which a type
        checker takes as `Id[Literal["_storage"]]`.
        """

        __slots__ = ()

        def __class_getitem__(cls, target: Any) -> Any:
            if isinstance(target, TypeVar):
                return str
            if get_origin(target) is Literal:
                (target,) = get_args(target)
            target = getattr(target, "__forward_arg__", target)
            if not isinstance(target, str) and not (isinstance(target, type) and issubclass(target, Document)):
                raise SchemaError(f"Id[{target!r}]: an id is of a Document class or of a table's name.")
            if isinstance(target, type) and not target.__table__:
                raise SchemaError(f"Id[{target.__name__}]: the class names no table; {_how_to_name(target)}.")
            return Annotated[str, IdOf(target)]

        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
            raise SchemaError("Id alone is an id of nothing; write Id[User] with the class of its table.")


class Index:
    """An ordered index over fields of a document, by which `ctx.db.query(...).with_index` reads ranges.

    `creation_time` is appended to every index. Nested fields are written as dotted paths.

    Args:
        fields: the fields to order by, at most 16.
        unique: refuse a second document with the same values of all fields.
    """

    def __init__(self, *fields: str, unique: bool = False) -> None:
        if not self._fields_min <= len(fields) <= _INDEX_FIELDS_MAX:
            raise SchemaError(f"An index has {self._fields_min} to {_INDEX_FIELDS_MAX} fields, not {len(fields)}.")
        self.fields = fields
        self.unique = unique
        self.total: str | None = None
        self.name = ""

    _fields_min = 1

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Index({', '.join(map(repr, self.fields))}{', unique=True' if self.unique else ''})"


OnDelete = Literal["restrict", "cascade", "set_null"]


@dataclass(frozen=True)
class Reference:
    """What `Ref` says of a field."""

    on_delete: OnDelete


def Ref(on_delete: OnDelete = "restrict", *, default: Any = ..., alias: str | None = None) -> Any:  # noqa: N802 -- like pydantic's Field, it stands where a value would
    """A field that refers to a document which is there.

    It stands where a default would, as in `author: Id[User] = Ref("cascade")`.

    A write that would make it refer to nothing is refused. When the document it refers to is deleted, in any way, then

    - `"restrict"`: the deletion is refused,
    - `"cascade"`: the document with the field is deleted too,
    - `"set_null"`: the field becomes None, which its annotation must allow.

    It takes an index that begins with the field to find out. Where none is declared there is one all the same, by the
    name of `ref_` and the field.

    Args:
        on_delete: what becomes of the document when the other one goes.
        default: as of `pydantic.Field`; None with `"set_null"`.
        alias: as of `pydantic.Field`.
    """
    if on_delete not in get_args(OnDelete):
        raise SchemaError(f'Ref takes "restrict", "cascade" or "set_null", not {on_delete!r}.')
    field: Any = Field(None if on_delete == "set_null" and default is ... else default, alias=alias)
    field.metadata.append(Reference(on_delete))
    return field


class Count(Index):
    """An index that also knows how many documents any range of it has, without reading them.

    `ctx.db.query(Message).with_index(Message.per_channel, channel=c).count()` takes as long for a million messages as
    for ten. Without fields it counts the whole table, and ranges of `creation_time`.

    Args:
        fields: the fields to order by, at most 16.
    """

    _fields_min = 0

    def __init__(self, *fields: str) -> None:
        super().__init__(*fields)
        self.total = ""

    def __repr__(self) -> str:
        return f"Count({', '.join(map(repr, self.fields))})"


class Sum(Index):
    """An index that also knows the count, sum, least and greatest of a number over any range, without reading it.

    Sums are exact and rounded once. A document in which the number is absent or null counts and adds nothing.

    Args:
        value: the field that holds the number.
        by: the field to order by, or several.
    """

    _fields_min = 0

    def __init__(self, value: str, *, by: str | Sequence[str] = ()) -> None:
        super().__init__(*((by,) if isinstance(by, str) else by))
        self.total = value

    def __repr__(self) -> str:
        return f"Sum({self.total!r}, by={self.fields!r})"


class Document(BaseModel):
    """A document of a table: `class Message(Document, table="messages")`.

    A field left at a default of None or `UNSET` is absent in storage and on the wire; other defaults are stored. `id`
    and `creation_time`, `_id` and `_creationTime` in storage and on the wire, are given by `ctx.db.insert`; before
    it they are `""` and 0. A subclass without `table` is of no table: a base of others, or a shape to return.
    """

    model_config = ConfigDict(
        extra="forbid", ignored_types=(Index,), validate_by_name=True, validate_by_alias=True, protected_namespaces=()
    )

    # The JSON of a document that is as it was read.
    __slots__ = ("__stored_text__",)

    __table__: ClassVar[str] = ""
    __plain__: ClassVar[Plain | None] = None
    __indexes__: ClassVar[dict[str, Index]] = {}
    __absent_by_default__: ClassVar[dict[str, str]] = {}

    if TYPE_CHECKING:
        id: Id[Self] = ...  # type: ignore[assignment]
    else:
        id: str = Field(default="", alias="_id")
    creation_time: float = Field(default=0.0, alias="_creationTime")

    by_id = Index("_id")
    by_creation_time = Index(CREATION_TIME)

    if not TYPE_CHECKING:

        def __init__(self, /, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                place, fault = explain(error)
                raise DocumentInvalid(f"This is no {type(self).__name__}: `{place}` {fault}.") from None

        def __setattr__(self, name: str, value: Any) -> None:
            _keep_text(self, None)
            super().__setattr__(name, value)

        def __delattr__(self, name: str) -> None:
            _keep_text(self, None)
            super().__delattr__(name)

        # What pydantic asks of an `__init__` that does no more than its own, so that validation need not go through it.
        __init__.__pydantic_base_init__ = True

    def __init_subclass__(cls, *, table: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if table is not None:
            check_name("table", table)
        cls.__table__ = table or ""
        cls.__indexes__ = {
            **cls.__indexes__,
            **{name: value for name, value in vars(cls).items() if isinstance(value, Index)},
        }

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        names = stored_names(cls)
        _check_fields(cls, names)
        cls.__indexes__ = {**cls.__indexes__, **_reference_indexes(cls, names)}
        if len(cls.__indexes__) > _INDEXES_MAX:
            raise SchemaError(f"{cls.__name__} has {len(cls.__indexes__)} indexes; a table has at most {_INDEXES_MAX}.")
        for name, index in cls.__indexes__.items():
            check_name("index", name)
            if name in (BY_ID, BY_CREATION_TIME):
                raise SchemaError(f"{cls.__name__}.{name}: every table has this index already; choose another name.")
            index.fields = tuple(_index_path(cls, name, path, names) for path in index.fields)
            if len(set(index.fields)) < len(index.fields):
                raise SchemaError(f"{cls.__name__}.{name} orders by a field twice; name each field once.")
            if index.total:
                index.total = _total_path(cls, name, index.total, names)
        if sum(index.total is not None for index in cls.__indexes__.values()) > _TOTALS_MAX:
            raise SchemaError(f"{cls.__name__} has more than {_TOTALS_MAX} indexes with totals; remove some.")

    @classmethod
    def __pydantic_on_complete__(cls) -> None:
        cls.__absent_by_default__ = {
            name: field.alias or name
            for name, field in cls.model_fields.items()
            if field.default is None or name in ("id", "creation_time")
        }
        cls.__plain__ = None
        if cls.__base__ is not BaseModel and cls.model_dump is BaseModel.model_dump:
            absent, schema = cls.__absent_by_default__, cls.__pydantic_core_schema__
            cls.__plain__ = plain(schema, absent, serializer=Document._without_absent)

    def to_fields(self) -> dict[str, Any]:
        """The fields under their names in storage, without absent ones; values are still Python objects."""
        if (known := self.__plain__) is not None:
            there, given = self.__dict__.get, self.__pydantic_fields_set__
            return {
                stored: value
                for name, stored, absent in known.fields
                if (value := there(name, UNSET)) is not UNSET and not (absent and name not in given)
            }
        return self.model_dump(by_alias=True, exclude_computed_fields=True, warnings=False)

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        for name, stored in self.__absent_by_default__.items():
            if name not in self.model_fields_set:
                fields.pop(stored if info.by_alias else name, None)
        if info.context is ON_THE_WIRE:
            for name, computed in type(self).model_computed_fields.items():
                fields.pop(computed.alias or name, None)
        return fields

    def __repr_args__(self) -> Any:
        unset = () if self.id else ("id", "creation_time")
        return [(name, value) for name, value in super().__repr_args__() if name not in unset]


document_serializer: Final = Document._without_absent
"""The one that every document has."""

_keep_text = Document.__dict__["__stored_text__"].__set__
_kept_text = Document.__dict__["__stored_text__"].__get__


def read_stored(cls: type[Document], texts: Sequence[bytes]) -> list[Any] | None:
    """Documents of a class from their stored JSON; None if they take the general way, see `yugen.plain`."""
    return None if cls.__plain__ is None else cls.__plain__.read(texts, _keep_text)


def as_stored(value: object) -> bytes | None:
    """The JSON of a document that is as it was read, or of a list of such; None for anything else."""
    try:
        if isinstance(value, Document):
            text: bytes | None = _kept_text(value)
            return text
        if type(value) is not list or not 0 < len(value) <= ELEMENTS_MAX:
            return None
        texts = [_kept_text(each) for each in value]
    except (AttributeError, TypeError):  # it was not read, or it is no document
        return None
    return None if None in texts else b"[%b]" % b",".join(texts)


def stored_names(cls: type[Document]) -> dict[str, str]:
    """The names in storage of a class's fields by their names in Python."""
    return {name: field.alias or name for name, field in cls.model_fields.items()}


def check_name(kind: str, name: str) -> None:
    """Raises SchemaError unless `name` can name a table or an index of an app (protocol.md 10)."""
    if not _NAME.fullmatch(name):
        raise SchemaError(
            f"{name[:100]!r} cannot name {'an' if kind == 'index' else 'a'} {kind}: "
            "use a letter, then letters, digits and underscores, 64 at most."
        )


def _check_fields(cls: type[Document], names: Mapping[str, str]) -> None:
    if names["id"] != "_id" or names["creation_time"] != CREATION_TIME:
        raise SchemaError(f"{cls.__name__}: every document has `id` and `creation_time` already; rename the field.")
    for name, field in cls.model_fields.items():
        if not field.alias == field.validation_alias == field.serialization_alias:
            raise SchemaError(f"{cls.__name__}.{name}: a field has one name in storage; give it as `alias`.")
    if cls.__pydantic_decorators__.model_serializers.keys() - Document.__pydantic_decorators__.model_serializers.keys():
        raise SchemaError(
            f"{cls.__name__}: a document is sent as it is stored, so it has no model_serializer; return another model."
        )
    seen: dict[str, str] = {"_id": "id", CREATION_TIME: "creation_time"}
    for name, stored in names.items():
        if seen.setdefault(stored, name) != name:
            raise SchemaError(f"{cls.__name__}: {seen[stored]} and {name} are both stored as {stored!r}; rename one.")
        if name not in ("id", "creation_time") and not _FIELD_NAME.fullmatch(stored):
            raise SchemaError(
                f"{cls.__name__}.{name}: {stored!r} cannot name a field of a document: "
                "use at most 64 ASCII characters, the first of them neither _ nor $."
            )


def _index_path(cls: type[Document], index: str, path: str, names: Mapping[str, str]) -> str:
    """The path as it is in storage."""
    field, dot, rest = path.partition(".")
    stored = names.get(field, field)
    if stored == CREATION_TIME:
        raise SchemaError(f"{cls.__name__}.{index}: creation_time is the last field of every index; leave it out.")
    if stored not in names.values() or (dot and "" in rest.split(".")):
        raise SchemaError(
            f"{cls.__name__}.{index} orders by {path!r}, which is no field of the document; "
            f"it has {', '.join(name for name in names if name != 'creation_time')}."
        )
    return f"{stored}{dot}{rest}"


def _reference_indexes(cls: type[Document], names: Mapping[str, str]) -> dict[str, Index]:
    """Indexes for the fields that refer to other documents, where none begins with them."""
    found = {}
    for name, field in cls.model_fields.items():
        reference = next((each for each in field.metadata if isinstance(each, Reference)), None)
        if reference is None:
            continue
        parts = [field, *get_args(field.annotation)]
        if not any(
            isinstance(each, IdOf)
            for part in parts
            for each in getattr(part, "__metadata__", ()) or getattr(part, "metadata", ())
        ):
            raise SchemaError(f"{cls.__name__}.{name}: Ref is for an id, `Id[User]` or `Id[User] | None`.")
        if reference.on_delete == "set_null" and type(None) not in get_args(field.annotation):
            raise SchemaError(f"{cls.__name__}.{name} cannot become null; annotate it as `Id[...] | None`.")
        if not any(
            index.total is None and index.fields[0] in (name, names[name]) for index in cls.__indexes__.values()
        ):
            index = found[f"ref_{name}"] = Index(name)
            index.name = f"ref_{name}"
    return found


def _total_path(cls: type[Document], index: str, path: str, names: Mapping[str, str]) -> str:
    """The path in storage of a number that is added up."""
    stored = _index_path(cls, index, path, names)
    field = cls.model_fields.get(path) or next((each for each in cls.model_fields.values() if each.alias == path), None)
    if field is not None and not _is_number(field.annotation):
        raise SchemaError(
            f"{cls.__name__}.{index} adds up {path!r}, which holds no number; annotate it as int or float."
        )
    return stored


def _is_number(annotation: Any) -> bool:
    kinds = {annotation, *get_args(annotation)}
    return bool(kinds & {int, float}) and all(
        kind in (int, float, type(None)) or kind is UNSET for kind in get_args(annotation)
    )


def _how_to_name(cls: type[Document]) -> str:
    return f'write `class {cls.__name__}(Document, table="…")`'


def _subclasses(cls: type[Document]) -> list[type[Document]]:
    return [each for direct in cls.__subclasses__() for each in (direct, *_subclasses(direct))]


_WIRE_TYPES = (dict, list, tuple, str, bytes, int, float, type(None))
ON_THE_WIRE: Final[Mapping[str, object]] = MappingProxyType({})
"""The context of what is dumped for the wire, by which documents know. To serializers of apps it is as good as none."""


def as_wire(value: object) -> object:
    """What stands for a Python object that is no wire value itself.

    That is the fields of a model or dataclass, an enum's value, an array for a set, and the text of dates, UUIDs,
    decimals and the like.

    Raises:
        TypeError: nothing does.
    """
    match value:
        case Document() if value.__plain__ is not None:
            return value.to_fields()
        case BaseModel():
            dumped: object = value.model_dump(by_alias=True, warnings=False, context=ON_THE_WIRE)
            return dumped if isinstance(dumped, _WIRE_TYPES) else as_wire(dumped)  # a RootModel is what it holds
        case Enum():
            return value.value
        case set() | frozenset():
            return sorted(value, key=repr)  # the same array for the same set, in every process
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        serializer = getattr(value, "__pydantic_serializer__", None)
        if serializer is not None:
            return serializer.to_python(value, by_alias=True, context=ON_THE_WIRE)
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: part for name, part in fields.items() if part is not UNSET}
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError as error:
        raise TypeError(str(error)) from None
