"""What Sentry is told, by a real server, to a host that reads envelopes as Sentry does."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reliability.serving import serving
from tests.apps import write_app
from tests.receiver import Receiver, receiving
from yugen.server.reports import ALL_MAX, WINDOW_SECONDS, Budget, Reports, _frames
from yugen_client import AsyncClient, FunctionError

SECRET = "canary-5d41402abc4b2a76"
MAIL = "ada@example.org"
APP = """
    from yugen import MutationCtx, QueryCtx, YugenError, mutation, query


    def deeper(text: str) -> None:
        local = text + "!"
        raise LookupError(f"nothing for {local}")


    @mutation
    async def breaks(ctx: MutationCtx, text: str) -> None:
        print(text)
        deeper(text)


    @mutation
    async def refuses(ctx: MutationCtx, text: str) -> None:
        raise YugenError(text)


    @query
    async def works(ctx: QueryCtx) -> int:
        return 1
"""


class Host:
    """What a host of Sentry's was sent, as events."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.dsn = receiver.url.replace("http://", "http://public@") + "/7"

    def events(self) -> list[dict[str, Any]]:
        found = []
        for _, _, body in self.receiver.sent:
            _, *lines = body.splitlines()
            for head, payload in zip(lines[::2], lines[1::2], strict=False):
                if json.loads(head)["type"] in ("event", "transaction"):
                    found.append(json.loads(payload))
        return found


@contextmanager
def sentry() -> Iterator[Host]:
    with receiving() as receiver:
        yield Host(receiver)


async def test_faults_are_told_and_nobodys_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sentry() as host:
        monkeypatch.setenv("SENTRY_DSN", host.dsn)
        monkeypatch.setenv("SENTRY_TRACES_SAMPLE_RATE", "1")
        monkeypatch.setenv("YUGEN_RELEASE", "notes@7")
        async with (
            serving(write_app(tmp_path, f=APP), tmp_path / "data", development=False) as server,
            AsyncClient(server.url) as client,
        ):
            for _ in range(3):
                with pytest.raises(FunctionError) as failed:
                    await client.mutation("f:breaks", {"text": f"{SECRET} {MAIL}"})
                assert "[Request ID: " in str(failed.value)
            with pytest.raises(FunctionError):
                await client.mutation("f:refuses", {"text": SECRET})
            with pytest.raises(FunctionError):
                await client.mutation("f:breaks", {"text": 7, SECRET: MAIL})
            assert await client.query("f:works") == 1
        logged = "\n".join(server.lines)  # it has sent all by the time it has ended
        errors = [event for event in host.events() if event.get("type") != "transaction"]
        transactions = [event for event in host.events() if event.get("type") == "transaction"]
        told = b"\n".join(body for _, _, body in host.receiver.sent).decode()

    assert len(errors) == 1, (len(host.receiver.sent), host.events(), logged)
    (error,) = errors
    assert error["release"] == "notes@7"
    assert error["environment"] == "prod"
    tags = error["tags"]
    assert (tags["function"], tags["kind"]) == ("f:breaks", "mutation")
    assert tags["request_id"] in logged
    (exception,) = error["exception"]["values"]
    assert exception["type"] == "LookupError"
    assert [frame["function"] for frame in exception["stacktrace"]["frames"]] == ["breaks", "deeper"]
    runs = [event["transaction"] for event in transactions]
    assert runs.count("f:breaks") >= 3
    assert "f:works" in runs
    assert SECRET in logged  # so it was there to be told
    for canary in (SECRET, MAIL, "127.0.0.1", (tmp_path / "data" / "admin_key").read_text().strip()):
        assert canary not in told.replace(host.dsn, "")


def test_errors_of_the_server_are_told_without_their_text() -> None:
    with sentry() as host:
        reports = Reports.of({"SENTRY_DSN": host.dsn})
        assert reports is not None
        reports.open()
        try:
            raise OSError(SECRET)
        except OSError:
            logging.getLogger("yugen.server.sample").exception("cannot %s", SECRET)
        reports.close()
        (event,) = host.events()
    assert event["exception"]["values"][0]["type"] == "OSError"
    assert event["tags"]["logger"] == "yugen.server.sample"
    assert SECRET not in json.dumps(event)


def test_many_of_the_same_are_told_of_once_a_minute() -> None:
    now = 0.0
    budget = Budget(lambda: now)
    assert [budget.allows("f:a", "KeyError") for _ in range(3)] == [True, False, False]
    assert budget.allows("f:a", "ValueError")
    assert sum(budget.allows(f"f:{number}", "KeyError") for number in range(1000)) == ALL_MAX - 2
    now = WINDOW_SECONDS
    assert budget.allows("f:a", "KeyError")


def test_the_text_of_an_error_has_no_frames() -> None:
    text = (
        'Traceback (most recent call last):\n  File "a.py", line 3, in go\n    f()\nValueError: x\n'
        '  File "secret.py", line 1, in secret'
    )
    assert _frames(text) == [{"filename": "a.py", "lineno": 3, "function": "go"}]


def test_nothing_is_sent_where_nobody_asks(caplog: pytest.LogCaptureFixture) -> None:
    assert Reports.of({}) is None
    assert Reports.of({"SENTRY_DSN": "no dsn"}) is None
    assert "no dsn" not in caplog.text
