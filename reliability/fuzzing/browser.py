"""What a hostile server may say to the client of pages, which runs in Node.js and is held against our Python client."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from reliability.fuzzing import answers
from reliability.fuzzing.surface import TAKEN, Attempt, Finding, Surface
from yugen_client import values
from yugen_client.errors import ClientError, InvalidValue, ProtocolError
from yugen_client.messages import decode_server
from yugen_client.outcome import Outcome, Success
from yugen_client.session import RequestResolved, Session

CLIENT: Final = Path(__file__).parents[2] / "yugen/server/static/client.js"
"""As it is built."""

SECONDS_MAX: Final = 30.0
"""How long an input may take."""

BOMBS: Final = ("parts", "empty parts", "long")
"""Transitions without an end."""

_PROGRAM: Final = Path(__file__).with_suffix(".mjs")
_LINE_BYTES_MAX: Final = 1 << 26
_HONEST: Final = {"ok": "honest"}


class Browser:
    """The client in a process of Node.js, which reads inputs and writes what became of them."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def judge(self, given: Any) -> dict[str, Any]:
        """What became of an input.

        Raises:
            Finding: nothing did.
        """
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                "node", _PROGRAM, CLIENT, stdin=PIPE, stdout=PIPE, limit=_LINE_BYTES_MAX
            )
        reads, writes = self._process.stdout, self._process.stdin
        assert reads is not None
        assert writes is not None
        writes.write(json.dumps(given).encode() + b"\n")
        try:
            async with asyncio.timeout(SECONDS_MAX):
                line = await reads.readline()
        except TimeoutError:
            await self.close()
            raise Finding(f"it has taken more than {SECONDS_MAX:g} s") from None
        if not line:
            await self.close()
            raise Finding("it has ended the process")
        judged: dict[str, Any] = json.loads(line)
        return judged

    async def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def attempt(browser: Browser, given: Any) -> str:
    """Has the client hear something, and judges what it made of it and whether it gets along with the next server."""
    judged = await browser.judge(given)
    if judged["uncaught"]:
        raise Finding("\n".join(judged["uncaught"]))
    if "bomb" in given:
        if not judged["dropped"]:
            raise Finding("it keeps what never ends")
        return "never ends"
    _check_refused(given, judged)
    _check_unchanged(judged["steps"])
    if not given.get("signed"):
        _check_like_python(given, judged["steps"])
    if judged["refused"]:
        return "refused for good"
    answers.check_told(judged["told"])
    if any(shown != _HONEST for shown in judged["after"]):
        raise Finding(f"it shows {judged['after']} of an honest server")
    if set(judged["ended"]) != {"0", "1"}:
        raise Finding(f"calls wait for ever: {judged['ended']}")
    return "dropped" if judged["dropped"] else TAKEN


def _check_refused(given: Any, judged: dict[str, Any]) -> None:
    """Whether a client that gives up for good was told so."""
    if judged["refused"] and '"FatalError"' not in str(_heard(given)[len(judged["steps"]) - 1]):
        raise Finding("it gives up for good, and nobody has told it to")


def _check_unchanged(steps: list[dict[str, Any]]) -> None:
    """Whether a message for which the connection was given up has changed nothing that is shown."""
    if len(steps) > 1 and not steps[-1]["taken"] and steps[-1]["shown"] != steps[-2]["shown"]:
        shown, before = steps[-1]["shown"], steps[-2]["shown"]
        if shown != [{"error": "FatalServerError"}] * len(shown):
            raise Finding(f"it refuses a message, and shows {shown} instead of {before}")


def _check_like_python(given: Any, steps: list[dict[str, Any]]) -> None:
    """Whether our Python client shows the same, and has calls end with the same values, as long as both take it."""
    session = Session("3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11")
    queries = [session.subscribe(path, {}) for path in ("notes:list", "notes:pages", "notes:paged")]
    session.mutation("notes:add", {})
    session.action("notes:act", {})
    session.open(now_ms=0)
    ended = dict[str, Any]()
    for text, step in zip(_heard(given), steps, strict=False):
        try:
            message = decode_server(str(text))
            events = [] if message is None else session.receive(message)
        except ProtocolError:
            return
        if not step["taken"]:
            return
        for event in events:
            if isinstance(event, RequestResolved):
                ended[str(event.request_id)] = _shown(event.outcome)
        shown = [_shown(session.shown(query)) for query in queries[:2]]
        theirs = [_comparable(each) for each in step["shown"]]
        if shown != theirs:
            raise Finding(f"it shows {theirs}, and our Python client {shown}")
        for request, outcome in step["settled"].items():
            if request in ended and _comparable(outcome) != ended[request]:
                raise Finding(
                    f"call {request} has ended with {outcome}, and in our Python client with {ended[request]}"
                )


def _heard(given: Any) -> list[Any]:
    heard = given.get("heard")
    return heard if isinstance(heard, list) else []


def _shown(outcome: Outcome | None) -> str | None:
    if outcome is None:
        return None
    return _comparable({"ok": outcome.value}) if isinstance(outcome, Success) else "error"


def _comparable(shown: dict[str, Any] | None) -> str | None:
    """One text for what is the same. What cannot be decoded is an error to whoever reads it."""
    if shown is None:
        return None
    try:
        return values.canonical_json(values.encode(values.decode(shown["ok"])))
    except (KeyError, InvalidValue, ClientError):
        return "error"


def _made(dice: random.Random) -> Any:
    if dice.random() < 0.0003:
        return {"bomb": dice.choice(BOMBS)}
    return answers.said(dice) | ({"signed": True} if dice.random() < 0.2 else {})


@asynccontextmanager
async def _opened() -> AsyncIterator[Attempt]:
    browser = Browser()
    try:
        yield partial(attempt, browser)
    finally:
        await browser.close()


SURFACES: Final = (
    (Surface("browser", _made, _opened, "What a hostile server says to the client of pages.", 60),)
    if shutil.which("node")
    else ()
)
"""Where Node.js is installed."""
