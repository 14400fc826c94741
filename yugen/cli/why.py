"""`yugen why`: what ran again, lost a race or took long on a server of late, and why."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from yugen.cli.remote import Where, deployment, run_command
from yugen.cli.show import counted


def explain(function: str | None, *, limit: int, as_json: bool, where: Where) -> None:
    """Prints the newest occurrences, the newest last; as JSON one on each line."""
    run_command(where.url, _explain(function, limit, as_json=as_json, where=where))


async def _explain(function: str | None, limit: int, *, as_json: bool, where: Where) -> None:
    async with deployment(where, "server") as api:
        params = {"limit": str(limit)} | ({"function": function} if function else {})
        occurrences = (await api.get("/api/why", **params))["occurrences"]
        for occurrence in reversed(occurrences):
            print(json.dumps(occurrence, ensure_ascii=False) if as_json else in_words(occurrence), flush=True)
        if not occurrences and not as_json:
            print("Nothing has run again, lost a race or taken long since the server started.")


def in_words(occurrence: dict[str, Any]) -> str:
    """An occurrence as a person reads it: what happened, with what arguments, and why."""
    at = datetime.fromtimestamp(occurrence["at"] / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3]
    lines = [f"{at}  {occurrence['function']} {_happened(occurrence)}"]
    if occurrence["args"] != "{}":
        lines.append(f"args {occurrence['args']}")
    because = occurrence.get("because")
    if because:
        lines.append(f"because {_wrote(because)}")
        if because.get("read"):
            lines.append(f"which it had read in {because['read']}")
    elif occurrence["kind"] == "slow":
        lines += [f"read {read}" for read in occurrence["reads"]]
        if occurrence["ranges"] > len(occurrence["reads"]):
            lines.append(f"and {occurrence['ranges'] - len(occurrence['reads'])} more ranges")
    return "\n    ".join(lines)


def _happened(occurrence: dict[str, Any]) -> str:
    took = f"{occurrence['milliseconds']:,.1f} ms"
    match occurrence["kind"]:
        case "rerun":
            result = "another result" if occurrence["changed"] else "the same result"
            return f"ran again in {took} for {counted(occurrence['subscribers'], 'subscriber')}, with {result}"
        case "conflict":
            return f"lost a race after {took}, for the {_ordinal(occurrence['losses'])} time, and ran again"
        case _ if (kind := occurrence["functionType"]) in ("action", "http"):
            return f"({kind}) took {took}"
        case _:
            waited = occurrence["milliseconds"] - occurrence["ownMilliseconds"]
            return (
                f"({occurrence['functionType']}) took {took}, {waited:,.1f} ms of that to get a turn, and read "
                f"{counted(occurrence['documents'], 'document')} in {counted(occurrence['ranges'], 'range')}"
            )


def _wrote(because: dict[str, Any]) -> str:
    who = because["mutation"] or "another node"
    match because:
        case {"change": "code"}:
            return "the code of the app has changed"
        case {"change": "inserted", "document": document, "table": table}:
            return f"{who} inserted {document} into {table}"
        case {"change": "deleted", "document": document, "table": table}:
            return f"{who} deleted {document} from {table}"
        case {"change": "changed", "document": document, "table": table, "fields": fields}:
            return f"{who} changed {', '.join(fields or ['fields'])} of {document} in {table}"
        case _:
            return f"{who} wrote something of it"


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
