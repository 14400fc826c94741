"""The official clients as witnesses: what JavaScript and Python programs saw over connections that are cut.

They say no timestamps. So it is dependencies and real time that their history is judged by, and what is stored.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from reliability import records
from reliability.checkers.once import once
from reliability.checkers.serializability import anomalies
from reliability.cutting import cutting
from reliability.history import lists
from reliability.history.check import Verdict
from reliability.history.run import operations, serving_lists
from reliability.serving import Process
from yugen_client import AsyncClient

_HERE: Final = Path(__file__).parent


async def witness(
    folder: Path, *, seed: int, clients: int = 8, transactions: int = 100, cuts: int = 4, workers: int = 1
) -> Verdict:
    """Has clients of JavaScript, and one of Python, act on the same lists, and judges what they saw.

    Args:
        folder: where the server has its data, and the history goes.
        seed: of the dice by which connections are cut.
        clients: how many clients there are in JavaScript.
        transactions: how many each client makes.
        cuts: how often each connection is cut; the one of the Python client is not, since that client sends what it has
            no answer to under another name.
        workers: nodes of the server.
    """
    app = folder / "app"
    app.mkdir(parents=True)
    (app / "f.py").write_text(lists.APP)
    verdict = Verdict()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving_lists(app, folder / "data", workers))
        shears = [
            await stack.enter_async_context(cutting(server.port, f"{seed} {number}", cuts)) for number in range(clients)
        ]
        told = [word for number, each in enumerate(shears) for word in (f"js{number}", str(number), each.url)]
        node = Process("node", _HERE / "official.mjs", str(transactions), *told)
        official = (sys.executable, _HERE / "official_client.py", "python", str(clients), server.url, str(transactions))
        python = Process(*official)
        for program in (node, python):
            await stack.enter_async_context(program)
        for program in (node, python):
            status = await program.ended(seconds=600)
            if status:
                verdict.violations.append(f"a client ended with {status}: {program.lines[-5:]}")
        lines = [line for program in (node, python) for line in program.lines if line.startswith('{"event"')]
        (folder / "official.jsonl").write_text("".join(f"{line}\n" for line in lines))
        asked = list(operations(records.read(folder / "official.jsonl")))
        async with AsyncClient(server.url) as reader:
            rows = await reader.query("f:done", {"round": "00000", "low": "00000/", "high": "00000/~"})
    (folder / "done.json").write_text(json.dumps(rows))
    history = sorted(filter(None, map(lists.transaction, asked)), key=lambda each: each.invoked)
    verdict.violations += map(str, anomalies(history))
    verdict.violations += map(str, once(asked, (token for token, _ in rows)))
    made = Counter("python" if each.client == "python" else "javascript" for each in asked)
    verdict.counts.update({"transactions": len(history), "effects counted": len(rows), **made})
    verdict.counts["cuts"] = sum(each.cuts for each in shears)
    verdict.counts["reconnects"] = sum(each.attempts - 1 for each in shears)
    return verdict
