"""What tells the form of a class's documents from any other: whether stored documents must be checked anew."""

from __future__ import annotations

import hashlib
import json
from types import CodeType
from typing import Any, Final
from weakref import WeakKeyDictionary

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema

from yugen.functions.references import referrers
from yugen.schema import Document


class _Schema(GenerateJsonSchema):
    """JSON schema in which types that JSON does not have stand by their names."""

    def handle_invalid_for_json_schema(self, schema: CoreSchema, error_info: str) -> JsonSchemaValue:
        return {"type": f"{schema['type']} {error_info.split(' at ', maxsplit=1)[0]}"}


_shapes: Final[WeakKeyDictionary[type[Document], str]] = WeakKeyDictionary()


def shape(cls: type[Document]) -> str:
    """A digest of all that decides which documents fit: fields, types, constraints, validators, references."""
    known = _shapes.get(cls)
    if known is None:
        known = _shapes[cls] = _digest(cls)  # it takes milliseconds, and every runner of the app asks
    return known


def _digest(cls: type[Document]) -> str:
    schema = cls.model_json_schema(by_alias=True, schema_generator=_Schema)
    parts = [json.dumps(schema, sort_keys=True, default=repr)]
    parts += [f"{referrer.field} -> {referrer.target}" for referrer in referrers({"": cls})]
    decorators = cls.__pydantic_decorators__
    for found in (decorators.field_validators, decorators.model_validators, decorators.validators):
        parts += [f"{name} {_code(decorator)}" for name, decorator in sorted(found.items())]
    return hashlib.sha256("\n".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]


def _code(decorator: Any) -> str:
    function = getattr(decorator.func, "__func__", decorator.func)
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    constants = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
    return f"{code.co_code.hex()} {constants!r}"
