"""Hostile input: `python -m reliability fuzz [--inputs N] [--seed N] [--surface NAME]`.

Each input is a valid thing, changed by chance in its structure or in its text. A surface may take it or refuse it with
the error that it declares; anything else is a finding, which is made shorter and printed with its seed. The counts of
what was taken and refused show that neither side is empty. What was once found is in `fuzzing/corpus/` and tried again.
The client of pages is tried (`browser`) where Node.js is installed, as it was built last.

`--server` sends the inputs to a real server over sockets, with a canary beside it. `--openapi CASES` asks what the
OpenAPI documents of the examples say can be asked, and what they say cannot.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from typing import Final

from reliability.fuzzing import (
    answers,
    archives,
    browser,
    conversations,
    cookies,
    http,
    imports,
    oauth,
    raw,
    texts,
    tokens,
)
from reliability.fuzzing.surface import Surface, Tally, replayed, tried

SURFACES: Final[dict[str, Surface]] = {
    surface.name: surface
    for module in (texts, conversations, answers, browser, tokens, cookies, oauth, archives, imports, http, raw)
    for surface in module.SURFACES
}


AT_A_TIME: Final = 20_000
"""After so many inputs it is said how far it is."""


async def _run(surfaces: Sequence[Surface], all_inputs: int, seed: int) -> bool:
    held = True
    weights = sum(surface.weight for surface in surfaces)
    for surface in surfaces:
        inputs = max(1, all_inputs * surface.weight // weights)
        async with surface.open() as attempt:
            known, again = await replayed(surface, attempt)
            tally = Tally()
            for begin in range(seed, seed + inputs, AT_A_TIME):
                tally.add(await tried(surface, range(begin, min(begin + AT_A_TIME, seed + inputs)), attempt))
                _print(surface, seed, tally)
        for found in (*again, *tally.found):
            print(f"  {found}", flush=True)
        if known:
            print(f"  {known} of the corpus tried again, {len(again)} still found", flush=True)
        held = held and not tally.counts["found"] and not again
    return held


def _print(surface: Surface, seed: int, tally: Tally) -> None:
    counts, total = tally.counts, tally.counts.total()
    figures = ", ".join(f"{outcome} {count}" for outcome, count in counts.most_common())
    print(f"{surface.name}: {total} inputs from seed {seed} in {tally.seconds:.0f} s: {figures}", flush=True)


def main(words: Sequence[str]) -> bool:
    """Tries the surfaces; returns whether everything held."""
    options = argparse.ArgumentParser(prog="python -m reliability fuzz", description=__doc__)
    options.add_argument("--inputs", type=int, default=100_000, help="of all surfaces together")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--surface", choices=SURFACES, action="append")
    options.add_argument("--server", action="store_true", help="over sockets, to a real server with a canary beside it")
    options.add_argument("--openapi", type=int, metavar="CASES", help="only this: for each function of the examples")
    options.add_argument("--input", help="one input as JSON, as it was printed or is in the corpus")
    chosen = options.parse_args(words)
    if chosen.openapi is not None:
        return asyncio.run(_openapi(chosen.openapi, chosen.seed))
    if chosen.server:
        return asyncio.run(_server(chosen.inputs, chosen.seed))
    surfaces = [SURFACES[name] for name in chosen.surface or SURFACES]
    if chosen.input is not None:
        return asyncio.run(_one(surfaces[0], chosen.input))
    return asyncio.run(_run(surfaces, chosen.inputs, chosen.seed))


async def _openapi(cases: int, seed: int) -> bool:
    from reliability.fuzzing import openapi  # noqa: PLC0415 -- schemathesis takes its time to load

    held = True
    for name, app in openapi.APPS.items():
        explored = await openapi.explore(app, cases=cases, seed=seed)
        figures = ", ".join(f"{what} {count}" for what, count in explored.counts.most_common())
        print(f"openapi, {name}: {explored.counts.total()} requests from seed {seed}: {figures}", flush=True)
        for failure in explored.failures:
            print(f"  {failure[:2000]}", flush=True)
        held = held and not explored.failures and explored.counts.total() > 0
    return held


async def _server(inputs: int, seed: int) -> bool:
    from reliability.fuzzing import sockets  # noqa: PLC0415 -- of this only

    outcome = await sockets.run(inputs, seed)
    for name, counts in outcome.counts.items():
        figures = ", ".join(f"{what} {count}" for what, count in counts.most_common())
        print(f"{name}, over sockets: {counts.total()} inputs from seed {seed}: {figures}", flush=True)
    before, most, after = outcome.memory
    print(f"{outcome.canary}; memory {before:.0f} MiB before, {most:.0f} at most, {after:.0f} after", flush=True)
    for failure in [*outcome.late, *outcome.failures[:20]]:
        print(f"  {failure[:3000]}", flush=True)
    return not (outcome.failures or outcome.late) and bool(outcome.counts)


async def _one(surface: Surface, text: str) -> bool:
    async with surface.open() as attempt:
        print(await attempt(json.loads(text)))
    return True
