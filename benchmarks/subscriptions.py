"""Live queries over the real protocol: how soon and how often those who listen hear of a write."""

import json
import tempfile
from pathlib import Path

from benchmarks import load
from benchmarks.figures import Figure, Goal, Section, beside, spin
from benchmarks.servers import Server, loop_server, peer_server, yugen_server
from benchmarks.workloads import (
    NOTE,
    Run,
    Side,
    Workload,
    cpu_each,
    effort,
    p50,
    p50_ms,
    p99_ms,
    per_second,
    updates_per_second,
)

NEWEST = {"query": "notes:newest", "query_args": '{"topic":"watched"}'}
DISTINCT = {"query": "notes:newest", "query_args": '{"topic":"watched","reader":%subscription}'}
OTHERS = {"query": "notes:newest", "query_args": '{"topic":"other %subscription"}'}
"""Queries that a note of a client (`NOTE`) does not touch."""

WATCHED = '{"topic":"watched","body":"%call %x(100)"}'
LARGE_NOTES = 800
LARGE_BODY = 1200


def to_last(name: str, listeners: int, query: dict[str, str], goal: Goal | None = None) -> Workload:
    """One write at a time, each until the last of the listeners has seen it."""
    options = {"clients": 1, "listeners": listeners, "until": "last", "args": WATCHED, **query}
    return Workload(f"write to last of {name}, p50", "ms", p50_ms, options, goal)


def broadcast(peer: Server, size: float) -> Side:
    """The same by a server that sends as many bytes to everyone and does nothing else."""
    return Side(peer, {"raw": True, "path": "/publish", "listen_path": "/listen", "args": f"{size:.0f}"})


def update_bytes(run: Run) -> float:
    """The size of a transition with results."""
    return run.report.update_bytes / run.report.updates


def measure_last(yugen: Server, loop: Server, peer: Server) -> list[Figure]:
    """Writes to the last subscriber, and what is delivered meanwhile, beside a broadcast of as many bytes."""
    figures = []
    size = 0.0
    for listeners in (1, 100, 1000):
        goal = Goal(at_most=1.5) if listeners == 1000 else None
        workload = to_last(f"{listeners:,} subscribers of one query", listeners, NEWEST, goal)
        size = update_bytes(workload.run(Side(yugen), 0.5))
        sides = {"yugen": Side(yugen), "raw broadcast": broadcast(peer, size), "best-case loop": Side(loop)}
        figures += workload.figures(sides)
    for writers, listeners in ((16, 100), (4, 1000)):
        options = {"clients": writers, "listeners": listeners, "args": WATCHED, **NEWEST}
        name = f"{writers} writers with {listeners:,} subscribers of one query"
        workload = Workload(name, "1/s", per_second, options)
        sides = {"yugen": Side(yugen), "raw broadcast": broadcast(peer, size), "best-case loop": Side(loop)}
        runs = workload.runs(sides)
        rates = {side: list(map(updates_per_second, each)) for side, each in runs.items()}
        figures += beside(f"{name}, transitions", "1/s", rates, Goal(at_least=0.8))
        calls = {side: list(map(per_second, runs[side])) for side in ("yugen", "best-case loop")}
        figures += beside(f"{name}, writes", "1/s", calls)
    return figures


def measure_distinct(yugen: Server, loop: Server) -> list[Figure]:
    """A thousand queries of which each is somebody else's, and writes that none of them sees."""
    sides = {"yugen": Side(yugen), "best-case loop": Side(loop)}
    figures = to_last("1,000 distinct queries", 1000, DISTINCT, Goal(at_most=2)).figures(sides)
    inserts = Workload("inserts, 64 clients", "1/s", per_second, {"clients": 64, "args": NOTE})
    alone: list[Run] = []
    among: dict[str, list[Run]] = {side: [] for side in sides}
    inserts.run(Side(yugen), 0.5)
    for _ in range(effort.rounds):
        spin()
        alone.append(inserts.run(Side(yugen)))
        for side, runs in among.items():
            with load.held(sides[side].server.port, listeners=10, queries=100, **OTHERS) as reports:
                runs.append(inserts.run(sides[side]))
            assert reports[0].transitions == 0, "a write that concerns nobody was sent to somebody"
    name = "inserts that none of 1,000 distinct subscriptions sees"
    rates = {"yugen": among["yugen"], "without subscriptions": alone, "best-case loop": among["best-case loop"]}
    figures += beside(
        name, "1/s", {side: list(map(per_second, runs)) for side, runs in rates.items()}, Goal(at_least=0.9)
    )
    cpu = {side: list(map(cpu_each, rates[side])) for side in ("yugen", "without subscriptions")}
    return [*figures, *beside(f"{name}, processor time", "µs", cpu, Goal(at_most=1.1))]


