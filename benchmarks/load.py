"""The load client of `client/`: compiled when it is first used, run with options by name, its report read."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

CLIENT = Path(__file__).parent / "client"
SOURCES = sorted(CLIENT.glob("*.[ch]"))
COMPILE = ("cc", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers")


@dataclass(frozen=True)
class Slice:
    """A tenth of a second. Latencies are in microseconds, of what was done in it."""

    sent: int
    done: int
    failed: int
    updates: int
    p50: float
    p99: float


@dataclass(frozen=True)
class Report:
    """What a load was answered.

    Attributes:
        seconds: how long it was measured.
        opening_seconds: how long it took until all connections were open and had their first results.
        cpu_seconds: processor time of the load client itself.
        sent: calls made.
        done: calls that were answered and, as `until` says, seen.
        failed: calls that were answered with a failure, lost with their connection, or not taken.
        unanswered: calls still without an answer at the very end.
        transitions: Transitions that came.
        updates: those with something in them; texts of a raw server to listeners; answers over HTTP.
        update_bytes: their sizes.
        bytes: all that came.
        failures: failed calls by kind.
        closes: connections the server closed, by code and reason.
        latency: microseconds of a call: `mean`, `p50`, `p90`, `p99`, `max`.
        slices: tenths of a second, if they were asked for.
    """

    seconds: float
    opening_seconds: float
    cpu_seconds: float
    sent: int
    done: int
    failed: int
    unanswered: int
    transitions: int
    updates: int
    update_bytes: int
    bytes: int
    failures: dict[str, int]
    closes: dict[str, int]
    latency: dict[str, float]
    slices: list[Slice] = field(default_factory=list)

    @classmethod
    def read(cls, text: str) -> "Report":
        fields = json.loads(text)
        fields["slices"] = [Slice(**each) for each in fields.get("slices", [])]
        return cls(**fields)

    @property
    def per_second(self) -> float:
        """Calls done a second."""
        return self.done / self.seconds

    @property
    def updates_per_second(self) -> float:
        return self.updates / self.seconds

    @property
    def p50(self) -> float:
        """Median microseconds of a call."""
        return self.latency["p50"]


class LoadFailed(Exception):
    """The load client could not do what it was to do."""


@cache
def binary() -> Path:
    """The load client, compiled if it is not there yet.

    Raises:
        LoadFailed: it does not compile; without a compiler, what to do.
    """
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES)).hexdigest()[:16]
    path = CLIENT / "built" / f"load-{digest}"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        made = path.with_suffix(f".{os.getpid()}")  # several tests may come first at once
        sources = [str(source) for source in SOURCES if source.suffix == ".c"]
        try:
            subprocess.run([*COMPILE, *sources, "-o", str(made), "-lm"], check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise LoadFailed("The load client is written in C, and there is no cc; run scripts/install-cc.") from None
        except subprocess.CalledProcessError as error:
            raise LoadFailed(error.stderr) from None
        made.replace(path)
    return path


def command(port: int, options: dict[str, Any]) -> list[str]:
    """The command line: `query_args={...}` becomes `--query-args '{...}'`, and True an option without a value."""
    words = [str(binary()), "--port", str(port)]
    for name, value in options.items():
        if value is not None and value is not False:
            words.append(f"--{name.replace('_', '-')}")
            if value is not True:
                words.append(json.dumps(value) if isinstance(value, dict) else str(value))
    return words


def run(port: int, **options: Any) -> Report:
    """Puts a load on a server; `load --help` lists the options, and `command` says how they are written here.

    Raises:
        LoadFailed: it did not come to an end.
    """
    done = subprocess.run(command(port, options), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadFailed(done.stderr)
    return Report.read(done.stdout)


@contextmanager
def held(port: int, **options: Any) -> Iterator[list[Report]]:
    """A load that lasts as long as the block. It is there when all connections have their first results.

    Gives a list, which has the report in it after the block.
    """
    words = command(port, {**options, "seconds": 0, "announce": True})
    reports: list[Report] = []
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise LoadFailed(f"{' '.join(words)} ended")
        try:
            yield reports
        finally:
            out, _ = process.communicate()
        if process.returncode:
            raise LoadFailed(f"{' '.join(words)} ended with {process.returncode}")
        reports.append(Report.read(out))
