"""The processes that are measured, and what they take."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import sysconf
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TICKS = sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A process that serves.

    Attributes:
        port: where.
        pid: its process id.
        start_seconds: how long it took until it was ready.
    """

    port: int
    pid: int
    start_seconds: float

    @property
    def kib(self) -> int:
        """Resident memory of the process that has the sockets."""
        return _number(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())

    @property
    def family_kib(self) -> int:
        """Memory of the process and all that descend from it, what they share counted once."""
        return sum(_number(r"Pss:\s+(\d+)", rollup) for rollup in self._family("smaps_rollup"))

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the process and all that descend or descended from it."""
        stats = [stat.rpartition(")")[2].split() for stat in self._family("stat")]
        # user and system time of its own, and of children that have ended
        return sum(int(ticks) for fields in stats for ticks in fields[11:15]) / TICKS

    def call(self, kind: str, path: str, args: dict[str, Any]) -> Any:
        """What a function of a Yugen server returns: a `query` or a `mutation`, over HTTP."""
        return json.loads(self.request("POST", f"/api/{kind}", {"path": path, "args": args}))["value"]

    def request(self, method: str, path: str, body: Any) -> bytes:
        """What a server answers over HTTP. `body` is bytes, or becomes JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)) as response:
            answer: bytes = response.read()
        return answer

    def _family(self, file: str) -> Iterator[str]:
        """What a file in `/proc` says of the process and each that descends from it."""
        for path in Path("/proc").glob("[0-9]*"):
            pid = int(path.name)
            if pid == self.pid or self.pid in _ancestors(pid):
                with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                    yield (path / file).read_text()


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found
    return int(found[1])


def _ancestors(pid: int) -> Iterator[int]:
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return
        yield pid


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def serving(words: list[str], folder: Path, port: int) -> Iterator[Server]:
    """A process that prints a line when it serves; what else it has to say is in `log` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline(), (folder / "log").read_text()
        try:
            yield Server(port, process.pid, time.perf_counter() - started)
        finally:
            process.terminate()


@contextmanager
def yugen_server(folder: Path, app: Path = HERE / "app", *options: str) -> Iterator[Server]:
    """A production server of an app; its database is in `data` in the folder."""
    port = free_port()
    words = [sys.executable, "-m", "yugen", "serve", str(app), "--host", "127.0.0.1", "--port", str(port)]
    with serving([*words, "--data", str(folder / "data"), *options], folder, port) as server:
        yield server


@contextmanager
def loop_server(folder: Path) -> Iterator[Server]:
    """The best-case loop."""
    port = free_port()
    with serving([sys.executable, "-m", "benchmarks.loop", str(port), str(folder)], folder, port) as server:
        yield server


@contextmanager
def peer_server(folder: Path, stack: str = "yugen") -> Iterator[Server]:
    """Raw limits, on the product's server stack (`yugen`) or on stock uvicorn (`uvicorn`)."""
    port = free_port()
    with serving([sys.executable, "-m", "benchmarks.peers", stack, str(port)], folder, port) as server:
        yield server
