"""Hostile input over real sockets, to a real `yugen serve`, while a canary writes and watches beside it.

That every request is answered as it must be is tried in one process, faster. Here it counts that nobody else is harmed:
the canary sees what it has written, right and in time; no process is replaced, no fault is logged, memory goes back.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import tempfile
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import httpx2

from reliability.canary import watching
from reliability.fuzzing import conversations, http, raw, requests
from reliability.fuzzing.surface import TAKEN, Finding, dice_of
from reliability.fuzzing.world import SECONDS_MAX, SECRET, Reply, assemble
from reliability.resources import MIB, descendants, resident
from reliability.serving import Server

AT_ONCE: Final = 8
"""Connections that are open at once."""

MIB_AT_MOST: Final = 256
MIB_AFTER: Final = 64
"""By how much more memory the server may have meanwhile, and when all is over."""

FIRST_SECONDS: Final = 3.0
"""How long the first byte of an answer may take; a request that is not whole has none."""

SILENCE_SECONDS: Final = 0.15
"""After so much of it nothing more of an answer is expected."""

SETTLE_SECONDS: Final = 10.0

_CLOSES: Final = frozenset((1000, 1002, 1003, 1007, 1008, 1009, 1013))
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class OverSockets:
    """A real server, as the place where requests are sent."""

    def __init__(self, server: Server, data: Path) -> None:
        self._server = server
        self._admin_key = (data / "admin_key").read_text().strip()
        self._http = httpx2.AsyncClient(base_url=server.url, headers={"Authorization": f"Convex {self._admin_key}"})
        self._known = {"admin": self._admin_key}
        self._seen, self._told = len(server.lines), 0

    async def prepare(self) -> None:
        """Stores what requests ask for."""
        changes = [{"name": "SECRET", "value": SECRET}]
        await self._post("/api/update_environment_variables", {"changes": changes})
        await self._post("/api/mutation", {"path": "notes:add", "args": {"topic": "t", "text": "x"}})
        file = await self._post(await self.known("upload"), {"a": "file of some bytes"})
        for name, private in (("file", False), ("private", True)):
            url = await self._call("query", "notes:file_url", file=file["storageId"], private=private)
            self._known[name] = url[url.index("/api/") :]
        self._known["note"] = (await self._call("query", "notes:list", topic="t"))[0]["_id"]

    async def close(self) -> None:
        """Ends its own connections."""
        await self._http.aclose()

    async def _call(self, kind: str, path: str, **args: Any) -> Any:
        return (await self._post(f"/api/{kind}", {"path": path, "args": args}))["value"]

    async def _post(self, target: str, body: Any) -> Any:
        response = await self._http.post(target, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def known(self, name: str) -> str:
        """As of `World`."""
        if name == "upload":
            url: str = await self._call("mutation", "notes:upload_url")
            return url[url.index("/api/") :]
        return self._known.get(name, "")

    async def digest(self) -> object:
        """Nothing: others write meanwhile."""
        return None

    def complaints(self) -> list[str]:
        """As of `World`."""
        lines, self._seen = self._server.lines[self._seen :], len(self._server.lines)
        errors = self._server.errors()
        new, self._told = errors[self._told :], len(errors)
        return [line for line in lines if SECRET in line or self._admin_key in line] + new

    async def send(self, data: bytes) -> Reply:
        """As of `World`."""
        reply = Reply()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port, limit=1 << 22)
        try:
            writer.write(data)
            await asyncio.wait_for(writer.drain(), SECONDS_MAX)
            silence = FIRST_SECONDS
            while piece := await asyncio.wait_for(reader.read(1 << 16), silence):
                reply.raw += piece
                silence = SILENCE_SECONDS
            reply.has_closed = True
        except TimeoutError:
            pass  # it waits for more, or for the next request
        except ConnectionError:
            reply.has_closed = True
        finally:
            writer.transport.abort()
        read(reply)
        return reply


def read(reply: Reply) -> None:
    """Reads the responses that came, one after the other, as far as their lengths are said."""
    rest = reply.raw
    while (found := _STATUS.match(rest)) is not None:
        head, _, rest = rest.partition(b"\r\n\r\n")
        lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
        fields = {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, _, value in lines}
        size = int(fields.get("content-length", len(rest)))
        reply.statuses.append(int(found[1]))
        reply.heads.append(fields)
        reply.bodies.append(rest[:size])
        rest = rest[size:] if not _STATUS.match(rest) else rest  # of a HEAD there is no body


async def converse(server: Server, given: Any) -> str:
    """Speaks over a socket, and judges how it is closed. The rest of what is sent may be no frame at all."""
    head = requests.rendered({"method": "GET", "target": "/api/sync", "headers": _HANDSHAKE})
    frames = b"".join(conversations.text_frame(str(text)) for text in given.get("said", ()))
    tail = str(given.get("tail", "")).encode("latin-1", "replace")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 22)
    came = b""
    try:
        writer.write(head)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SECONDS_MAX)
        if not answer.startswith(b"HTTP/1.1 101"):
            raise Finding(f"no handshake: {answer!r}")
        writer.write(frames + tail)
        with suppress(TimeoutError, ConnectionError):
            while piece := await asyncio.wait_for(reader.read(1 << 16), SILENCE_SECONDS):
                came += piece
    finally:
        writer.transport.abort()
    return converse_judged(came)


_HANDSHAKE: Final = [
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Version", "13"],
    ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="],
    ["Sec-WebSocket-Extensions", "permessage-deflate"],
]


def converse_judged(came: bytes) -> str:
    """How a socket was closed, of which these bytes came.

    Raises:
        Finding: it may not be closed like that, or tells what it may not.
    """
    if SECRET.encode() in came or b"Traceback (most recent" in came:
        raise Finding(f"a secret or a traceback comes back: {came[:500]!r}")
    fatal, outcome = False, TAKEN
    for opcode, payload in _frames_of(came):
        if opcode == 1:
            message = json.loads(payload)
            fatal = fatal or message["type"] == "FatalError"
        elif opcode == 8:
            code = int.from_bytes(payload[:2], "big")
            outcome = f"{code} {payload[2:].decode()}".strip()
            if code not in _CLOSES or (fatal and code != 1008):
                raise Finding(f"it closes with {outcome}")
    return outcome


def _frames_of(came: bytes) -> list[tuple[int, bytes]]:
    """The whole frames of a server."""
    frames, at = [], 0
    while at + 2 <= len(came):
        size, start = came[at + 1], at + 2
        if size >= 126:
            start += 2 if size == 126 else 8
            size = int.from_bytes(came[at + 2 : start], "big")
        if start + size > len(came):
            break
        frames.append((came[at] & 15, came[start : start + size]))
        at = start + size
    return frames


def _made(dice: random.Random) -> Any:
    tail = b""
    match dice.randrange(8):
        case 0 | 1:
            tail = conversations.frame(dice)
        case 2:
            tail = dice.randbytes(dice.randrange(1, 40))
        case 3:
            tail = conversations.frame(dice)[: dice.randrange(1, 20)]
        case 4 if dice.random() < 0.1:
            tail = _bomb(dice)
    return {"said": conversations.said(dice), "tail": tail.decode("latin-1")}


def _bomb(dice: random.Random) -> bytes:
    """A frame of 64 MiB that was deflated, or that says that it has 2^31 bytes or more."""
    if dice.random() < 0.5:
        packed = _packed()
        return b"\xc1\xff" + len(packed).to_bytes(8, "big") + bytes(4) + packed
    return b"\x81\xff" + (1 << dice.randrange(31, 64)).to_bytes(8, "big") + bytes(4) + b"x" * 99


@cache
def _packed() -> bytes:
    return zlib.compress(bytes(64 * MIB), 9)[2:-4]


@dataclass(slots=True)
class Outcome:
    """What has become of a run.

    Attributes:
        counts: how many inputs of each surface had which outcome.
        failures: what did not hold, in words.
        late: what the canary has seen too late, in words.
        canary: what the canary has seen.
        memory: MiB before, at most, and after.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    canary: str = ""
    memory: tuple[float, float, float] = (0.0, 0.0, 0.0)


