from __future__ import annotations

import http.server
import os
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reliability.serving import serving
from tests.apps import write_app
from tests.cli.calling import Called, call, call_there, done, held
from tests.cli.chat import write_chat
from yugen import __version__
from yugen.cli import doctor
from yugen.cli.doctor import Finding
from yugen.server.yugen import Yugen


@pytest.fixture
def here(tmp_path: Path) -> list[str]:
    here = ["--data", str(tmp_path / "data"), "--app", str(write_chat(tmp_path))]
    done("run", "messages:send", '{"author": "Ada", "body": "x"}', *here)
    return [*here, "--port", str(free_port())]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def by_check(called: Called) -> dict[str, tuple[str, str, str]]:
    return {each["check"]: (each["state"], each["found"], each["advice"]) for each in called.json}


def only(findings: Iterable[Finding]) -> tuple[str, str]:
    [finding] = findings
    assert finding.state == "ok" or finding.advice
    return finding.state, finding.found


def test_all_is_well(here: list[str], tmp_path: Path) -> None:
    before = {each: each.stat().st_mtime_ns for each in (tmp_path / "data").iterdir() if "-" not in each.name}
    called = done("doctor", *here)
    assert called.lines[-1] == "0 errors, 0 warnings."
    assert all(line.startswith("ok ") for line in called.lines[:-2])
    found = by_check(done("doctor", "--json", *here))
    assert found.keys() == {
        *("Python", "SQLite", "versions", "port", "clock", "app", "data", "disk"),
        *("disk space", "WAL", "database", "indexes", "schema"),
    }
    assert {each: each.stat().st_mtime_ns for each in before} == before


async def test_a_server_that_runs(tmp_path: Path) -> None:
    app = write_chat(tmp_path)
    async with serving(app, tmp_path / "data") as server:
        found = by_check(await call_there("doctor", "--json", "--data", tmp_path / "data", "--app", app))
        assert found["server"] == ("ok", f"{server.url} runs {__version__}", "")
        assert found["admin key"][0] == "ok"
        assert found["data"][1].endswith(f"in use by process {server._process.pid}")
        assert found["schema"][0] == "ok"
        elsewhere = ("doctor", "--json", "--url", server.url, "--app", app, "--admin-key", "x", "--data", tmp_path)
        called = await call_there(*elsewhere)
        assert called.status == 1
        assert by_check(called)["admin key"][:2] == ("error", f"does not open {server.url}")
        assert by_check(called)["data"][:2] == ("warning", f"{tmp_path} holds no data")


def test_documents_that_do_not_fit(here: list[str], tmp_path: Path) -> None:
    text = "from yugen import Document\nclass Message(Document, table='messages'):\n    author: int\n    body: str\n"
    write_app(tmp_path, schema=text, messages="")
    called = call("doctor", "--json", *here)
    assert called.status == 1
    state, found, advice = by_check(called)["schema"]
    assert state == "error"
    assert "Documents of messages do not fit its class" in found
    assert advice
    migrations = "from yugen import migration\n\n@migration('messages')\nasync def m(ctx, document): return None\n"
    write_app(tmp_path, migrations=migrations)
    state, found, _ = by_check(done("doctor", "--json", *here))["schema"]
    assert (state, found) == ("warning", "m to be done; whether documents fit shows then")


def test_an_app_that_does_not_load(here: list[str], tmp_path: Path) -> None:
    write_app(tmp_path, messages="def f(:\n")
    called = call("doctor", *here)
    assert called.status == 1
    assert "messages.py:1" in called.out
    assert called.lines[-1] == "1 error, 0 warnings."


def test_no_app_and_no_data(tmp_path: Path) -> None:
    found = by_check(
        done("doctor", "--json", "--data", tmp_path / "d", "--app", tmp_path / "a", "--port", str(free_port()))
    )
    assert found["app"][0] == found["data"][0] == "warning"
    assert found["disk space"][0] in ("ok", "warning")


def test_a_database_that_is_damaged(here: list[str], tmp_path: Path) -> None:
    with (tmp_path / "data" / "data.sqlite3").open("r+b") as file:
        file.write(b"x" * 100)
    called = call("doctor", "--json", *here)
    assert called.status == 1
    assert by_check(called)["database"][0] == "error"


async def test_stored_files_that_are_not_what_was_stored(tmp_path: Path) -> None:
    text = """
        from yugen import ActionCtx, action

        @action
        async def store(ctx: ActionCtx, size: int) -> str:
            return await ctx.storage.store(b"x" * size)
    """
    app, data = write_app(tmp_path, f=text), tmp_path / "data"
    async with Yugen(app, database=data) as yugen:
        ids = [await yugen.action("f:store", size=size) for size in (0, 10, 300_000)]
    there = ("doctor", "--json", "--thorough", "--data", data, "--app", app, "--port", str(free_port()))
    assert by_check(await call_there(*there))["files"] == ("ok", "3 files as they were stored", "")
    stored = sorted((data / "files").glob("??/*"), key=lambda file: file.stat().st_size)
    content = bytearray(stored[2].read_bytes())
    content[123_456] ^= 1
    stored[2].write_bytes(content)
    stored[1].unlink()
    called = await call_there(*there)
    assert called.status == 1
    state, found, advice = by_check(called)["files"]
    assert state == "error"
    assert found.startswith("2 of 3 are not what was stored: ")
    assert ids[1] in found
    assert ids[2] in found
    assert advice


