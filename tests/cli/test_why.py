from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reliability.serving import YUGEN, Process, serving
from tests.apps import write_app
from tests.server.peers import NOTES
from yugen.cli.why import in_words
from yugen_client import AsyncClient

RAN: dict[str, Any] = {
    "at": 1_700_000_000_123.0,
    "function": "notes:texts",
    "functionType": "query",
    "args": '{"book":"a"}',
    "ts": 1_700_000_000_000_000_000,
    "milliseconds": 1.25,
    "ownMilliseconds": 0.5,
    "documents": 1000,
    "ranges": 1,
    "reads": ['notes.by_book: book == "a"'],
}
BECAUSE: dict[str, Any] = {
    "commit": 1_700_000_000_000_000_000,
    "mutation": "notes:add",
    "requestId": "0123456789abcdef",
    "document": "k5",
    "table": "notes",
    "change": "changed",
    "fields": ["stars", "text"],
    "read": 'notes.by_book: book == "a"',
}


async def why(*arguments: str | Path) -> tuple[int, str]:
    async with Process(YUGEN, "why", *arguments) as process:
        status = await process.ended()
        return status, "\n".join(process.lines)


async def test_a_rerun_is_explained(tmp_path: Path) -> None:
    async with serving(write_app(tmp_path, notes=NOTES), tmp_path / "data") as server:
        here = ("--url", server.url, "--data", tmp_path / "data")
        assert await why(*here) == (0, "Nothing has run again, lost a race or taken long since the server started.")
        async with AsyncClient(server.url) as client:
            counts = client.subscribe("notes:count", {"book": "a"})
            assert await anext(counts) == 0
            await client.mutation("notes:add", {"book": "a", "text": "x"})
            assert await anext(counts) == 1
        status, text = await why(*here)
        assert status == 0
        happened, args, because, read = text.splitlines()
        assert happened.split("  ", 1)[1].startswith("notes:count ran again in ")
        assert happened.endswith(" ms for 1 subscriber, with another result")
        assert args == '    args {"book":"a"}'
        assert because.startswith("    because notes:add inserted ")
        assert because.endswith(" into notes")
        assert read == '    which it had read in notes.by_book: book == "a"'
        key = (tmp_path / "data" / "admin_key").read_text().strip()
        status, text = await why("notes:count", "--json", "--url", server.url, "--admin-key", key, "--limit", "5")
        assert json.loads(text)["because"]["mutation"] == "notes:add"
        assert (await why("notes:none", *here))[1].startswith("Nothing ")
        assert await why("--url", server.url, "--admin-key", "wrong") == (
            3,
            "The admin key is not the one of this deployment; see its data folder.",
        )
        status, text = await why("--url", server.url, "--data", tmp_path)
        assert (status, text) == (
            3,
            f"There is no admin key in {tmp_path}; name the folder with --data, or give the key with --admin-key.",
        )


@pytest.mark.parametrize(
    ("occurrence", "words"),
    [
        (
            {"kind": "rerun", "subscribers": 3, "changed": False, "because": BECAUSE},
            [
                "notes:texts ran again in 1.2 ms for 3 subscribers, with the same result",
                'args {"book":"a"}',
                "because notes:add changed stars, text of k5 in notes",
                'which it had read in notes.by_book: book == "a"',
            ],
        ),
        (
            {"kind": "conflict", "losses": 2, "because": BECAUSE | {"change": "deleted", "read": None}},
            [
                "notes:texts lost a race after 1.2 ms, for the 2nd time, and ran again",
                'args {"book":"a"}',
                "because notes:add deleted k5 from notes",
            ],
        ),
        (
            {"kind": "conflict", "losses": 11, "because": {"mutation": None}, "args": "{}"},
            [
                "notes:texts lost a race after 1.2 ms, for the 11th time, and ran again",
                "because another node wrote something of it",
            ],
        ),
        (
            {"kind": "slow", "ranges": 3},
            [
                "notes:texts (query) took 1.2 ms, 0.8 ms of that to get a turn, and read 1,000 documents in 3 ranges",
                'args {"book":"a"}',
                'read notes.by_book: book == "a"',
                "and 2 more ranges",
            ],
        ),
        (
            {"kind": "slow", "functionType": "action", "milliseconds": 7000.0, "ranges": 0, "reads": [], "args": "{}"},
            ["notes:texts (action) took 7,000.0 ms"],
        ),
    ],
)
def test_each_kind_reads_as_a_sentence(occurrence: dict[str, Any], words: list[str]) -> None:
    lines = in_words(RAN | occurrence).split("\n    ")
    assert [lines[0].split("  ", 1)[1], *lines[1:]] == words
