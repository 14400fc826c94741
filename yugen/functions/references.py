"""References between documents: what must be there, and what becomes of those who refer to what goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from yugen.schema import Document, IdOf, OnDelete, Reference


@dataclass(frozen=True, slots=True)
class Referrer:
    """A field that refers to documents of another table, or of its own.

    Attributes:
        table: whose field it is.
        field: its name in storage.
        target: the table it refers to.
        on_delete: what becomes of a document that refers to one that is deleted.
        index: an index that begins with the field.
    """

    table: str
    field: str
    target: str
    on_delete: OnDelete
    index: str


def referrers(documents: Mapping[str, type[Document]]) -> list[Referrer]:
    """All fields of these documents that are declared with `Ref`."""
    found = []
    for table, cls in documents.items():
        for name, field in cls.model_fields.items():
            reference = next((each for each in field.metadata if isinstance(each, Reference)), None)
            if reference is None:
                continue
            stored = field.alias or name
            (index,) = (
                index.name for index in [each for each in cls.__indexes__.values() if each.fields[:1] == (stored,)][:1]
            )
            found.append(Referrer(table, stored, _target(field), reference.on_delete, index))
    return found


def _target(field: Any) -> str:
    metadata = [*field.metadata]
    for part in (field.annotation, *get_args(field.annotation)):
        if part is not NoneType and get_origin(part) is Annotated:
            metadata += get_args(part)[1:]
    return next(each.table for each in metadata if isinstance(each, IdOf))
