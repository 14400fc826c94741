from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from yugen import __version__
from yugen.cli.main import app

HEAVY = ("apsw", "asyncio", "httpx2", "pydantic", "starlette", "uvicorn", "yugen_client")


def test_version() -> None:
    assert CliRunner().invoke(app, ["version"]).output == f"{__version__}\n"


@pytest.mark.parametrize("command", ["dev", "serve", "run"])
def test_each_command_has_help(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_help_lists_the_commands() -> None:
    output = CliRunner().invoke(app, []).output
    assert all(command in output for command in ("dev", "serve", "run", "version"))


def test_a_port_has_bounds() -> None:
    assert CliRunner().invoke(app, ["serve", "--port", "65536"]).exit_code == 2


def imported(statement: str) -> set[str]:
    """The packages that a statement imports, in a Python of its own."""
    command = [sys.executable, "-c", f"import sys; {statement}; print(*sys.modules)"]
    return {
        name.partition(".")[0]
        for name in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    }


def test_asking_for_help_imports_little() -> None:
    assert imported("import yugen.cli.main").isdisjoint(HEAVY)


def test_a_server_imports_no_pydantic() -> None:
    loaded = imported("import yugen.cli.serve, yugen.server.listen, yugen.server.asgi")
    assert "starlette" in loaded
    assert loaded.isdisjoint({"pydantic", "rich", "httpx2"})


def test_loading_the_app_begins_before_the_rest_of_the_server_is_imported() -> None:
    assert imported("import yugen.cli.serve").isdisjoint({"starlette", "uvicorn", "watchfiles"})


def test_python_m_yugen_is_the_command_line() -> None:
    command = [sys.executable, "-m", "yugen", "version"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == f"{__version__}\n"
