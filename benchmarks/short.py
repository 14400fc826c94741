"""The short form: a few ratios in processor time, which other load on the machine hardly touches.

`tests/test_benchmarks.py` runs it and fails when one falls below half of what `ratios.json` has. To record them anew,
after a change that was meant to move them: `python -m benchmarks.short`.
"""

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks import intervals
from benchmarks.servers import HERE, loop_server, peer_server, yugen_server
from benchmarks.subscriptions import broadcast, to_last, update_bytes
from benchmarks.workloads import NOTE, Run, Side, Workload, cpu_each, per_second

RECORDED = HERE / "ratios.json"
SECONDS = 1.0
LISTENERS = 100
NEWEST = {"query": "notes:newest", "query_args": '{"topic":"watched"}'}
QUESTION = {"path": "notes:newest", "args": {"topic": "cached"}}

INSERTS = Workload("inserts", "1/s", per_second, {"clients": 32, "args": NOTE})
FAN_OUT = to_last("subscribers", LISTENERS, NEWEST)
CACHED = Workload("cached query over HTTP", "1/s", per_second, {"clients": 4, "args": QUESTION})

Ratio = Callable[[], float]
"""Measures how near the product comes to what it is held against: 1 is as good."""


def ratio(workload: Workload, product: Side, raw: Side) -> float:
    """Processor time of a call of the raw limit, in parts of the product's."""
    return cpu_each(workload.run(raw, SECONDS)) / cpu_each(workload.run(product, SECONDS))


def invalidation() -> float:
    """What it costs to find whom a write concerns among a thousand intervals, in parts of that among 100,000."""
    few, many = (intervals.cost(intervals.newest, count).write for count in (1_000, 100_000))
    return few / many


@contextmanager
def ratios() -> Iterator[Mapping[str, Ratio]]:
    """The ratios by name, each to be measured as often as wanted, while the servers are there."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with (
            yugen_server(folder / "yugen") as yugen,
            loop_server(folder / "loop") as loop,
            peer_server(folder / "peer") as peer,
        ):
            product = Side(yugen)
            first: Run = FAN_OUT.run(product, SECONDS)
            peer.request("PUT", "/answer", yugen.request("POST", "/api/query", QUESTION))
            asked, bare = (
                Side(each, {"http": f"POST {path}"}) for each, path in ((yugen, "/api/query"), (peer, "/answer"))
            )
            yield {
                "insert, best-case loop": partial(ratio, INSERTS, product, Side(loop)),
                "fan-out, raw broadcast": partial(ratio, FAN_OUT, product, broadcast(peer, update_bytes(first))),
                "cached query over HTTP, bare route": partial(ratio, CACHED, asked, bare),
                "invalidation, 1,000 intervals": invalidation,
            }


def recorded() -> dict[str, float]:
    """The ratios as they were recorded."""
    found: dict[str, float] = json.loads(RECORDED.read_text())
    return found


if __name__ == "__main__":
    with ratios() as measures:
        found = {name: round(statistics.median(measure() for _ in range(3)), 3) for name, measure in measures.items()}
    RECORDED.write_text(json.dumps(found, indent=1) + "\n")
    print(RECORDED.read_text(), end="")
