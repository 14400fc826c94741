"""What docs/types.md says, run: the component is compiled, the commands are carried out."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import httpx2 as httpx
import pytest
from pydantic import BaseModel

from reliability.serving import ROOT, YUGEN, serving
from tests.tsc import faults
from yugen.cli.main import main
from yugen.codegen.typescript import print_type
from yugen.functions.wire_types import Reader
from yugen.schema import Document, Id
from yugen.values import Int64

PAGE = (ROOT / "docs/types.md").read_text()
BOARD = ROOT / "examples/guide/board"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose `app` is the app of the guides."""
    shutil.copytree(BOARD, tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_component_compiles_but_for_what_is_marked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    (component,) = blocks("tsx")
    (command, _) = blocks("sh")
    program, *arguments = shlex.split(command)
    assert program == "yugen"
    main(arguments)
    (project / "web").mkdir()
    (project / "web/Tasks.tsx").write_text(component)
    assert faults(project) == []
    (project / "web/Tasks.tsx").write_text(component.replace("// @ts-expect-error", "//"))
    assert len({fault.line for fault in faults(project)}) == component.count("@ts-expect-error") == 4


async def test_the_request_is_answered(project: Path) -> None:
    (_, command) = blocks("sh")
    async with serving(project / "app", project / "data") as server:
        curl, url, header, named, data, body = shlex.split(command)
        assert (curl, header, data) == ("curl", "-H", "-d")
        async with httpx.AsyncClient() as client:
            place = url.replace("http://127.0.0.1:3210", server.url)
            answer = await client.post(place, headers=dict([named.split(": ")]), content=body)
        assert answer.json() == {"status": "success", "value": []}


def test_the_components_have_the_names_that_the_page_says(project: Path) -> None:
    command = [str(YUGEN), "codegen", "app", "--openapi", "--out", "out"]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    document = json.loads((project / "out/openapi.json").read_text())
    assert {"tasks.list.arguments", "tasks.list.result", "Task", "Estimate"} <= document["components"]["schemas"].keys()


class User(Document, table="users"):
    pass


class Model(BaseModel):
    pass


ROWS: dict[str, Any] = {
    "int": int,
    "float": float,
    "Int64": Int64,
    "str": str,
    "Decimal": Decimal,
    "UUID": UUID,
    "bytes": bytes,
    "bool": bool,
    "None": None,
    "Any": Any,
    "Id[User]": Id[User],
    "list[T]": list[Model],
    "set[T]": set[Model],
    "tuple[T, ...]": tuple[Model, ...],
    "tuple[A, B]": tuple[int, str],
    "dict[str, T]": dict[str, Model],
    "dict[Id[User], T]": dict[Id[User], Model],
    'Literal["a", "b"]': Literal["a", "b"],
}
PARTS = {"T": "Model", "A": "number", "B": "string"}


@pytest.mark.parametrize("python", ROWS)
def test_the_table_says_what_is_generated(python: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| ") and f"`{python}`" in line]
    shown = re.findall("`([^`]+)`", row.replace("\\|", "|"))
    types = [re.sub(r"\b[TAB]\b", lambda found: PARTS[found[0]], text) for text in shown]
    assert print_type(Reader(output=True).read(ROWS[python]), lambda found: found.name) in types
