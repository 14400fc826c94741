from __future__ import annotations

import json

from openapi_spec_validator import validate

from yugen.codegen.openapi import openapi, openapi_json
from yugen.functions.registry import App


def test_the_document_is_valid(app: App) -> None:
    document = openapi(app)
    validate(document)
    assert json.loads(openapi_json(app)) == document


def test_there_is_a_path_for_each_public_function(app: App) -> None:
    document = openapi(app)
    assert document["paths"].keys() == {
        f"/api/run/{each.path.replace(':', '/')}" for each in app.functions.values() if each.function.public
    }
    assert "/api/run/admin/users/default" in document["paths"]


def test_arguments_have_to_be_there_if_one_has_to(app: App) -> None:
    def required(path: str) -> object:
        content = openapi(app)["paths"][path]["post"]["requestBody"]["content"]
        return content["application/json"]["schema"]["required"]

    assert required("/api/run/messages/send") == ["args"]
    assert required("/api/run/messages/list") == []


def test_components(app: App) -> None:
    schemas = openapi(app)["components"]["schemas"]
    assert schemas["messages.send.arguments"] == {
        "type": "object",
        "properties": {
            "author": {"type": "string", "x-table": "users"},
            "body": {"type": "string"},
            "kind": {"type": "string", "enum": ["text", "image"], "default": "text"},
        },
        "required": ["author", "body"],
        "additionalProperties": False,
    }
    assert schemas["messages.send.result"] == {"type": "string", "x-table": "messages"}
    user = schemas["User"]
    assert user["required"] == ["_id", "_creationTime", "name", "role", "votes", "user settings"]
    assert user["properties"]["votes"]["type"] == "string"
    assert not any("Arguments" in name for name in schemas)


def test_documentation_is_carried_over(app: App) -> None:
    listing = openapi(app)["paths"]["/api/run/messages/list"]["post"]
    assert listing["summary"] == "The newest messages."
    assert listing["description"].startswith("Args:")
    schemas = openapi(app)["components"]["schemas"]
    assert schemas["User"]["description"] == "Somebody with an account."
    assert schemas["User"]["properties"]["name"]["description"] == "What others see."
