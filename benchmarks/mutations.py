"""Mutations over the real protocol: calls that do nothing, inserts, the transfer benchmark."""

import json
import tempfile
from functools import partial
from pathlib import Path

import apsw

from benchmarks import load
from benchmarks.figures import Figure, Goal, Section, beside, in_turn
from benchmarks.pocketbase import INSERT, pocketbase_server
from benchmarks.servers import Server, loop_server, yugen_server
from benchmarks.workloads import NOTE, Side, Workload, cpu_each, effort, p50, per_second

ACCOUNTS = 100_000
OPENED_AT_ONCE = 1000
BALANCE = 1_000_000
HALF = Goal(at_least=0.5)
NO_LOSS = Goal(at_least=0.9)

INSERTS = Workload("inserts, 64 clients", "1/s", per_second, {"clients": 64, "args": NOTE})
OVER_HTTP = {"http": INSERT}
WORKLOADS = [
    Workload("mutations that do nothing, 64 clients", "1/s", per_second, {"clients": 64, "mutation": "calls:nothing"}),
    Workload("inserts, 64 clients", "1/s", per_second, {"clients": 64, "args": NOTE}, HALF),
    Workload(
        "inserts, 16 clients with 16 in flight", "1/s", per_second, {"clients": 16, "inflight": 16, "args": NOTE}, HALF
    ),
    Workload(
        "insert, one client, until it is seen, p50",
        "µs",
        p50,
        {"clients": 1, "args": NOTE, "until": "transition"},
        Goal(at_most=2),
    ),
    Workload("insert, 64 clients, processor time", "µs", cpu_each, {"clients": 64, "args": NOTE}),
]


def transfers(account: str, inflight: int) -> Workload:
    """Transfers between two accounts, by how they are chosen."""
    args = f'{{"source":"%{account}","target":"%{account}","amount":1}}'
    options = {"clients": 50, "inflight": inflight, "mutation": "accounts:transfer", "args": args}
    return Workload("transfers", "1/s", per_second, options)


def open_accounts(yugen: Server, loop: Server, folder: Path) -> dict[str, Side]:
    """Opens accounts on both sides; each gets the names of its own."""
    ids = []
    for _ in range(ACCOUNTS // OPENED_AT_ONCE):
        ids += yugen.call("mutation", "accounts:open", {"count": OPENED_AT_ONCE, "balance": BALANCE})
    args = json.dumps({"count": OPENED_AT_ONCE, "balance": BALANCE})
    load.run(loop.port, clients=1, mutation="accounts:open", args=args, calls=ACCOUNTS // OPENED_AT_ONCE, seconds=60)
    sides = {"yugen": (yugen, ids), "best-case loop": (loop, list(map(str, range(ACCOUNTS))))}
    found = {}
    for name, (server, names) in sides.items():
        lines = folder / f"{name} accounts"
        lines.write_text("\n".join(names))
        found[name] = Side(server, {"lines": lines})
    return found


def check_balances(yugen: Server, loop_folder: Path) -> None:
    """All money is still there."""
    total, cursor, done = 0.0, None, False
    while not done:
        options = {"numItems": 5000, "cursor": cursor}
        page = yugen.call("query", "accounts:page", {"paginationOpts": options})
        total += sum(account["balance"] for account in page["page"])
        cursor, done = page["continueCursor"], page["isDone"]
    assert total == ACCOUNTS * BALANCE, total
    database = apsw.Connection(str(loop_folder / "loop.sqlite3"), flags=apsw.SQLITE_OPEN_READONLY)
    total = database.execute("SELECT sum(json_extract(CAST(document AS TEXT), '$.balance')) FROM accounts").get
    assert total == ACCOUNTS * BALANCE, total


def measure_transfers(sides: dict[str, Side]) -> list[Figure]:
    """Transfers without contention and with it, one at a time and pipelined."""
    figures = []
    for how, inflight in (("50 clients", 1), ("50 clients with 16 in flight", 16)):
        workloads = {"": transfers("uniform-line", inflight), ", Zipf 1.5": transfers("zipf-line(1.5)", inflight)}
        measures = {
            (kind, name): partial(workload.run, side)
            for kind, workload in workloads.items()
            for name, side in sides.items()
        }
        in_turn(1, measures)  # warms
        found = {key: list(map(per_second, runs)) for key, runs in in_turn(effort.rounds, measures).items()}
        name = f"transfers among {ACCOUNTS:,} accounts, {how}"
        for kind in workloads:
            figures += beside(name + kind, "1/s", {side: found[kind, side] for side in sides}, HALF)
        contention = {"yugen": found[", Zipf 1.5", "yugen"], "yugen without contention": found["", "yugen"]}
        figures += beside(f"{name}, Zipf 1.5", "1/s", contention, NO_LOSS)
    return figures


def measure() -> Section:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with yugen_server(folder / "yugen") as yugen, loop_server(folder / "loop") as loop:
            sides = {"yugen": Side(yugen), "best-case loop": Side(loop)}
            figures = [figure for workload in WORKLOADS for figure in workload.figures(sides)]
            fastest = WORKLOADS[0].run(sides["best-case loop"]).report
            figures += measure_transfers(open_accounts(yugen, loop, folder))
            check_balances(yugen, folder / "loop")
            with pocketbase_server(folder / "pocketbase") as pocketbase:
                if pocketbase is not None:
                    figures += INSERTS.figures({"yugen": Side(yugen), "PocketBase": Side(pocketbase, OVER_HTTP)})
    own = fastest.cpu_seconds / fastest.done * 1e6
    return Section(figures, (), {"processor time of the load client for a call, µs": round(own, 1)})
