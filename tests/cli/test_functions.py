from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.apps import write_app
from tests.cli.calling import call, done
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


def test_listing_leaves_data_as_it_is(tmp_path: Path) -> None:
    app = write_chat(tmp_path)
    done("functions", "--data", tmp_path / "typo", "--app", app)
    assert not (tmp_path / "typo").exists()
    data = tmp_path / "data"
    done("run", "messages:list", "--data", data, "--app", app)
    write_app(
        tmp_path, schema="from yugen import Document\nclass New(Document, table='new'):\n    x: int\n", messages=""
    )
    assert done("functions", "--json", "--data", data, "--app", app).json == []
    assert done("data", "--data", data).lines == ["messages", "users"]


def test_workflows_are_listed(tmp_path: Path) -> None:
    flows = """
        from yugen import WorkflowCtx, workflow

        @workflow
        async def follow(ctx: WorkflowCtx, times: int = 1) -> int:
            return times
    """
    here = ["--data", str(tmp_path / "data"), "--app", str(write_app(tmp_path, flows=flows))]
    assert done("functions", *here).lines == ["workflow flows:follow(times?: float) -> float"]
    called = call("run", "flows:follow", *here)
    assert (called.status, "flows:follow is a workflow, and is not called" in called.err) == (1, True)


def test_an_app_that_cannot_be_listed(tmp_path: Path) -> None:
    called = call("functions", "--data", tmp_path, "--app", tmp_path / "none")
    assert (called.status, "There is no folder" in called.err) == (1, True)
    called = call("functions", "--data", tmp_path, "--app", write_app(tmp_path, messages="x = 1 / 0\n"))
    assert (called.status, "messages.py:1: ZeroDivisionError" in called.err) == (1, True)


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
