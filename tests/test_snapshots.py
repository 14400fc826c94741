"""Moving all of a deployment by the command line: what comes out of the second is what came out of the first.

`YUGEN_DOCUMENTS=100000` moves that many; it takes some minutes on a slow machine.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

import pytest

from reliability.serving import Process, Server, serving
from tests.cli.chat import write_chat

DOCUMENTS: Final = int(os.environ.get("YUGEN_DOCUMENTS", "2000"))

WORDS: Final = min(400, 16_000_000 // DOCUMENTS)
"""About how many a document has, so that all fit into what one import may bring, 128 MiB."""

MEMORY_MAX: Final = 16 * 1024 * 1024
"""Bytes that a command may take beyond what it takes for next to nothing; parts of a file, and buffers."""

_MEASURED: Final = """
import re, sys
from pathlib import Path
from yugen.cli.main import main
main(sys.argv[1:])
print("peak", re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Messages of all kinds of values, some 2,000 bytes each, or fewer where there are very many."""
    dice = random.Random(7)
    odd = [None, {"$integer": "BQAAAAAAAAA="}, {"$bytes": "AAE="}, {"$float": "AAAAAAAA+H8="}, "5", [True, {"a": 0.1}]]
    for number in range(count):
        yield {
            "author": f"user{number % 100}",
            "body": "é" * dice.randrange(10) + "word " * dice.randrange(WORDS * 3 // 4, WORDS * 5 // 4),
            "likes": dice.randrange(1000),
            "more": odd[number % len(odd)],
        }


async def peak(server: Server, *arguments: str | Path) -> int:
    """Carries a command out; returns the bytes of memory that it has taken at most."""
    data = server._command[server._command.index("--data") + 1]
    command = (sys.executable, "-c", _MEASURED, *arguments, "--data", data)
    async with Process(*command) as process:
        assert await process.ended() == 0, process.lines
        return 1024 * int(process.lines[-1].removeprefix("peak "))


@pytest.mark.timeout(120 + DOCUMENTS // 100)
async def test_it_comes_back_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reliability.serving.SECONDS_MAX", 60 + DOCUMENTS / 200)
    app = write_chat(tmp_path)
    lines, first, second = tmp_path / "in.jsonl", tmp_path / "first.zip", tmp_path / "second.zip"
    with lines.open("w") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows(DOCUMENTS))
    (tmp_path / "one.jsonl").write_text('{"name": "Ada"}\n')
    async with serving(app, tmp_path / "one") as one, serving(app, tmp_path / "two") as two:
        little = await peak(one, "import", tmp_path / "one.jsonl", "--table", "users")
        much = await peak(one, "import", lines, "--table", "messages")
        assert much - little < MEMORY_MAX

        little = await peak(one, "export", tmp_path / "users.csv", "--table", "users")
        await peak(one, "export", first)
        await peak(two, "import", first)
        await peak(two, "export", second)
        assert first.read_bytes() == second.read_bytes()
        with ZipFile(second) as archive:
            assert archive.read("messages/documents.jsonl").count(b"\n") == DOCUMENTS

        for form in ("csv", "jsonl"):
            there = tmp_path / f"there.{form}"
            much = await peak(two, "export", there, "--table", "messages")
            assert there.stat().st_size > DOCUMENTS * WORDS * 4
            assert much - little < MEMORY_MAX