async def run(inputs: int, seed: int) -> Outcome:
    """Sends so many inputs to a real server, in turn to each surface."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        app, data = assemble(Path(folder)), Path(folder, "data")
        async with Server(app, data, development=False) as server:
            world = OverSockets(server, data)
            await world.prepare()
            attempts: dict[str, Callable[[Any], Awaitable[str]]] = {
                "http": partial(http.attempt, world),
                "raw": partial(raw.attempt, world),
                "socket": partial(converse, server),
            }
            await _send(
                range(seed, seed + min(inputs, 60)), attempts, Outcome()
            )  # so that workers and caches are there
            before, processes = resident(server.pid), set(descendants(server.pid))
            peak = asyncio.create_task(_peak(server))
            async with watching(server.url) as watch:
                await _send(range(seed, seed + inputs), attempts, outcome)
            peak.cancel()
            outcome.canary = str(watch.report)
            ever = watch.report.failures(math.inf, math.inf)
            outcome.late = [each for each in watch.report.failures() if each not in ever]
            outcome.failures += [*ever, *world.complaints()]
            after = await _settled(server, before)
            highest = max(await peak, after)
            outcome.memory = before / MIB, highest / MIB, after / MIB
            if after > before + MIB_AFTER * MIB or highest > before + MIB_AT_MOST * MIB:
                outcome.failures.append(
                    f"memory: {before / MIB:.0f} MiB, then {highest / MIB:.0f}, then {after / MIB:.0f}"
                )
            if gone := processes - set(descendants(server.pid)):
                outcome.failures.append(f"{len(gone)} of {len(processes)} processes were replaced")
            await world.close()
            await server.stop()
    return outcome


async def _send(seeds: range, attempts: dict[str, Callable[[Any], Awaitable[str]]], outcome: Outcome) -> None:
    slots = asyncio.Semaphore(AT_ONCE)
    makes = {"http": requests.request, "raw": raw.made, "socket": _made}

    async def one(seed: int) -> None:
        name = list(attempts)[seed % len(attempts)]
        given = makes[name](dice_of(name, seed))
        try:
            result = await attempts[name](given)
        except Exception as error:
            result = "found"
            outcome.failures.append(f"{name}, seed {seed}: {error!r:.2000}\n    {json.dumps(given):.1000}")
        finally:
            slots.release()
        outcome.counts.setdefault(name, Counter())[result] += 1

    async with asyncio.TaskGroup() as group:
        for seed in seeds:
            await slots.acquire()
            group.create_task(one(seed))


async def _peak(server: Server) -> int:
    """The most memory that the server has had, until this is cancelled."""
    most = 0
    with suppress(asyncio.CancelledError):
        while True:
            most = max(most, resident(server.pid))
            await asyncio.sleep(0.2)
    return most


async def _settled(server: Server, before: int) -> int:
    """The memory of the server once it is what it may be, or when it has had its time for that."""
    for _ in range(int(SETTLE_SECONDS)):
        if resident(server.pid) <= before + MIB_AFTER * MIB:
            break
        await asyncio.sleep(1)
    return resident(server.pid)
