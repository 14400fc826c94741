from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import board
import pytest
from board import reminders, tasks
from board.schema import Project

from tests.docs.test_board import engine
from yugen import Id, YugenError
from yugen.testing import TestApp


@pytest.fixture
async def project(t: TestApp) -> Id[Project]:
    return await t.run(engine)


async def test_a_reminder_comes_when_it_is_time(t: TestApp) -> None:
    project = await t.run(engine)
    task = await t.mutation(tasks.add, project=project, title="cut gears")
    await t.mutation(reminders.remind, task=task, minutes=30)
    await t.advance(minutes=29)
    assert await t.query(tasks.notes) == []
    await t.advance(minutes=1)
    [note] = await t.query(tasks.notes)
    assert note["text"] == "Think of cut gears"


async def test_what_is_done_by_then_needs_no_note(t: TestApp, project: Id[Project]) -> None:
    task = await t.mutation(tasks.add, project=project, title="cut gears")
    reminder = await t.mutation(reminders.remind, task=task, minutes=30)
    await t.mutation(tasks.finish, task=task)
    assert [each["_id"] for each in await t.query(reminders.upcoming)] == [reminder]
    await t.advance(hours=1)
    assert await t.query(tasks.notes) == []
    assert await t.query(reminders.state, reminder=reminder) == "success"
    assert await t.query(reminders.upcoming) == []


async def test_a_reminder_that_is_forgotten(t: TestApp, project: Id[Project]) -> None:
    task = await t.mutation(tasks.add, project=project, title="cut gears")
    with pytest.raises(YugenError, match="for later"):
        await t.mutation(reminders.remind, task=task, minutes=0)
    reminder = await t.mutation(reminders.remind, task=task, minutes=30)
    await t.mutation(reminders.forget, reminder=reminder)
    await t.advance(hours=1)
    assert await t.query(tasks.notes) == []
    assert await t.query(reminders.state, reminder=reminder) == "canceled"


@pytest.fixture
def service() -> Iterator[tuple[str, list[str]]]:
    """A service that has a bad day: it takes the third of what it is sent."""
    texts: list[str] = []

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts.append(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_response(200 if len(texts) >= 3 else 503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", texts
        server.shutdown()
        thread.join()


async def test_a_service_is_told_until_it_listens(t: TestApp, service: tuple[str, list[str]]) -> None:
    url, texts = service
    await t.mutation(reminders.tell_everyone, url=url, text="hello")
    await t.advance(minutes=5)
    assert texts == ["hello"] * 3


async def test_crons_tidy_up(project: Id[Project]) -> None:
    async with TestApp(board, now=datetime(2026, 3, 1, 12, tzinfo=UTC)) as t:
        project = await t.run(engine)
        done = [await t.mutation(tasks.add, project=project, title="done") for _ in range(250)]
        for task in done:
            await t.mutation(tasks.finish, task=task)
        kept = await t.mutation(tasks.add, project=project, title="open")
        await t.advance(days=30)
        assert len(await t.query("tasks:list", project=project, status="done")) == 100
        await t.advance(days=1)
        assert await t.query("tasks:list", project=project, status="done") == []
        assert [task.id for task in await t.query(tasks.list_tasks, project=project)] == [kept]


async def test_every_monday_brings_a_note() -> None:
    async with TestApp(board, now=datetime(2026, 3, 24, tzinfo=UTC)) as t:
        await t.advance(days=14)
        notes = [(note["text"], datetime.fromtimestamp(note["at"] / 1000, UTC)) for note in await t.query(tasks.notes)]
        assert [f"{text}, {at:%d %b %H:%M}" for text, at in reversed(notes)] == [
            "A new week, 30 Mar 06:00",
            "A new month, 01 Apr 08:00",
            "A new week, 06 Apr 06:00",
        ]
