"""What is asked for one update, some of it later than the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.apps import write_app
from tests.engine import change, engine, new_store
from tests.server.peers import NOTES
from yugen.runtime.queries import Subscription
from yugen.server import subscriptions
from yugen.server.caller import ANYONE
from yugen.server.subscriptions import Answers, Subscriptions
from yugen.sync.messages import AddQuery
from yugen.sync.session import Update


async def test_what_is_asked_last_is_of_the_moment_of_its_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "QUERIES_AT_ONCE_MAX", 1)
    ask, told_later = Subscription.ask, asyncio.Queue[Callable[[], None]]()

    def ask_slowly(self: Subscription, ts: int, told: Any) -> None:
        ask(self, ts, lambda answer: told_later.put_nowait(partial(told, answer)))

    monkeypatch.setattr(Subscription, "ask", ask_slowly)
    async with engine(new_store("memory", tmp_path), write_app(tmp_path / "noted", notes=NOTES)) as runtime:
        answered: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        served = Subscriptions(
            runtime, lambda _: None, lambda _, answers: answered.set_result(answers), answered.set_exception
        )
        queries = tuple(
            AddQuery(number, path, {"book": "a"}, None) for number, path in enumerate(("notes:count", "notes:texts"))
        )
        assert served.answer(Update(runtime.ts, 1, 0, ANYONE, (), queries)) is None
        tell = await told_later.get()
        await change(runtime, "notes:add", book="a", text="meanwhile")
        tell()
        tell = await told_later.get()
        tell()
        assert [answer.value for answer in (await answered).values()] == [b"0.0", b"[]"]
        served.end()
