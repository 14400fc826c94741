"""What it costs to find whose reads a write touches, and to enter and take out readers, as intervals grow in number."""

import gc
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Section, compared
from yugen import keys
from yugen.intervals import Interval
from yugen.runtime.interval_index import IntervalIndex

SIZES = (1_000, 100_000, 1_000_000)
WRITES = 2_000
ROUNDS = 5

Shape = Callable[[int, random.Random], Interval]

_PLACE = keys.index_prefix(100, 1)


def _topic(number: int) -> bytes:
    return _PLACE + keys.encode_values([f"topic {number:07}"])


def newest(number: int, dice: random.Random) -> Interval:
    """The newest few of a topic, in a read that ends with a document."""
    return _topic(number), _topic(number) + dice.randbytes(16) + b"\x00"


def whole(number: int, dice: random.Random) -> Interval:
    """All of a topic."""
    return _topic(number), keys.prefix_end(_topic(number))


def point(number: int, dice: random.Random) -> Interval:
    """One document."""
    key = keys.document_key(100, number.to_bytes(16, "big"))
    return key, key + b"\x00"


def period(number: int, dice: random.Random) -> Interval:
    """From a moment to another a little later; neighbours overlap."""
    return tuple(_PLACE + keys.encode_values([number + after]) for after in (0.5, 3.0))  # type: ignore[return-value]


def nested(number: int, dice: random.Random) -> Interval:
    """Each around all that came before, and away from what is written."""
    return tuple(_PLACE + keys.encode_values([1e9 + sign * (number + 1)]) for sign in (-1e-3, 1e-3))  # type: ignore[return-value]


SHAPES: Sequence[Shape] = (newest, whole, point, period, nested)


@dataclass(frozen=True)
class Costs:
    """Microseconds of processor time, and bytes of an interval apart from its keys and its reader."""

    write: float
    add: float
    remove: float
    size: float


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def cost(shape: Shape, size: int) -> Costs:
    """What it costs with so many intervals of a shape, a reader each."""
    dice = random.Random(1)
    readers = [object() for _ in range(size)]
    intervals = [shape(number, dice) for number in range(size)]
    order = dice.sample(range(size), min(size, 10_000))
    # A write is a document and its entry, in the place that is read and in another.
    writes = [
        (keys.document_key(100, dice.randbytes(16)), intervals[dice.randrange(size)][0] + dice.randbytes(16))
        for _ in range(WRITES)
    ]
    if shape is nested:
        writes = [(document, _PLACE + keys.encode_values([dice.random() * 1e6])) for document, _ in writes]
    index: IntervalIndex[object] = IntervalIndex()
    gc.collect()
    before, started = _resident(), time.process_time()
    for reader, interval in zip(readers, intervals, strict=True):
        index.add(reader, (interval,))
    added, after = time.process_time() - started, _resident()
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for write in writes:
            index.readers(write)
        rounds.append(time.process_time() - started)
    started = time.process_time()
    for number in order:
        index.remove(readers[number], (intervals[number],))
    removed = time.process_time() - started
    return Costs(
        min(rounds) / WRITES * 1e6, added / size * 1e6, removed / len(order) * 1e6, max(0, after - before) / size
    )


def measure() -> Section:
    few, most = SIZES[0], SIZES[-1]
    return Section(
        [
            compared(
                f"a write over {most:,} intervals, {shape.__name__}",
                "µs",
                cost(shape, most).write,
                cost(shape, few).write,
                f"over {few:,}",
            )
            for shape in SHAPES
        ]
    )


if __name__ == "__main__":
    for shape in SHAPES:
        for size in [int(size) for size in sys.argv[1:]] or SIZES:
            print(f"{shape.__name__:7} {size:9,}", cost(shape, size), flush=True)
