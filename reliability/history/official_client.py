"""The official Python client does the same as `official.mjs`; a process of its own, for it blocks."""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

from convex import ConvexClient

LISTS_IN_USE = 8
COMMITS_PER_LIST = 4


def main(name: str, number: int, url: str, transactions: int) -> None:
    """Makes that many transactions, one after the other."""
    client: Any = ConvexClient(url)
    dice = random.Random(number)

    def step(each: int, value: int) -> list[Any]:
        low, high = sorted(each // COMMITS_PER_LIST + dice.randrange(LISTS_IN_USE) for _ in range(2))
        kind = dice.random()
        if kind < 0.6:
            return ["append", f"00000/{low:05}", float(value)]
        if kind < 0.8:
            return ["read", f"00000/{low:05}"]
        return ["scan", f"00000/{low:05}", f"00000/{high:05}"]

    for each in range(transactions):
        value = (number * 1_000_000 + each) * 1000
        steps = [step(each, value + place) for place in range(dice.choice((1, 1, 2, 3)))]
        args = {"token": f"00000/{name}/{each}", "steps": steps}
        called = time.monotonic_ns()
        answer = client.mutation("f:transact", args)
        fields = {"event": "Operation", "client": name, "function": "f:transact", "args": args, "outcome": "ok"}
        times = {"called": called, "answered": time.monotonic_ns()}
        sys.stdout.write(json.dumps({**fields, **times, "value": answer, "ts": None}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
