"""`make bench` measures the server and the engine; `python -m benchmarks SECTION ...` what it is told to.

Prints what it finds, and writes `results.json` and the tables in `README.md`.
"""

import sys
from collections.abc import Awaitable, Callable, Mapping

import uvloop

from benchmarks import database, engine, needless, serving
from benchmarks.figures import Figure, publish

Measure = Callable[[], Awaitable[tuple[list[Figure], dict[str, float]]]]

SECTIONS: Mapping[str, Measure] = {
    "server": serving.measure,
    "engine": engine.measure,
    "tracking": needless.measure,
    "database": database.measure,
}


async def run(sections: list[str]) -> None:
    for section in sections:
        print(f"\n{section}\n")
        publish(section, *await SECTIONS[section]())


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1:] or ["server", "engine"]))
