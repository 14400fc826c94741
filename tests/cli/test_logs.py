from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from reliability.serving import YUGEN, Process, Server, serving
from tests.cli.calling import call_there, done_there
from tests.cli.chat import write_chat
from yugen.cli.logs import Wanted, in_words

RAN: dict[str, Any] = {
    "udfType": "Mutation",
    "identifier": "messages:send",
    "logLines": ["[LOG] 'a'", "[WARN] two\nlines \x1b[31m"],
    "timestamp": 1_700_000_000.5,
    "executionTime": 0.00125,
    "error": None,
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(write_chat(tmp_path), tmp_path / "data") as made:
        yield made


def where(server: Server, tmp_path: Path) -> tuple[str, ...]:
    return ("--url", server.url, "--data", str(tmp_path / "data"))


async def test_runs_are_shown_and_filtered(server: Server, tmp_path: Path) -> None:
    here = where(server, tmp_path)
    assert (await done_there("logs", *here)).err == "Nothing has run like that since the server started.\n"
    await done_there("run", "messages:send", '{"author": "Ada", "body": "hi"}', *here)
    await call_there("run", "messages:refuse", *here)
    await done_there("run", "messages:list", *here)

    sent, logged, refused, *error, listed = (await done_there("logs", *here)).lines
    assert "mutation messages:send ran in " in sent
    assert logged == "    [LOG] 'sending hi'"
    assert "mutation messages:refuse failed in " in refused
    assert "Uncaught YugenError" in error[0]
    assert "query messages:list ran in " in listed

    async def found(*filters: str) -> list[str]:
        called = await done_there("logs", *filters, "--json", *here)
        return [entry["identifier"].removeprefix("messages:") for entry in called.json]

    assert await found() == ["send", "refuse", "list"]
    assert await found("--limit", "2") == ["refuse", "list"]
    assert await found("--kind", "query") == ["list"]
    assert await found("--failures") == ["refuse"]
    assert await found("messages:send") == ["send"]
    assert await found("messages") == ["send", "refuse", "list"]
    assert await found("mess") == []
    assert await found("--since", "1h") == ["send", "refuse", "list"]
    assert await found("--since", "2999-01-01") == []


async def test_following_goes_on_over_a_restart(server: Server, tmp_path: Path) -> None:
    here = where(server, tmp_path)
    await done_there("run", "messages:list", *here)
    async with Process(YUGEN, "logs", "--follow", "--kind", "query", *here) as process:
        await process.printed("query messages:list ran in")
        await server.stop()
        await process.printed(f"{server.url} is not there; waiting for it.")
        await server.start()
        await done_there("run", "messages:whoami", *here)
        await process.printed("query messages:whoami ran in")
        process.interrupt()
        assert await process.ended() == 130
        assert len(process.lines) == 3


def test_a_run_reads_as_a_line_and_what_it_logged() -> None:
    head, *below = in_words(RAN).splitlines()
    assert head.split("  ", 1)[1] == "mutation messages:send ran in 1.2 ms"
    assert below == ["    [LOG] 'a'", "    [WARN] two", "    lines \\x1b[31m"]
    failed = in_words(RAN | {"error": "Uncaught ValueError: no\n    at f", "logLines": []}).splitlines()
    assert "failed in 1.2 ms" in failed[0]
    assert failed[1:] == ["    Uncaught ValueError: no", "        at f"]


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Wanted(), True),
        (Wanted(function="messages"), True),
        (Wanted(function="messages:sen"), False),
        (Wanted(kind="query"), False),
        (Wanted(failures=True), False),
        (Wanted(since=1_700_000_000.5), True),
        (Wanted(since=1_700_000_000.6), False),
    ],
)
def test_what_is_wanted(wanted: Wanted, taken: bool) -> None:
    assert wanted.takes(json.loads(json.dumps(RAN))) is taken
