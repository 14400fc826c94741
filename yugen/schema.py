"""What an app says about its data: `Document`, `Id`, `Index` and `UNSET`.

```python
class Message(Document, table="messages"):
    author: Id[User]
    body: str

    by_author = Index("author")
```
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import MISSING as UNSET
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema, to_jsonable_python

from yugen import ids
from yugen.catalog import BY_CREATION_TIME, BY_ID, CREATION_TIME, Catalog
from yugen.errors import Refused

__all__ = ["UNSET", "Document", "Id", "Index", "SchemaError", "declared_tables"]

if TYPE_CHECKING:
    from typing_extensions import Self

_NAME = re.compile(r"(?=.{1,64}\Z)_*[A-Za-z0-9][A-Za-z0-9_]*\Z")
_INDEX_FIELDS_MAX = 16
_INDEXES_MAX = 32


class SchemaError(Refused):
    """A declaration that cannot be a table or an index."""

    code = "SchemaError"


@dataclass(frozen=True, slots=True)
class IdOf:
    """The table that an id belongs to, as an annotation says it: a document class, its name, or a table's name."""

    target: Any

    @property
    def table(self) -> str:
        """The name of the table."""
        if isinstance(self.target, type) and issubclass(self.target, Document):
            return self.target.__table__
        name = self.target if isinstance(self.target, str) else getattr(self.target, "__forward_arg__", "")
        return next((cls.__table__ for cls in declared_tables() if cls.__name__ == name), name)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._check,
            serialization=core_schema.to_string_ser_schema(),
            json_schema_input_schema=core_schema.str_schema(),
        )

    def _check(self, value: object, info: core_schema.ValidationInfo) -> str:
        table = self.table
        if not isinstance(value, str):
            raise PydanticCustomError("id_type", "an id of table {table} is a string", {"table": table})
        catalog = info.context.get("catalog") if isinstance(info.context, Mapping) else None
        if catalog is not None:
            check_id(value, table, catalog)
        return value


def check_id(text: str, table: str, catalog: Catalog) -> None:
    """Raises a pydantic error unless `text` is an id of the table."""
    try:
        number, _ = ids.decode_id(text)
    except ids.InvalidId:
        raise PydanticCustomError("id", "expected an id of table {table}", {"table": table}) from None
    actual = catalog.numbered(number)
    if actual is None or actual.name != table:
        other = actual.name if actual else "an unknown table"
        raise PydanticCustomError(
            "id_table", "expected an id of table {table}, this one belongs to {other}", {"table": table, "other": other}
        )


T = TypeVar("T")

if TYPE_CHECKING:

    class Id(str, Generic[T]):
        """The id of a document of `T`: a string at run time that carries its table."""

else:

    class Id(str):
        """The id of a document of `T`: a string at run time that carries its table.

        `Id[User]`, `Id["User"]` for a class declared further down, `Id["_storage"]` for a system table.
        """

        __slots__ = ()

        def __class_getitem__(cls, target: Any) -> Any:
            return target if isinstance(target, TypeVar) else Annotated[str, IdOf(target)]


class Index:
    """An ordered index over fields of a document, by which `ctx.db.query(...).with_index` reads ranges.

    `creation_time` is appended to every index. Nested fields are written as dotted paths.

    Args:
        fields: the fields to order by, at most 16, under their names in storage.
        unique: refuse a second document with the same values of all fields.
    """

    def __init__(self, *fields: str, unique: bool = False) -> None:
        if not 1 <= len(fields) <= _INDEX_FIELDS_MAX:
            raise SchemaError(f"An index has 1 to {_INDEX_FIELDS_MAX} fields, not {len(fields)}.")
        self.fields = fields
        self.unique = unique
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Index({', '.join(map(repr, self.fields))}{', unique=True' if self.unique else ''})"


class Document(BaseModel):
    """A document of a table: `class Message(Document, table="messages")`.

    A field left at a default of None or `UNSET` is absent in storage and on the wire; other defaults are stored. `id`
    and `creation_time` are given by `ctx.db.insert` and are `_id` and `_creationTime` in storage and on the wire.
    """

    model_config = ConfigDict(
        extra="forbid",
        ignored_types=(Index,),
        populate_by_name=True,
        protected_namespaces=(),
        val_json_bytes="base64",
        ser_json_bytes="base64",
    )

    __table__: ClassVar[str] = ""
    __indexes__: ClassVar[dict[str, Index]] = {}

    if TYPE_CHECKING:
        id: Id[Self] = ...  # type: ignore[assignment]
    else:
        id: str = Field(default="", alias="_id")
    creation_time: float = Field(default=0.0, alias=CREATION_TIME)

    def __init_subclass__(cls, *, table: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if table is not None:
            check_name("table", table)
            cls.__table__ = table
        cls.__indexes__ = {
            **cls.__indexes__,
            **{name: value for name, value in vars(cls).items() if isinstance(value, Index)},
        }

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        if len(cls.__indexes__) > _INDEXES_MAX:
            raise SchemaError(f"{cls.__name__} has {len(cls.__indexes__)} indexes; a table has at most {_INDEXES_MAX}.")
        names = {field.alias or name for name, field in cls.model_fields.items()}
        for name, index in cls.__indexes__.items():
            check_name("index", name)
            if name in (BY_ID, BY_CREATION_TIME):
                raise SchemaError(f"{cls.__name__}.{name}: every table has this index already; choose another name.")
            for path in index.fields:
                if path.split(".")[0] not in names:
                    raise SchemaError(f"{cls.__name__}.{name} orders by {path!r}, which is not a field of the document.")

    def to_fields(self) -> dict[str, Any]:
        """The fields as they are stored: by their names in storage, without absent ones, `_id` and `_creationTime`
        only once the document has them."""
        absent = {
            name
            for name, field in type(self).model_fields.items()
            if name not in self.model_fields_set
            and (field.default is None or field.default is UNSET or name in ("id", "creation_time"))
        }
        return self.model_dump(by_alias=True, exclude=absent)


def check_name(kind: str, name: str) -> None:
    """Raises SchemaError unless `name` can name a table or an index of an app (protocol.md 10)."""
    if not _NAME.match(name) or name.startswith("_"):
        raise SchemaError(
            f"{name!r} cannot name {'an' if kind == 'index' else 'a'} {kind}: "
            "use a letter, then letters, digits and underscores, 64 at most."
        )


def declared_tables() -> Iterator[type[Document]]:
    """Every document class with a table, also those declared in modules that no app has loaded."""
    pending: list[type[Document]] = Document.__subclasses__()
    while pending:
        cls = pending.pop()
        pending.extend(cls.__subclasses__())
        if cls.__table__:
            yield cls


def as_wire(value: object) -> object:
    """What stands for a Python object that is no wire value itself: a document's or model's fields, an enum's value,
    the text of dates, UUIDs and decimals."""
    if isinstance(value, Document):
        return value.to_fields()
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    return to_jsonable_python(value)