def test_a_key_that_others_can_read(here: list[str], tmp_path: Path) -> None:
    (tmp_path / "data" / "admin_key").chmod(0o644)
    assert by_check(done("doctor", "--json", *here))["admin key"][0] == "warning"


def test_data_that_cannot_be_written(here: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)  # to root, everything can be written
    assert by_check(call("doctor", "--json", *here))["data"][0] == "error"


@contextmanager
def something_else(status: int, text: str, date: str | None = None) -> Iterator[str]:
    """A server of somebody else, which answers all questions so."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status)
            self.send_header("Date", date or self.date_time_string())
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.mark.parametrize(
    ("status", "text", "state", "part"),
    [
        (200, "<html>" + "x" * 100, "error", "is something other than Yugen"),
        (404, "no", "error", "is something other than Yugen"),
        (503, "This deployment cannot start; its log says why.", "error", "does not serve: This deployment"),
        (200, "0.0.1\n", "warning", "runs 0.0.1, and this is"),
    ],
)
def test_servers_that_are_not_as_they_should_be(tmp_path: Path, status: int, text: str, state: str, part: str) -> None:
    with something_else(status, text) as url:
        found = by_check(call("doctor", "--json", "--url", url, "--data", tmp_path))["server"]
    assert found[0] == state
    assert part in found[1]
    assert found[2]


def test_clocks_that_are_apart(tmp_path: Path) -> None:
    with something_else(200, __version__, "Thu, 01 Jan 2026 00:00:00 GMT") as url:
        found = by_check(call("doctor", "--json", "--url", url, "--data", tmp_path))["server clock"]
    assert found[0] == "warning"
    assert "behind this machine's" in found[1]


def test_a_port_that_something_else_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_SECONDS_MAX", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = by_check(call("doctor", "--json", "--port", port, "--data", tmp_path))["port"]
    assert found[0] == "error"
    assert f"{port} is not free" in found[1]


def test_no_server_where_one_should_be(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    called = call("doctor", "--json", "--url", url, "--data", tmp_path)
    assert by_check(called)["server"] == (
        "error",
        f"none at {url} (ConnectError)",
        "Start it, or name another with --url.",
    )


def test_a_server_that_has_the_data_and_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_SECONDS_MAX", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with held(tmp_path / "data", url):
            called = call("doctor", "--json", "--port", str(free_port()), "--data", tmp_path / "data")
    assert called.status == 1
    state, found, _ = by_check(called)["server"]
    assert (state, found.partition(" (")[0]) == ("error", f"none at {url}")


def test_old_versions() -> None:
    assert only(doctor.python((3, 10, 1))) == ("error", "3.10.1")
    assert only(doctor.sqlite("3.51.2")) == ("error", "3.51.2, which can damage data")
    assert only(doctor.sqlite("3.51.3")) == ("ok", "3.51.3")


def test_time() -> None:
    assert only(doctor.clock(0.0)) == ("error", "1970-01-01 00:00:00 UTC is past")
    assert only(doctor.ahead(100 * 10**9, 90 * 10**9)) == ("warning", "the newest commit is 10 s ahead of the clock")
    assert only(doctor.ahead(1, 90 * 10**9)) == ("ok", "the newest commit is at 1")


def test_room() -> None:
    assert only(doctor.space(1_000)) == ("error", "0.0 GB free")
    assert only(doctor.space(500_000_000)) == ("warning", "0.5 GB free")
    assert only(doctor.space(5_000_000_000)) == ("ok", "5.0 GB free")


def test_disks_of_other_machines(tmp_path: Path) -> None:
    mounts = f"/dev/sda1 / ext4 rw 0 0\nserver:/data {tmp_path.parent} nfs4 rw 0 0\n"
    assert only(doctor.disk(tmp_path, mounts)) == ("error", f"{tmp_path.parent} is on another machine (nfs4)")
    assert only(doctor.disk(Path("/"), mounts)) == ("ok", "local (ext4)")
    assert not list(doctor.disk(tmp_path, ""))
    spaced = tmp_path / "a b"
    assert only(doctor.disk(spaced, f"x {tmp_path}/a\\040b fuse.sshfs rw 0 0\n"))[0] == "error"


def test_a_long_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(doctor.wal(tmp_path)) == ("ok", "0.0 MB")
    monkeypatch.setattr(doctor, "WAL_BYTES_MAX", 10)
    (tmp_path / "data.sqlite3-wal").write_bytes(bytes(2_000_000))
    assert only(doctor.wal(tmp_path)) == ("warning", "2.0 MB")
