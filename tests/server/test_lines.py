from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from yugen.server import lines as module
from yugen.server.lines import Lines


class Slow(io.StringIO):
    """A stream that takes nothing while it is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.taking = threading.Event()
        self.asked = threading.Event()

    def write(self, text: str) -> int:
        self.asked.set()
        self.taking.wait()
        return super().write(text)


@contextmanager
def lines_to(stream: io.StringIO) -> Iterator[Lines]:
    lines = Lines(stream, lambda count: f"{count} are missing")
    try:
        yield lines
    finally:
        lines.close()


def test_lines_are_written_by_themselves_in_order() -> None:
    stream = Slow()
    with lines_to(stream) as lines:
        lines.add("first")
        assert stream.asked.wait(10)
        lines.add("second")
        lines.add("third")
        stream.taking.set()
        lines.flush()
        assert stream.getvalue() == "first\nsecond\nthird\n"


def test_closing_writes_what_is_left() -> None:
    stream = io.StringIO()
    with lines_to(stream) as lines:
        for number in range(1000):
            lines.add(str(number))
    assert stream.getvalue().split() == [str(number) for number in range(1000)]
    assert not lines._thread.is_alive()


def test_of_what_a_slow_reader_misses_the_number_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHARACTERS_MAX", 10)
    stream = Slow()
    with lines_to(stream) as lines:
        lines.add("first")
        assert stream.asked.wait(10)
        for number in range(20):
            lines.add(f"line {number:2}")
        stream.taking.set()
        lines.flush()
        lines.add("after")
    assert stream.getvalue().splitlines() == ["first", "line  0", "line  1", "18 are missing", "after"]


def test_a_reader_that_takes_nothing_does_not_stop_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GOODBYE_SECONDS_MAX", 0.01)
    stream = Slow()
    with lines_to(stream) as lines:
        lines.add("first")
        assert stream.asked.wait(10)
        lines.flush()
        lines.close()
        assert stream.getvalue() == ""
        stream.taking.set()


def test_a_stream_without_a_reader_stops_nothing() -> None:
    stream = io.StringIO()
    with lines_to(stream) as lines:
        stream.close()
        lines.add("nobody reads this")
        lines.flush()
        assert lines._thread.is_alive()


ENDS = """
import logging, sys
from yugen.server import logs
logs.configure(readable=False)
for number in range(1000):
    logging.getLogger("yugen").info("event %d", number)
{end}
"""


@pytest.mark.parametrize("end", ["", "sys.exit(1)", "raise KeyError"])
def test_nothing_is_lost_when_a_process_ends(end: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDS.format(end=end)], env=os.environ, stderr=subprocess.PIPE, text=True, check=False
    )
    messages = [json.loads(line)["message"] for line in ended.stderr.splitlines()]
    assert messages[:1000] == [f"event {number}" for number in range(1000)]
    assert messages[1000:] == (["the process ends with an error"] if "KeyError" in end else [])
