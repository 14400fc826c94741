"""`yugen logs`: the runs of functions that a server remembers, and those that come."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx2 as httpx

from yugen.cli.remote import Api, Refusal, Where, deployment, run_command
from yugen.cli.show import printable

_PAUSE_SECONDS: Final = 0.5
"""How long it waits for a server that has gone away."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs are to be shown.

    Attributes:
        function: of this function, or of this module; None for all.
        kind: of functions of this kind; None for all.
        failures: only those that have failed.
        since: those that ended after this, in seconds since the epoch; None for all.
    """

    function: str | None = None
    kind: str | None = None
    failures: bool = False
    since: float | None = None

    def takes(self, entry: dict[str, Any]) -> bool:
        """Whether a run is one of them, in the form in which the server tells of it."""
        path = entry["identifier"]
        return (
            (self.function is None or path == self.function or path.partition(":")[0] == self.function)
            and (self.kind is None or _kind(entry) == self.kind)
            and (not self.failures or entry["error"] is not None)
            and (self.since is None or entry["timestamp"] >= self.since)
        )


def show_logs(wanted: Wanted, *, follow: bool, limit: int | None, as_json: bool, where: Where) -> None:
    """Prints runs, the newest last; as JSON one on each line."""
    run_command(where.url, _show(wanted, follow=follow, limit=limit, as_json=as_json, where=where))


async def _show(wanted: Wanted, *, follow: bool, limit: int | None, as_json: bool, where: Where) -> None:
    async with deployment(where, "server") as api:
        entries, cursor = await _runs(api, 0)
        found = [entry for entry in entries if wanted.takes(entry)]
        _print(found[-limit:] if limit else found, as_json=as_json)
        if not follow:
            if not found and not as_json:
                print("Nothing has run like that since the server started.", file=sys.stderr)
            return
        away = False
        while True:
            try:
                entries, cursor = await _runs(api, cursor)
                away = False
            except (httpx.TransportError, Refusal) as error:
                if isinstance(error, Refusal) and error.code != "NotServing":
                    raise
                if not away:
                    print(f"{api.url} is not there; waiting for it.", file=sys.stderr)
                away = True
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            _print([entry for entry in entries if wanted.takes(entry)], as_json=as_json)


async def _runs(api: Api, cursor: float) -> tuple[list[dict[str, Any]], float]:
    """The runs after a cursor, and the cursor after which those are that come next; it waits for some."""
    answer = await api.get("/api/stream_function_logs", cursor=repr(cursor))
    return answer["entries"], answer["newCursor"]


def _print(entries: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    for entry in entries:
        print(json.dumps(entry) if as_json else in_words(entry), flush=True)


def in_words(entry: dict[str, Any]) -> str:
    """A run as a person reads it: when, what, how long, and below what it logged and its error."""
    at = datetime.fromtimestamp(entry["timestamp"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
    how = "ran" if entry["error"] is None else "failed"
    took = f"{1000 * entry['executionTime']:,.1f} ms"
    lines = [f"{at}  {_kind(entry)} {entry['identifier']} {how} in {took}"]
    for text in [*entry["logLines"], *([] if entry["error"] is None else [entry["error"]])]:
        lines += [printable(line) for line in str(text).split("\n")]
    return "\n    ".join(lines)


def _kind(entry: dict[str, Any]) -> str:
    """What ran, as Yugen's own logs have it; Convex has another word for what answers requests."""
    return str(entry["udfType"]).lower().removesuffix("action") or "action"
