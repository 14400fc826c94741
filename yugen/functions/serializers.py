"""What annotations say about how a result is sent, beside what its models and documents know by themselves.

An object carries the serializers of its class with it. Those of `list[Annotated[int, PlainSerializer(...)]]`, or of a
TypedDict, are in the annotation only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

from pydantic_core import CoreSchema, SchemaSerializer

from yugen.functions.wire_types import runs
from yugen.schema import ON_THE_WIRE
from yugen.validation import parts

Serializer: TypeAlias = Callable[[Any], Any]

_OF_FIELDS: Final = frozenset({"serialization_alias", "serialization_exclude", "serialization_exclude_if"})


def serializer(schema: CoreSchema) -> Serializer | None:
    """What makes of a result what is sent for it; None where the result by itself tells that.

    Args:
        schema: what the annotation of the result is to pydantic-core.
    """
    if not _serializes(schema):
        return None
    return partial(SchemaSerializer(schema).to_python, by_alias=True, warnings=False, context=ON_THE_WIRE)


def _serializes(schema: Any) -> bool:
    serializer, cls = schema.get("serialization", {}), schema.get("cls")
    if hasattr(cls, "__pydantic_serializer__"):
        own = [each.func for each in cls.__pydantic_decorators__.model_serializers.values()]
        return runs(serializer) and serializer["function"] not in own
    return runs(serializer) or not _OF_FIELDS.isdisjoint(schema) or any(map(_serializes, parts(schema)))
