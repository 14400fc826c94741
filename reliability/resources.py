"""What a server takes of the machine: memory, processes, open files, and the disk; read from /proc."""

from __future__ import annotations

import os
import resource
import statistics
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20

PAIRS_AT_MOST: Final = 400
"""Of samples, so many are looked at in pairs; more are thinned out."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server has at one moment.

    Attributes:
        seconds: when, from the beginning.
        server: bytes of memory that are resident, of the process that clients talk to.
        workers: bytes, of all that it has started together; what they share counts once (PSS).
        processes: how many there are.
        files: open files, sockets among them, of all of them.
        database: bytes of the database, without its write-ahead log, which has a bound and comes and goes.
        stored: bytes of everything else in the data's folder.
    """

    seconds: float
    server: int
    workers: int
    processes: int
    files: int
    database: int
    stored: int


def usage(pid: int, data: Path, seconds: float) -> Usage:
    """What the server of this process id has now, whose data is in this folder."""
    others = list(descendants(pid))
    sizes = dict(_sizes(data))
    return Usage(
        seconds=seconds,
        server=resident(pid),
        workers=sum(_memory(each, "smaps_rollup", "Pss:") for each in others),
        processes=1 + len(others),
        files=sum(open_files(each) for each in (pid, *others)),
        database=sum(size for path, size in sizes.items() if path.suffix == ".sqlite3"),
        stored=sum(size for path, size in sizes.items() if ".sqlite3" not in path.name),
    )


def resident(pid: int) -> int:
    """Bytes of memory of a process that are resident; 0 if it is gone."""
    return _memory(pid, "status", "VmRSS:")


def growth(samples: Sequence[tuple[float, float]]) -> float:
    """By how much something grows from the first sample to the last, if it grows steadily.

    That is the median of the slopes between all pairs (Theil-Sen), times how long it was watched: a few samples that
    stick out do not move it, as they would a least-squares line.

    Args:
        samples: seconds and values, in the order of time.
    """
    thinned = samples[:: max(1, len(samples) // PAIRS_AT_MOST)]
    slopes = [(b - a) / (till - since) for (since, a), (till, b) in combinations(thinned, 2) if till > since]
    return statistics.median(slopes) * (samples[-1][0] - samples[0][0]) if slopes else 0.0


def allow_many_files() -> int:
    """Raises how many files, and so sockets, this process may have open to what it may be; returns that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def descendants(pid: int) -> Iterator[int]:
    """The process ids of all that a process has started, and that they have."""
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from descendants(int(child))


def _memory(pid: int, file: str, name: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def open_files(pid: int) -> int:
    """How many files a process has open, sockets among them; 0 if it is gone."""
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it has ended meanwhile
        return 0


def _sizes(folder: Path) -> Iterator[tuple[Path, int]]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(FileNotFoundError):  # it has been removed meanwhile
                yield path, path.stat().st_size
