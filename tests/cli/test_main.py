from __future__ import annotations

import os
import subprocess
import sys

import pytest

from reliability.serving import YUGEN
from yugen import __version__
from yugen.cli.main import main

HEAVY = ("apsw", "asyncio", "httpx2", "pydantic", "starlette", "uvicorn", "yugen_client")


def output(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """What a command that ends at once prints."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == status
    return "".join(capsys.readouterr())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["version"])
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("command", ["init", "dev", "serve", "run", "why", "codegen", "version"])
def test_each_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert output(capsys, command, "--help").startswith("usage: yugen")


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, status=2)
    assert all(command in text for command in ("init", "dev", "serve", "run", "why", "codegen", "version"))


@pytest.mark.parametrize("port", ["65536", "-1", "x"])
def test_a_port_has_bounds(capsys: pytest.CaptureFixture[str], port: str) -> None:
    assert "--port" in output(capsys, "serve", "--port", port, status=2)


def test_limits_are_options_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[object] = []
    monkeypatch.setattr("yugen.cli.early.begin", lambda: None)
    monkeypatch.setattr("yugen.cli.serve.serve_forever", lambda app, **options: got.append(options["limits"]))
    main(["serve"])
    monkeypatch.setenv("YUGEN_LIMITS", "requests=3 connections=4")
    main(["serve"])
    main(["serve", "--limit", "requests=5", "--limit", "connections=6"])
    assert got == [[], ["requests=3", "connections=4"], ["requests=5", "connections=6"]]


def test_output_that_cannot_be_written() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for place, told in [(os.open("/dev/full", os.O_WRONLY), "No space left on device.\n"), (writing, "")]:
        ended = subprocess.run([YUGEN, "version"], check=False, stdout=place, stderr=subprocess.PIPE, text=True)
        os.close(place)
        assert (ended.returncode, ended.stderr) == (1, told)


def imported(statement: str) -> set[str]:
    """The packages that a statement imports, in a Python of its own."""
    command = [sys.executable, "-c", f"import sys; {statement}\nprint(*sys.modules)"]
    return {
        name.partition(".")[0]
        for name in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    }


def test_asking_for_help_imports_little() -> None:
    assert imported("import yugen.cli.main").isdisjoint(HEAVY)


def test_calling_a_function_imports_neither_the_engine_nor_a_client() -> None:
    loaded = imported(
        "from yugen.cli import main\n"
        "try: main.main(['run', 'a:b', '--url', 'http://127.0.0.1:1'])\n"
        "except SystemExit: pass\n"
    )
    assert "httpx2" in loaded
    assert loaded.isdisjoint({"apsw", "pydantic", "starlette", "uvicorn", "websockets", "yugen_client"})


def test_a_server_imports_no_pydantic() -> None:
    loaded = imported(
        "from yugen.cli import early, main, serve; early.begin = serve.serve_forever = lambda *_, **__: None; "
        "main.main(['serve']); import yugen.server.listen, yugen.server.asgi"
    )
    assert "starlette" in loaded
    assert loaded.isdisjoint({"pydantic", "rich", "httpx2"})


def test_loading_the_app_begins_before_the_rest_of_the_server_is_imported() -> None:
    assert imported("import yugen.cli.serve").isdisjoint({"starlette", "uvicorn", "watchfiles"})


def test_python_m_yugen_is_the_command_line() -> None:
    command = [sys.executable, "-m", "yugen", "version"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == f"{__version__}\n"
