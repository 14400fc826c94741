"""`make bench` measures every goal; `python -m benchmarks [--quick] [SECTION ...]` what it is told to.

Prints what it finds, and writes `results.json`, the tables in `README.md` and the page `report.html`. A quick look
measures less, and only prints.
"""

import sys
from collections.abc import Callable, Mapping

from benchmarks import (
    backlog,
    checksums,
    database,
    delivery,
    engine,
    functions,
    growth,
    intervals,
    later,
    mutations,
    needless,
    nodes,
    page,
    queries,
    reload,
    resources,
    settings,
    storage,
    subscriptions,
)
from benchmarks.figures import Section, noise, publish, table
from benchmarks.workloads import effort

SECTIONS: Mapping[str, Callable[[], Section]] = {
    "mutations": mutations.measure,
    "subscriptions": subscriptions.measure,
    "queries": queries.measure,
    "resources": resources.measure,
    "reload": reload.measure,
    "growth": growth.measure,
    "backlog": backlog.measure,
    "later": later.measure,
    "nodes": nodes.measure,
    "engine": engine.measure,
    "functions": functions.measure,
    "delivery": delivery.measure,
    "intervals": intervals.measure,
    "tracking": needless.measure,
    "storage": storage.measure,
    "settings": settings.measure,
    "checksums": checksums.measure,
    "store": storage.measure_growth,
    "database": database.measure,
    "scale": growth.measure_large,
}

ASKED_FOR = ("intervals", "tracking", "storage", "settings", "checksums", "store", "database", "scale")
"""Sections that take long or change only with the code: they are measured only by name."""


def run(words: list[str]) -> None:
    quick = "--quick" in words
    if quick:
        effort.be_quick()
    for name in [word for word in words if word != "--quick"] or [each for each in SECTIONS if each not in ASKED_FOR]:
        print(f"\n{name}\n", flush=True)
        section = SECTIONS[name]()
        measured = noise()
        print(table(section, measured), flush=True)
        if not quick:
            publish(name, section, measured)
    if not quick:
        page.write(SECTIONS)


if __name__ == "__main__":
    run(sys.argv[1:])
