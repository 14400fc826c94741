from __future__ import annotations

from typing import Any

from reliability.fuzzing.openapi import APPS, explore


def only(document: Any, *paths: str) -> Any:
    return document | {"paths": {path: document["paths"][path] for path in paths}}


async def test_the_document_of_an_app_is_true() -> None:
    paths = ("/api/run/people/join", "/api/run/messages/list")
    explored = await explore(APPS["chat"], cases=5, seed=0, document=lambda found: only(found, *paths))

    assert explored.failures == []
    assert explored.counts["fits, answered"] >= 6
    assert explored.counts["does not fit, refused"] >= 6


async def test_a_document_that_is_not_true_is_found() -> None:
    def untrue(document: Any) -> Any:
        arguments = document["components"]["schemas"]["people.join.arguments"]
        arguments["properties"] |= {"more": {"type": "string"}}
        arguments["required"].append("more")
        return only(document, "/api/run/people/join")

    (failure,) = (await explore(APPS["chat"], cases=3, seed=0, document=untrue)).failures

    assert "it fits, and is refused" in failure
