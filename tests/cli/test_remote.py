"""Which deployment a command talks to, and what it says when there is none."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from reliability.serving import serving
from tests.apps import write_app
from tests.cli.calling import call, call_there, done, done_there, held
from tests.cli.chat import write_chat
from yugen.cli.remote import Where, holder, key_for
from yugen.server.yugen import Yugen


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An address at which nobody is, for who names none; and a folder without anything."""
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr("yugen.cli.remote.LOCAL_URL", url)
    return url


@pytest.mark.parametrize("command", [["data"], ["env", "list"], ["logs"], ["why"], ["functions"]])
def test_without_anything(nowhere: str, command: list[str]) -> None:
    called = call(*command)
    assert called.status == 3
    assert called.err == (
        "There is no admin key in .yugen; name the folder with --data, or give the key with --admin-key.\n"
    )
    called = call(*command, "--admin-key", "x")
    assert called.status == 3
    assert called.err == (
        f"There is no server at {nowhere}; start one with `yugen dev`, name another with --url, or open data without a "
        "server with --data.\n"
    )


async def test_a_server_is_found_by_its_data(nowhere: str, tmp_path: Path) -> None:
    app = write_chat(tmp_path)
    async with serving(app, tmp_path / ".yugen") as server:
        assert holder(Path(".yugen")) == str(server._process.pid)
        assert (await done_there("data")).lines == ["messages", "users"]
        assert (await done_there("data", "--data", ".yugen")).lines == ["messages", "users"]
        assert (await done_there("logs", "--data", ".yugen")).err == (
            "Nothing has run like that since the server started.\n"
        )
        (tmp_path / ".yugen" / "address").unlink()  # as of a server inside of another
        called = await call_there("data", "--data", ".yugen")
        assert called.status == 3
        assert called.err == (
            f".yugen is in use by a server (process {server._process.pid}), which is not at {nowhere}; say where it is "
            "with --url, or stop it.\n"
        )
        assert (await done_there("data", "--data", ".yugen", "--url", server.url)).lines == ["messages", "users"]
    assert holder(Path(".yugen")) is None
    assert (await done_there("data", "--data", ".yugen")).lines == ["messages", "users"]


def test_an_address_that_is_noted_and_nobody_is_there(nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        noted = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with held(Path(".yugen"), noted), monkeypatch.context() as patched:
            patched.setattr("yugen.cli.remote.CALL_SECONDS_MAX", 0.1)
            for more in ([], ["--data", ".yugen"]):
                called = call("data", *more)
                assert called.status == 3
                assert re.fullmatch(
                    rf"{noted} does not answer \(\w+Timeout\); name another server with --url\.\n", called.err
                )
    with held(Path(".yugen"), noted):
        called = call("data")
        assert called.status == 3
        assert called.err.startswith(f"There is no server at {noted}; ")


async def test_an_address_that_is_noted_and_is_of_another_server(nowhere: str, tmp_path: Path) -> None:
    async with serving(write_chat(tmp_path), tmp_path / "data") as server:
        with held(Path(".yugen"), server.url):
            called = await call_there("data", "--data", ".yugen")
            assert called.status == 3
            assert called.err == (
                f".yugen is in use by a server (process 7), which is not at {server.url}; say where it is with --url, "
                "or stop it.\n"
            )
            called = await call_there("data", "--data", ".yugen", "--admin-key", "wrong")
            assert called.err == "The admin key is not the one of this deployment; see its data folder.\n"


async def test_a_key_that_opens_nothing(tmp_path: Path) -> None:
    async with serving(write_chat(tmp_path), tmp_path / "data") as server:
        called = await call_there("data", "--url", server.url, "--admin-key", "wrong")
        assert called.status == 3
        assert called.err == "The admin key is not the one of this deployment; see its data folder.\n"


@pytest.mark.parametrize("command", [["logs"], ["why"], ["run", "messages:list", "--watch"]])
def test_what_is_in_the_memory_of_a_server_needs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    write_chat(tmp_path)
    monkeypatch.chdir(tmp_path)
    called = call(*command, "--data", "typo")
    assert called.status == 3
    assert called.err == "No server runs over typo, and this is in the memory of one; start it with `yugen dev`.\n"
    assert not Path("typo").exists()


def test_keys_that_lie_here_are_not_shown_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".yugen").mkdir()
    (tmp_path / ".yugen" / "admin_key").write_text("ours\n")
    assert key_for(Where(), "http://127.0.0.1:3210") == "ours"
    assert key_for(Where(), "http://localhost:3210") == "ours"
    assert key_for(Where(), "http://[::1]:3210") == "ours"
    there = "https://example.org"
    assert key_for(Where(), there) is None
    assert key_for(Where(url=there), there) is None
    assert key_for(Where(data=Path(".yugen")), there) is None  # which is then noted in the folder only
    assert key_for(Where(url=there, data=Path(".yugen")), there) == "ours"
    assert key_for(Where(key="given"), there) == "given"
    with held(Path(".yugen"), there):
        for more in ([], ["--data", ".yugen"]):
            called = call("data", *more)
            assert called.status == 3
            assert called.err == (
                f"No admin key goes to {there} unasked; name it with --url and the folder of its data with --data, or "
                "give the key with --admin-key.\n"
            )


def test_the_data_is_beside_the_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there" / "app").mkdir(parents=True)
    (tmp_path / "link").symlink_to("there/app")
    monkeypatch.chdir(tmp_path)
    for app in (Path("there/app"), Path("link"), tmp_path / "there" / "app"):
        assert Where(app=app).folder == Path("there/.yugen")
    monkeypatch.chdir("there/app")
    assert Where(app=Path()).folder == tmp_path / "there" / ".yugen" == Yugen(".").data
    assert Where(data=Path("data")).folder == Path("data")


def test_files_beside_the_data_that_are_damaged(nowhere: str) -> None:
    for text in (b"\xff", b"http://[", b""):
        with held(Path(".yugen"), nowhere):
            Path(".yugen/address").write_bytes(text)
            assert call("data").err.startswith(f"There is no server at {nowhere}; ")
            Path(".yugen/admin_key").write_bytes(b"\xff")
            assert call("data").err.startswith("There is no admin key in .yugen; ")


def test_data_is_opened_as_a_server_would(tmp_path: Path) -> None:
    here = ["--data", str(tmp_path / "data"), "--app", str(write_chat(tmp_path))]
    assert done("run", "messages:list", *here).json == [[]]
    write_app(
        tmp_path, schema="from yugen import Document\nclass New(Document, table='new'):\n    x: int\n", messages=""
    )
    assert done("data", *here[:2]).lines == ["messages", "users"]  # only looks, and deploys nothing
    assert "Could not find" in call("run", "messages:list", *here).err
    assert done("data", *here[:2]).lines == ["messages", "new", "users"]


def test_an_app_that_cannot_be_loaded(tmp_path: Path) -> None:
    called = call("run", "a:b", "--data", tmp_path / "data", "--app", tmp_path / "app")
    assert (called.status, called.err) == (
        1,
        f"There is no folder {tmp_path / 'app'}; name the folder of your app package with --app.\n",
    )
    app = write_app(tmp_path, messages="x = 1 / 0\n")
    called = call("run", "a:b", "--data", tmp_path / "data", "--app", app)
    assert called.status == 1
    assert "messages.py:1: ZeroDivisionError" in called.err
