"""What tools ask a server that has loaded the app."""

from __future__ import annotations

import json
from pathlib import Path

from tests.apps import write_app
from tests.engine import encoded, engine, value_of
from tests.server.peers import NOTES
from yugen.codegen.declarations import declarations
from yugen.codegen.openapi import openapi_json
from yugen.functions.registry import load
from yugen.storage.memory import MemoryStore


async def test_the_same_as_from_the_app_itself(tmp_path: Path) -> None:
    folder = write_app(tmp_path, notes=NOTES)
    async with engine(MemoryStore(), folder) as runtime:
        types = value_of(await runtime.query("_system/codegen:types", encoded(), public=False))
        document = value_of(await runtime.query("_system/codegen:openapi", encoded(), public=False))
    app = load(folder)
    assert types == declarations(app)
    assert document == openapi_json(app)
    assert "/api/run/notes/add" in json.loads(document)["paths"]
    assert not any("_system" in text for text in (document, *types.values()))
