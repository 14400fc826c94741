from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.apps import write_app
from tests.engine import ask
from tests.server.peers import NOTES, SECONDS_MAX
from yugen.cli import dev
from yugen.runtime import spawn
from yugen.server.backend import NotServing
from yugen.server.yugen import Yugen

BROKEN = "import yugen\n\ndef broken(:\n"


@pytest.fixture
async def yugen(tmp_path: Path) -> AsyncIterator[Yugen]:
    made = Yugen(write_app(tmp_path, notes=NOTES), development=True)
    yield made
    await made.close()


def test_what_there_is_to_open(yugen: Yugen) -> None:
    last = "Save a file in app/ and it is taken up; Ctrl-C stops the server."
    assert dev.what_to_open(Yugen(yugen.app, docs=False), "http://here") == [last]
    page = yugen.app.parent / "public" / "index.html"
    page.parent.mkdir()
    page.write_text("hello")
    assert dev.what_to_open(yugen, "http://here") == [
        "  http://here       the page in public/",
        "  http://here/docs  the functions, to try out",
        last,
    ]


async def test_what_is_to_be_done_after_each_load_is_done(
    yugen: Yugen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done: asyncio.Queue[int] = asyncio.Queue()

    async def fails(yugen: Yugen) -> None:
        raise OSError("the disk is full")

    async def does(yugen: Yugen) -> None:
        done.put_nowait(await ask((await yugen.backend()).runtime, "notes:count", book="a"))

    monkeypatch.setattr(dev, "AFTER_LOAD", [fails, does])
    async with asyncio.timeout(SECONDS_MAX), dev.started(yugen, pytest.fail):
        assert await done.get() == 0
        write_app(tmp_path, notes=BROKEN)
        write_app(tmp_path, notes=NOTES.replace("return len(", "return 100 + len("))
        assert await done.get() == 100
    assert caplog.text.count("fails has failed") == 2
    assert "the disk is full" in caplog.text
    assert spawn._early == []


@pytest.mark.parametrize("wanted_by", ["package.json", "app/_generated/api.js"])
async def test_types_are_written_after_each_load_where_something_uses_them(
    wanted_by: str, yugen: Yugen, tmp_path: Path
) -> None:
    await yugen.start()
    await dev.write_types(yugen)
    types = tmp_path / "app/_generated/api.d.ts"
    assert not types.exists()
    (tmp_path / wanted_by).parent.mkdir(exist_ok=True)
    (tmp_path / wanted_by).write_text("{}")
    await dev.write_types(yugen)
    assert "count: " in types.read_text()
    assert "added" not in types.read_text()
    write_app(tmp_path, notes=f"{dedent(NOTES)}\n@query\nasync def added(ctx: QueryCtx) -> None: ...\n")
    await yugen.reload()
    await dev.write_types(yugen)
    assert "added: " in types.read_text()


async def test_an_app_that_does_not_load_is_served_once_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    yugen = Yugen(write_app(tmp_path, notes=BROKEN), development=True)
    ready = asyncio.Event()
    async with asyncio.timeout(SECONDS_MAX), dev.started(yugen, ready.set):
        assert not yugen.is_serving
        with pytest.raises(NotServing, match=r"notes\.py:3"):
            await yugen.backend()
        write_app(tmp_path, notes=NOTES)
        await ready.wait()
        assert await ask((await yugen.backend()).runtime, "notes:count", book="a") == 0
    [said] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "Not started" in said.getMessage()
    assert "def broken(:" in said.getMessage()
