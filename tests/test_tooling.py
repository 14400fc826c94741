"""The repository's own promises: its locks, its wheel, its import directions, its set-up from nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from yugen.server.asgi import CLIENT_FILES

ROOT = Path(__file__).parent.parent
PYTHON_LOCK = (ROOT / "requirements.lock").read_text()
PINS = {canonicalize_name(name): version for name, version in re.findall(r"^(\S+)==(\S+)", PYTHON_LOCK, re.MULTILINE)}


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def load(pyproject: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / pyproject).read_text())


def requirements() -> list[Requirement]:
    root, client = load("pyproject.toml"), load("client/python/pyproject.toml")
    lines = [
        *root["project"]["dependencies"],
        *root["dependency-groups"]["dev"],
        *root["dependency-groups"]["bench"],
        *client["project"]["dependencies"],
    ]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_python_lock_satisfies_every_requirement(requirement: Requirement) -> None:
    name = canonicalize_name(requirement.name)
    version = load("client/python/pyproject.toml")["project"]["version"] if name == "yugen-client" else PINS[name]
    assert requirement.specifier.contains(version)


def test_python_lock_pins_contents_and_names_no_host() -> None:
    entries = re.split(r"^(?=\S+==)", PYTHON_LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == len(PINS)
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in PYTHON_LOCK


def test_npm_lock_pins_contents_and_names_no_host() -> None:
    packages: dict[str, dict[str, Any]] = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    fetched = {path: entry for path, entry in packages.items() if "node_modules/" in path and not entry.get("link")}
    assert fetched
    assert [path for path, entry in fetched.items() if "resolved" in entry or "integrity" not in entry] == []


def test_wheel_carries_the_browser_client_and_the_type_marker(tmp_path: Path) -> None:
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    files = set(zipfile.ZipFile(wheel).namelist())
    clients = {f"yugen/server/static/{file}" for file in CLIENT_FILES}
    pages = {f"yugen/server/static/{name}" for name in ("docs.html", "docs.js", "docs.css")}
    assert {"yugen/py.typed", "yugen/storage/interface.py", *pages} | clients <= files
    templates = ROOT / "yugen" / "templates"
    there = {
        str(file.relative_to(ROOT))
        for file in templates.rglob("*")
        if "__pycache__" not in file.parts and file.is_file()
    }
    assert there == {file for file in files if file.startswith("yugen/templates/")}
    assert {file.split("/")[0] for file in files} == {"yugen", f"{wheel.stem.removesuffix('-py3-none-any')}.dist-info"}


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("yugen/storage/interface.py", "import yugen.runtime", "Imports point downward"),
        ("yugen/unplaced.py", "", "Imports point downward"),
        ("yugen/intervals.py", "import asyncio", "The core knows no event loop, clock, dice, socket or database"),
        ("client/python/yugen_client/__init__.py", "import yugen", "The Python client stands alone"),
    ],
)
def test_import_contracts_catch(tmp_path: Path, module: str, statement: str, contract: str) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "tests")
    shutil.copytree(ROOT / "yugen", tmp_path / "yugen", ignore=ignored)
    shutil.copytree(ROOT / "client/python", tmp_path / "client/python", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a") as file:
        file.write(f"\n{statement}\n")

    checked = run(
        Path(sys.executable).with_name("lint-imports"),
        "--no-logo",
        "--no-cache",
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{tmp_path / 'client/python'}"},  # the copies, before the installed packages
    )
    assert checked.returncode == 1
    assert f"{contract} BROKEN" in checked.stdout


def command(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def bare_checkout(tmp_path: Path) -> Path:
    """A checkout whose PATH holds only what every Unix has."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "bin").mkdir()
    for name in ("bash", "cat", "dirname", "env"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    return tmp_path


@pytest.mark.parametrize(
    ("script", "too_old", "advice"),
    [
        ("install-python", ("python3", "exit 1"), "Yugen needs Python 3.11 or newer"),
        ("install-node", ("node", "echo v18.20.4; exit 1"), "needs Node.js 20 or newer with npm; found: v18.20.4"),
        ("install-chromium", ("id", "echo 1000"), "sudo apt-get install chromium"),
    ],
)
def test_setup_says_what_is_missing(bare_checkout: Path, script: str, too_old: tuple[str, str], advice: str) -> None:
    command(bare_checkout / "bin", *too_old)
    result = run(bare_checkout / "scripts" / script, cwd=bare_checkout, env={"PATH": str(bare_checkout / "bin")})
    assert result.returncode == 1
    assert advice in result.stderr


def test_help_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    listed = re.findall(r"^  make (\S+)", run("make").stdout, re.MULTILINE)
    assert sorted(listed) == sorted(phony[1].split())


HANGS = """
    import asyncio

    import pytest


    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except BaseException:
                pass


    @pytest.fixture
    async def given_up_by_nobody():
        yield
        await stubborn()


    async def test_torn_down(given_up_by_nobody: None) -> None:
        raise AssertionError


    async def test_itself() -> None:
        await asyncio.create_task(stubborn())


    def test_after_them() -> None:
        pass
"""


def test_a_test_that_hangs_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    ours = (ROOT / "conftest.py").read_text()
    (tmp_path / "conftest.py").write_text(re.sub(r"(?m)^(HANGING_SECONDS.*) = .*$", r"\1 = 1.0", ours))
    (tmp_path / "test_it.py").write_text(textwrap.dedent(HANGS))
    pytest_ = (sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path)
    ran = run(*pytest_, "-n", "1", "--timeout", "1", "-p", "no:cacheprovider", "test_it.py", cwd=tmp_path)
    crashed = re.findall(r"crashed while running '\S+::(\w+)'", ran.stdout)
    assert sorted(set(crashed)) == ["test_itself", "test_torn_down"]
    # A process that ends may take with it what it had not told yet, up to one failure for each of the two.
    assert re.match("[234] failed, 1 passed in ", ran.stdout.splitlines()[-1])
    assert "in pytest_runtest_teardown" in ran.stderr
