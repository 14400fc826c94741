from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import board
import pytest
import pytest_asyncio
from board import people, projects, welcome

from reliability.serving import ROOT
from yugen import Retry, YugenError
from yugen.functions.retry import ATTEMPTS_MAX
from yugen.runtime.limits import RunLimits
from yugen.system.scheduler import KEPT_MS
from yugen.system.workflows import EVENTS_MAX
from yugen.testing import Caller, TestApp
from yugen.values import DOCUMENT_SIZE_MAX

GUIDE = " ".join((ROOT / "docs/workflows.md").read_text().split())


@dataclass
class Post:
    """A mail service outside.

    Attributes:
        sent: what it has sent, by key.
        refuses: how many requests it answers with an error.
    """

    sent: dict[str, Any] = field(default_factory=dict)
    refuses: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = json.loads(await reader.readexactly(int(fields["content-length"])))
        status = "500 Internal Server Error" if self.refuses else "200 OK"
        if self.refuses:
            self.refuses -= 1
        else:
            self.sent.setdefault(fields["idempotency-key"], body)
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    @property
    def subjects(self) -> list[str]:
        return [mail["subject"] for mail in self.sent.values()]


@pytest_asyncio.fixture
async def post() -> AsyncIterator[Post]:
    made = Post()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    made.url = f"http://{host}:{port}/"
    async with server:
        yield made


@pytest_asyncio.fixture
async def t(post: Post) -> AsyncIterator[TestApp]:
    async with TestApp(board, environment={"MAIL_URL": post.url}) as t:
        yield t


@pytest_asyncio.fixture
async def ada(t: TestApp) -> Caller:
    ada = t.as_user(subject="ada")
    await ada.mutation(people.join, name="Ada")
    return ada


async def test_somebody_is_welcomed(t: TestApp, ada: Caller, post: Post) -> None:
    flow = await ada.mutation(welcome.begin, email="ada@example.com")
    await t.advance()
    assert post.subjects == ["Is this your address?"]
    await t.advance(days=1)
    await t.mutation(welcome.confirm, workflow=flow)
    await t.advance(days=8)
    assert post.subjects == ["Is this your address?", "Nothing to do?"]
    shown = await t.query(welcome.progress, workflow=flow)
    assert shown is not None
    assert shown["state"] == {"kind": "success", "result": "welcomed"}


async def test_an_address_is_not_confirmed(t: TestApp, ada: Caller, post: Post) -> None:
    flow = await ada.mutation(welcome.begin, email="ada@example.com")
    watch = await t.watch(welcome.progress, workflow=flow)
    await t.advance(days=1)
    assert await watch.value() == {
        "state": {"kind": "running"},
        "steps": [["welcome:send_mail", "success"], ["confirmed", "pending"]],
    }
    await t.advance(days=2)
    assert (await watch.value())["state"] == {"kind": "success", "result": "not confirmed"}
    assert not await t.mutation(welcome.confirm, workflow=flow)


async def test_a_welcome_is_canceled(t: TestApp, ada: Caller, post: Post) -> None:
    flow = await ada.mutation(welcome.begin, email="ada@example.com")
    await t.mutation(welcome.forget, workflow=flow)
    await t.advance(days=30)
    assert await t.query(welcome.progress, workflow=flow) == {"state": {"kind": "canceled"}, "steps": []}
    assert post.sent == {}


async def test_a_service_that_fails_is_asked_again(t: TestApp, ada: Caller, post: Post) -> None:
    post.refuses = 2
    await ada.mutation(welcome.begin, email="ada@example.com")
    await t.advance(minutes=1)
    assert post.subjects == ["Is this your address?"]


async def test_an_invitation_is_sent_once(t: TestApp, ada: Caller, post: Post) -> None:
    project = await ada.mutation(projects.create, name="Engine")
    post.refuses = 1
    message = await ada.mutation(welcome.invite, project=project, email="bob@example.com")
    assert await t.query(welcome.invitation, message=message) == "pending"
    assert await ada.mutation(welcome.invite, project=project, email="bob@example.com") == message
    await t.advance(minutes=1)
    assert post.sent == {
        f"invite:{project}:bob@example.com".lower(): {"to": "bob@example.com", "subject": "Ada invites you"}
    }
    assert await t.query(welcome.invitation, message=message) == "success"


async def test_an_invitation_of_nobody(t: TestApp, ada: Caller, post: Post) -> None:
    project = await ada.mutation(projects.create, name="Engine")
    with pytest.raises(YugenError, match="Sign in first"):
        await t.mutation(welcome.invite, project=project, email="bob@example.com")
    await t.advance(minutes=1)
    assert post.sent == {}


@pytest.mark.parametrize(
    "figure",
    [
        f"{Retry().attempts} attempts",
        f"after {Retry().first:g}, {Retry().seconds_after(2):g} and {Retry().seconds_after(3):g} seconds",
        f"from 1 to {ATTEMPTS_MAX} attempts",
        f"{RunLimits().workflow_steps:,} steps",
        f"{KEPT_MS / 86_400_000:g} days",
        f"{EVENTS_MAX} events",
        f"{DOCUMENT_SIZE_MAX >> 20} MiB",
        f"{RunLimits().bytes_read >> 20} MiB (`bytes_read`)",
    ],
)
def test_figures_of_the_guide(figure: str) -> None:
    assert figure in GUIDE
