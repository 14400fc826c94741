"""A whole server over its real protocol."""

import asyncio
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.figures import Figure
from benchmarks.load import SyncClient, connect
from benchmarks.servers import peer_server, yugen_server

MESSAGE = "x" * 100
CLIENTS = 64
SUBSCRIBERS = 1000
IDLE = 1000


async def raw_calls(port: int, path: str, clients: int, calls: int) -> tuple[float, float]:
    """Calls a peer answers: median seconds of one, and calls a second."""
    waits: list[float] = []

    async def one() -> None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        sock = await connect(port, path, lambda text: answer.set_result(None))
        for _ in range(calls):
            answer = loop.create_future()
            started = time.perf_counter()
            sock.send(MESSAGE.encode())
            await answer
            waits.append(time.perf_counter() - started)
        sock.close()

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(clients)))
    return statistics.median(waits), clients * calls / (time.perf_counter() - started)


async def mutations(
    port: int,
    clients: int,
    calls: int,
    path: str = "notes:add",
    args: Mapping[str, Any] = MappingProxyType({"topic": "a", "body": MESSAGE}),
) -> tuple[float, float]:
    """Mutations until their response: median seconds of one, and mutations a second."""
    waits: list[float] = []

    async def one() -> None:
        client = await SyncClient().open(port)
        for _ in range(calls):
            started = time.perf_counter()
            await client.mutate(path, dict(args))
            waits.append(time.perf_counter() - started)
        client.socket.close()

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(clients)))
    return statistics.median(waits), clients * calls / (time.perf_counter() - started)


async def fan_out(port: int, writes: int) -> float:
    """Median seconds from a write to the last of all subscribers."""
    clients = [await SyncClient().open(port) for _ in range(SUBSCRIBERS)]
    left = SUBSCRIBERS
    done = asyncio.Event()

    def arrived() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    for client in clients:
        client.on_transition = arrived
        client.subscribe(("notes:newest", {"topic": "fan-out"}))
    await done.wait()
    writer = await SyncClient().open(port)
    waits = []
    for number in range(writes):
        left = SUBSCRIBERS
        done.clear()
        started = time.perf_counter()
        await writer.mutate("notes:add", {"topic": "fan-out", "body": f"{number} {MESSAGE}"})
        await done.wait()
        waits.append(time.perf_counter() - started)
    for client in [*clients, writer]:
        client.socket.close()
    return statistics.median(waits)


async def raw_fan_out(port: int, writes: int) -> float:
    """The same of a broadcast of as many bytes as a transition has."""
    left = 0
    done = asyncio.Event()

    def arrived(text: bytes) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    sockets = [await connect(port, "/broadcast", arrived) for _ in range(SUBSCRIBERS)]
    transition_size = 600
    waits = []
    for _ in range(writes):
        left = SUBSCRIBERS
        done.clear()
        started = time.perf_counter()
        sockets[0].send(b"x" * transition_size)
        await done.wait()
        waits.append(time.perf_counter() - started)
    for sock in sockets:
        sock.close()
    return statistics.median(waits)


def memory_kib(pid: int) -> int:
    """Resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


def family_kib(pid: int) -> int:
    """Memory of a process and all that descend from it, what they share counted once."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        if pid == int(status.parent.name) or pid in ancestors(int(status.parent.name)):
            found = re.search(r"Pss:\s+(\d+)", (status.parent / "smaps_rollup").read_text())
            assert found
            total += int(found[1])
    return total


def ancestors(pid: int) -> Iterator[int]:
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except FileNotFoundError:
            return
        yield pid


async def idle_kib(port: int, pid: int, *, sync: bool) -> float:
    """Memory that one idle connection takes in the server."""
    before = memory_kib(pid)
    if sync:
        clients = [await SyncClient().open(port) for _ in range(IDLE)]
        settled = asyncio.Event()
        for client in clients:
            client.on_transition = lambda: settled.set() if all(each.transitions for each in clients) else None
            client.subscribe()
        await settled.wait()
        sockets = [client.socket for client in clients]
    else:
        sockets = [await connect(port, "/echo", lambda text: None) for _ in range(IDLE)]
    after = memory_kib(pid)
    for sock in sockets:
        sock.close()
    return (after - before) / IDLE


async def measure() -> tuple[list[Figure], dict[str, float]]:
    """All figures. The two sides of each are measured one right after the other."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with yugen_server(folder) as server, peer_server(folder) as peers:
            port, pid, peer, peer_pid = server.port, server.pid, peers.port, peers.pid
            at_rest = family_kib(pid) / 1024
            kib, raw_kib = await idle_kib(port, pid, sync=True), await idle_kib(peer, peer_pid, sync=False)
            figures.append(Figure("memory of an idle connection", "KiB", kib, raw_kib, "bare WebSocket"))
            await mutations(port, 8, 200)  # warm
            (one, _), (raw_one, _) = await mutations(port, 1, 1000), await raw_calls(peer, "/insert", 1, 1000)
            figures.append(Figure("durable mutation, one client, p50", "µs", one * 1e6, raw_one * 1e6, "insert inline"))
            (_, many), (_, raw_many) = (
                await mutations(port, CLIENTS, 150),
                await raw_calls(peer, "/insert", CLIENTS, 150),
            )
            figures.append(Figure(f"durable mutations, {CLIENTS} clients", "1/s", many, raw_many, "insert inline"))
            last, raw_last = await fan_out(port, 30), await raw_fan_out(peer, 30)
            name = f"write to last of {SUBSCRIBERS} subscribers, p50"
            figures.append(Figure(name, "ms", last * 1e3, raw_last * 1e3, "broadcast"))
    return figures, {
        "start, s": round(server.start_seconds, 2),
        "memory at rest, all processes, MiB": round(at_rest, 1),
    }
