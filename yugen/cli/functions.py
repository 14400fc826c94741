"""`yugen functions`: what each function of the app takes and gives."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from yugen.cli.remote import Where, deployment, is_without_server, run_command

_NAMES: Final = {
    "any": "Any",
    "null": "None",
    "boolean": "bool",
    "number": "float",
    "bigint": "Int64",
    "string": "str",
    "bytes": "bytes",
}


def list_functions(prefix: str | None, *, as_json: bool, where: Where) -> None:
    """Prints the functions whose paths begin so; as JSON one on each line."""
    run_command(where.url, _list(prefix or "", as_json=as_json, where=where))


async def _list(prefix: str, *, as_json: bool, where: Where) -> None:
    if is_without_server(where):
        specs = _declared(where.app)
    else:
        async with deployment(where, "server") as api:
            specs = await api.call("_system/cli/modules:apiSpec")
    specs = [_named(spec) for spec in specs]
    found = [spec for spec in specs if spec["path"].startswith(prefix)]
    for spec in found:
        print(json.dumps(spec, ensure_ascii=False) if as_json else in_words(spec))
    if not found and not as_json:
        print(f"There is no function that begins so; there are {len(specs)}.", file=sys.stderr)


def _declared(app: Path) -> list[dict[str, Any]]:
    """What the app itself says; to look at it, no data is touched."""
    from yugen.cli.local import app_in
    from yugen.system.modules import spec

    return spec(app_in(app))


def in_words(spec: dict[str, Any]) -> str:
    """A function as a line: what it is, its arguments and its result, as in Python; or what requests it answers."""
    if route := spec.get("route"):
        return f"http {route['method']} {route['path']} -> {spec['path']}"
    internal = "" if spec["public"] or spec["kind"] == "workflow" else "internal "
    args = spec["args"]
    parts = [_argument(name, field) for name, field in args["value"].items()] if args["type"] == "object" else ["**Any"]
    return f"{internal}{spec['kind']} {spec['path']}({', '.join(parts)}) -> {as_type(spec['returns'])}"


def as_type(validator: dict[str, Any]) -> str:
    """A validator in the form of an annotation."""
    match validator:
        case {"type": "id", "tableName": table}:
            return f'Id["{table}"]'
        case {"type": "literal", "value": value}:
            return json.dumps(value, ensure_ascii=False)
        case {"type": "array", "value": item}:
            return f"list[{as_type(item)}]"
        case {"type": "record", "keys": key, "values": item}:
            return f"dict[{as_type(key)}, {as_type(item.get('fieldType', item))}]"
        case {"type": "object", "value": fields}:
            return f"{{{', '.join(_argument(name, field) for name, field in fields.items())}}}"
        case {"type": "union", "value": choices}:
            return " | ".join(map(as_type, choices)) or "Never"
        case {"type": str(kind)}:
            return _NAMES.get(kind, kind)
    return "Any"


def _argument(name: str, field: dict[str, Any]) -> str:
    return f"{name}{'?' if field['optional'] else ''}: {as_type(field['fieldType'])}"


def _named(spec: dict[str, Any]) -> dict[str, Any]:
    """A function under the names of Yugen; Convex names its functions by files of JavaScript."""
    if spec["functionType"] == "HttpAction":
        return {"path": spec["action"], "kind": "http", "route": {"method": spec["method"], "path": spec["path"]}}
    module, _, name = spec["identifier"].rpartition(":")
    return {
        "path": f"{module.removesuffix('.js')}:{name}",
        "kind": spec["functionType"].lower(),
        "public": spec["visibility"]["kind"] == "public",
        "args": spec["args"],
        "returns": spec["returns"],
    }