def measure_presence(yugen: Server, loop: Server) -> list[Figure]:
    """500 people in 20 rooms; each says once a second that they are there, and everyone in the room sees it."""
    options = {
        "clients": 500,
        "inflight": 10,
        "callers_listen": True,
        "mutation": "presence:beat",
        "args": '{"room":%client(20),"person":%client,"seen":%uniform(1000000000)}',
        "query": "presence:room",
        "query_args": '{"room":%client(20)}',
        "until": "transition",
        "rate": f"500@{2 * effort.seconds}",
    }
    workload = Workload("presence", "ms", p50_ms, options)
    runs = workload.runs({"yugen": Side(yugen), "best-case loop": Side(loop)})
    name = "heartbeats, 500 people in 20 rooms"
    figures = []
    for what, unit, of in (
        ("p50", "ms", p50_ms),
        ("p99", "ms", p99_ms),
        ("transitions", "1/s", updates_per_second),
    ):
        figures += beside(f"{name}, {what}", unit, {side: list(map(of, each)) for side, each in runs.items()})
    cpu = {side: list(map(cpu_each, each)) for side, each in runs.items()}
    return [*figures, *beside(f"{name}, processor time of one", "µs", cpu)]


def measure_large(yugen: Server, loop: Server, peer: Server) -> list[Figure]:
    """A result of a megabyte to ten subscribers."""
    args = f'{{"topic":"large","body":"%call %x({LARGE_BODY})"}}'
    for server in (yugen, loop):
        load.run(server.port, clients=1, inflight=100, args=args, calls=LARGE_NOTES, seconds=60)
    query_args = json.dumps({"topic": "large", "count": LARGE_NOTES})
    query = {"query": "notes:topic", "query_args": query_args, "args": args}
    workload = to_last("10 subscribers of a result of 1 MB", 10, query)
    size = update_bytes(workload.run(Side(yugen), 0.5))
    sides = {"yugen": Side(yugen), "raw broadcast": broadcast(peer, size), "best-case loop": Side(loop)}
    return workload.figures(sides)


def measure_stacks(peer: Server, stock: Server) -> list[Figure]:
    """The server stack by itself: as Yugen runs it, and as uvicorn comes."""
    sides = {"the product's stack": Side(peer), "stock uvicorn": Side(stock)}
    twice = Goal(at_least=2)
    echo = {"raw": True, "path": "/echo", "clients": 50, "args": "%x(200)"}
    figures = Workload("the stack alone: echo, 50 clients", "1/s", per_second, echo, twice).figures(sides)
    figures += Workload("the stack alone: echo, p50", "µs", p50, {**echo, "clients": 1}).figures(sides)
    options = {"raw": True, "path": "/publish", "listen_path": "/listen", "args": "200", "clients": 4}
    broadcasts = Workload(
        "the stack alone: broadcast to 1,000", "1/s", updates_per_second, {**options, "listeners": 1000}, twice
    )
    return figures + broadcasts.figures(sides)


def measure() -> Section:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with (
            yugen_server(folder / "yugen") as yugen,
            loop_server(folder / "loop") as loop,
            peer_server(folder / "peer") as peer,
            peer_server(folder / "stock", "uvicorn") as stock,
        ):
            figures = measure_last(yugen, loop, peer)
            figures += measure_distinct(yugen, loop)
            figures += measure_presence(yugen, loop)
            figures += measure_large(yugen, loop, peer)
            figures += measure_stacks(peer, stock)
    return Section(figures)
