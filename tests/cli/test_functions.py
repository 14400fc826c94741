from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import done
from tests.cli.chat import write_chat
from yugen.cli.functions import as_type


def test_functions_are_listed_as_in_python(tmp_path: Path) -> None:
    here = ["--data", str(tmp_path / "data"), "--app", str(write_chat(tmp_path))]
    assert done("functions", *here).lines == [
        "internal query messages:hidden() -> str",
        "query messages:list() -> list[str]",
        "mutation messages:put(table: str, fields: dict[str, Any]) -> str",
        "mutation messages:refuse() -> None",
        'mutation messages:send(author: str, body: str, likes?: float) -> Id["messages"]',
        'action messages:shout(kind: "loud" | "louder", count: Int64, who?: Id["users"] | None) -> str',
        "query messages:whoami() -> str | None",
    ]
    assert [each["path"] for each in done("functions", "messages:w", "--json", *here).json] == ["messages:whoami"]
    [shout] = done("functions", "messages:shout", "--json", *here).json
    assert (shout["kind"], shout["public"]) == ("action", True)
    assert shout["args"]["value"]["count"] == {"fieldType": {"type": "bigint"}, "optional": False}
    assert done("functions", "x", *here).err == "There is no function that begins so; there are 7.\n"


@pytest.mark.parametrize(
    ("validator", "text"),
    [
        ({"type": "any"}, "Any"),
        ({"type": "array", "value": {"type": "bytes"}}, "list[bytes]"),
        ({"type": "literal", "value": 'a"'}, '"a\\""'),
        ({"type": "union", "value": []}, "Never"),
        (
            {"type": "object", "value": {"a": {"fieldType": {"type": "null"}, "optional": True}}},
            "{a?: None}",
        ),
        ({"type": "new"}, "new"),
        ({}, "Any"),
    ],
)
def test_each_validator_reads_as_an_annotation(validator: dict[str, Any], text: str) -> None:
    assert as_type(validator) == text
