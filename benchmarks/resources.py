"""What a server takes: time to start, memory at rest, of connections and of subscriptions."""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.figures import Figure, Goal, Sample, Section
from benchmarks.servers import HERE, Server, peer_server, yugen_server
from benchmarks.workloads import effort

CONNECTIONS = 1000
SUBSCRIPTIONS = 10
"""On each of the connections, of queries that all of them share."""

CHAT = HERE.parent / "examples" / "chat" / "app"
Started = Callable[[Path], AbstractContextManager[Server]]


def kib_each(started: Started, **options: Any) -> float:
    """Memory that a connection takes in a fresh server."""
    with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as server:
        with load.held(server.port, listeners=8, **options):  # what is loaded with the first ones
            pass
        before = server.kib
        with load.held(server.port, listeners=CONNECTIONS, **options):
            return (server.kib - before) / CONNECTIONS


def measure_connections() -> list[Figure]:
    idle, raw, subscribed = [], [], []
    for _ in range(effort.rounds):
        idle.append(kib_each(yugen_server))
        raw.append(kib_each(peer_server, raw=True, path="/listen"))
        query = {"queries": SUBSCRIPTIONS, "query": "notes:newest", "query_args": '{"topic":"a%query"}'}
        subscribed.append((kib_each(yugen_server, **query) - idle[-1]) / SUBSCRIPTIONS)
    connection = "memory of an idle connection"
    return [
        Figure(connection, "KiB", Sample.of(idle), goal=Goal(at_most=40)),
        Figure(connection, "KiB", Sample.of(idle), Sample.of(raw), "bare WebSocket on the same stack"),
        Figure("memory of a further subscription", "KiB", Sample.of(subscribed), goal=Goal(at_most=2)),
    ]


def measure_start() -> list[Figure]:
    """The chat example: how soon it serves, from the command on, and what all its processes take then."""
    seconds, mebibytes = [], []
    for _ in range(2 * effort.rounds):
        with tempfile.TemporaryDirectory() as folder, yugen_server(Path(folder), CHAT) as server:
            seconds.append(server.start_seconds)
            mebibytes.append(server.family_kib / 1024)
    return [
        Figure("start of the chat example", "s", Sample.of(seconds[1:]), goal=Goal(at_most=0.5)),
        Figure("memory of the chat example, all processes", "MiB", Sample.of(mebibytes), goal=Goal(at_most=80)),
    ]


def measure() -> Section:
    return Section([*measure_start(), *measure_connections()])
