"""The HTTP API of an app as an OpenAPI document: a path for each function that clients may call."""

from __future__ import annotations

import inspect
from typing import Any, Final

import orjson

from yugen.codegen.json_schema import GIVEN, TAKEN, Json, Mode, schemas
from yugen.functions.registry import App, Registered

REFERENCE: Final = "#/components/schemas/"

_FAILURE: Final[Json] = {
    "description": "What a function that has failed answers with.",
    "type": "object",
    "properties": {
        "status": {"const": "error"},
        "errorMessage": {"type": "string"},
        "errorData": {"description": "What a YugenError carries."},
        "logLines": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["status", "errorMessage"],
}
_REFUSAL: Final[Json] = {
    "description": "The answer to a request that has not come to a function.",
    "type": "object",
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
    "required": ["code", "message"],
}
_SECURITY: Final[Json] = {
    "token": {"type": "http", "scheme": "bearer", "description": "A token of one of the app's providers."}
}


def openapi_json(app: App) -> str:
    """The document as JSON text."""
    return orjson.dumps(openapi(app), option=orjson.OPT_INDENT_2).decode() + "\n"


def openapi(app: App) -> Json:
    """The document. Its components hold the JSON Schema of what each function takes and gives.

    `messages.send.arguments` and `messages.send.result` are those of the function `messages:send`. The models and
    documents that these have in common have components of their own.
    """
    functions = [each for _, each in sorted(app.functions.items()) if each.function.public and not each.system]
    annotations: list[tuple[str, Mode, Any]] = []
    for each in functions:
        takes = each.signature.takes
        annotations += [(each.path, TAKEN, dict[str, Any] if takes is None else takes)]
        annotations += [(each.path, GIVEN, each.signature.gives)]
    found, definitions = schemas(annotations, f"{REFERENCE}{{model}}")
    components: Json = {"yugen.failure": _FAILURE, "yugen.refusal": _REFUSAL}
    for each in functions:
        # The type of all arguments is none of the app's, so it stands under the name of its function only.
        arguments = found[each.path, TAKEN]
        arguments = definitions.pop(arguments.get("$ref", "").removeprefix(REFERENCE), arguments)
        arguments.pop("title", None)
        components[f"{_name(each)}.arguments"] = arguments
        components[f"{_name(each)}.result"] = found[each.path, GIVEN]
    return {
        "openapi": "3.1.1",
        "info": {
            "title": app.folder.name,
            "version": "1",
            "description": "The functions of this app that clients may call.",
        },
        "paths": {_path(each): {"post": _operation(each, components)} for each in functions},
        "components": {"schemas": components | definitions, "securitySchemes": _SECURITY},
        # With a token or without: what a caller may do is the function's to say.
        "security": [{}, {"token": []}],
        "tags": [{"name": module} for module in sorted({_module(each) for each in functions})],
    }


def _operation(function: Registered, components: Json) -> Json:
    name = _name(function)
    summary, _, description = inspect.cleandoc(function.function.__doc__ or "").partition("\n")
    needed = ["args"] if components[f"{name}.arguments"].get("required") else []
    return {
        "operationId": name,
        "tags": [_module(function)],
        **({"summary": summary} if summary else {}),
        **({"description": description.strip()} if description.strip() else {}),
        "x-function": {"path": function.path, "kind": function.kind},
        "requestBody": {
            "required": True,
            "content": _json(
                {
                    "type": "object",
                    "properties": {"args": _refer(f"{name}.arguments"), "format": {"const": "json"}},
                    "required": needed,
                }
            ),
        },
        "responses": {
            "200": {
                "description": "The result, or how the function has failed.",
                "content": _json({"oneOf": [_success(_refer(f"{name}.result")), _refer("yugen.failure")]}),
            },
            "default": {
                "description": "The function has not been called.",
                "content": _json(_refer("yugen.refusal")),
            },
        },
    }


def _success(result: Json) -> Json:
    return {
        "type": "object",
        "properties": {
            "status": {"const": "success"},
            "value": result,
            "logLines": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["status", "value"],
    }


def _path(function: Registered) -> str:
    return f"/api/run/{function.path.replace(':', '/')}"


def _name(function: Registered) -> str:
    return function.path.replace("/", ".").replace(":", ".")


def _module(function: Registered) -> str:
    return function.path.partition(":")[0]


def _refer(name: str) -> Json:
    return {"$ref": f"{REFERENCE}{name}"}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}
