from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.calling import Called, call, done
from tests.cli.chat import write_chat
from yugen.cli.data import condition, in_columns


@pytest.fixture
def here(tmp_path: Path) -> list[str]:
    """The options for data of the chat, in which there are some messages."""
    options = ["--data", str(tmp_path / "data")]
    for number, author in enumerate(["Ada", "Bob", "Ada"]):
        text = f'{{"author": "{author}", "body": "b{number}", "likes": {number}}}'
        done("run", "messages:send", text, "--app", write_chat(tmp_path), *options)
    return options


def bodies(called: Called) -> list[str]:
    return [document["body"] for document in called.json]


def test_tables_are_listed(here: list[str]) -> None:
    assert done("data", *here).lines == ["messages", "users"]
    assert done("data", "--json", *here).json == [{"name": "messages"}, {"name": "users"}]


def test_documents_are_shown_in_columns(here: list[str]) -> None:
    head, newest, *_ = done("data", "messages", *here).lines
    assert head.split() == ["_id", "_creationTime", "author", "body", "likes"]
    assert newest.split()[2:] == ["Ada", "b2", "2"]


def test_documents_come_in_either_order_and_only_so_many(here: list[str]) -> None:
    assert bodies(done("data", "messages", "--json", *here)) == ["b2", "b1", "b0"]
    assert bodies(done("data", "messages", "--json", "--order", "asc", "--limit", "2", *here)) == ["b0", "b1"]
    limited = done("data", "messages", "--limit", "2", *here)
    assert len(limited.lines) == 3
    assert limited.err == "There are more; these are the first 2. Ask for others with --limit.\n"
    assert done("data", "messages", "--limit", "3", *here).err == ""


def test_pages_make_no_difference(here: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yugen.cli.data.PAGE", 1)
    assert bodies(done("data", "messages", "--json", *here)) == ["b2", "b1", "b0"]
    assert bodies(done("data", "messages", "author=Ada", "--json", *here)) == ["b2", "b0"]


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        (["author=Ada"], ["b2", "b0"]),
        (["author!=Ada"], ["b1"]),
        (["likes>=1"], ["b2", "b1"]),
        (["likes>1"], ["b2"]),
        (["likes<=0"], ["b0"]),
        (["likes<1", "author=Ada"], ["b0"]),
        (['likes="1"'], []),
        (["likes<x"], []),
        (["nothing=1"], []),
        (["nothing!=1"], ["b2", "b1", "b0"]),
        (["more.of=1"], []),
    ],
)
def test_conditions_must_all_hold(here: list[str], conditions: list[str], found: list[str]) -> None:
    assert bodies(done("data", "messages", *conditions, "--json", *here)) == found


def test_nothing_is_told_from_no_table(here: list[str]) -> None:
    assert done("data", "users", *here).err == "users has no documents.\n"
    assert done("data", "messages", "likes=9", *here).err == "No document of messages is so.\n"
    assert done("data", "user", *here).err == "There is no table user; see which there are with `yugen data`.\n"
    assert done("data", "_exports", *here).err == "_exports has no documents.\n"


def test_what_is_no_condition(here: list[str]) -> None:
    called = call("data", "messages", "likes", *here)
    assert called.status == 2
    assert called.err == "'likes' is no condition; write one like author=Ada or 'likes>=3'.\n"


def test_values_are_json_or_text() -> None:
    assert condition("a.b >= 3") == {"field": "a.b", "comparison": "gte", "value": 3}
    assert condition("a=x=y") == {"field": "a", "comparison": "eq", "value": "x=y"}
    assert condition("a==1") == {"field": "a", "comparison": "eq", "value": 1}
    assert condition("a!=null")["value"] is None
    assert condition("a=NaN")["value"] == "NaN"
    assert condition("a=")["value"] == ""
    assert condition('a="1"')["value"] == "1"


def test_what_is_stored_does_not_reach_the_terminal_as_it_is() -> None:
    [_, line] = in_columns([{"_id": "1", "_creationTime": 1, "text": "\x1b[31mred\nline", "long": "x" * 50}])
    assert "\\x1b[31mred\\nline" in line
    assert line.endswith("x…")


def test_data_that_is_not_there(tmp_path: Path) -> None:
    called = call("data", "--data", tmp_path)
    assert called.status == 1
    assert called.err.startswith(f"There is no data in {tmp_path};")
    assert not list(tmp_path.iterdir())
