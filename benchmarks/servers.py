"""The processes that are measured."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def yugen_server(folder: Path, app: Path = HERE / "app") -> Iterator[Server]:
    """A production server of an app; its log is `log` in the folder and its database is in `data` there."""
    port = free_port()
    command = [sys.executable, "-m", "yugen", "serve", str(app), "--port", str(port)]
    folder.mkdir(exist_ok=True)
    started = time.perf_counter()
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--data", str(folder / "data")], stdout=subprocess.PIPE, stderr=log
        ) as server,
    ):
        assert server.stdout is not None
        assert b"ready" in server.stdout.readline(), (folder / "log").read_text()
        try:
            yield Server(port, server.pid, time.perf_counter() - started)
        finally:
            server.terminate()


@contextmanager
def peer_server(folder: Path) -> Iterator[Server]:
    """The raw limits."""
    port = free_port()
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "benchmarks.peers", str(port), str(folder)]) as server:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert server.poll() is None
        try:
            yield Server(port, server.pid, time.perf_counter() - started)
        finally:
            server.terminate()
