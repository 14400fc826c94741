from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from reliability.serving import ROOT
from yugen.cli.init import NEXT, TEMPLATES, files_of
from yugen.cli.main import main
from yugen.codegen.declarations import declarations
from yugen.codegen.files import FOLDER, outdated
from yugen.functions.registry import load

APP = {"README.md", ".gitignore", "app/schema.py", "app/tasks.py"}


def written(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("template", "more"),
    [("minimal", set()), ("page", {"public/index.html"}), ("react", {"package.json", "index.html"})],
)
def test_an_app_is_made_and_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], template: str, more: set[str]
) -> None:
    main(["init", str(tmp_path / "notes"), "--template", template])
    assert APP | more <= written(tmp_path / "notes")
    assert {"tasks:add", "tasks:list", "tasks:toggle"} <= load(tmp_path / "notes" / "app").functions.keys()
    shown = capsys.readouterr().out
    assert f"  cd {tmp_path / 'notes'}\n" in shown
    assert all(step in shown for step in NEXT[template])


def test_its_name_can_be_typed_as_it_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", str(tmp_path / "my app's")])
    [shown] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  cd ")]
    assert shlex.split(shown) == ["cd", str(tmp_path / "my app's")]


def test_it_is_made_here_and_with_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".gitignore").write_text("mine\n")
    main(["init"])
    assert "public/index.html" in written(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_a_folder_with_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        main(["init", str(tmp_path)])
    assert ended.value.code == 1
    assert written(tmp_path) == {"notes.txt"}
    assert f"{tmp_path} is not empty: there is notes.txt. Name a folder" in capsys.readouterr().err


def test_a_place_that_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        main(["init", str(tmp_path / "file")])
    assert ended.value.code == 1
    assert str(tmp_path / "file") in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_every_file_of_the_templates_is_of_some_template() -> None:
    home = ROOT / "yugen" / "templates"
    there = {file for file in home.rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    assert there == {file for template in TEMPLATES for file in files_of(template).values()} | {
        home / "minimal/README.md"
    }


def test_react_comes_with_the_types_of_its_functions(tmp_path: Path) -> None:
    main(["init", str(tmp_path / "notes"), "--template", "react"])
    app = tmp_path / "notes" / "app"
    assert outdated(declarations(load(app)), app / FOLDER) == []


def test_react_comes_with_the_versions_that_are_tested_here() -> None:
    tested = json.loads((ROOT / "package.json").read_text())["devDependencies"]
    wanted = json.loads((ROOT / "yugen/templates/react/package.json").read_text())
    for name, version in (wanted["dependencies"] | wanted["devDependencies"]).items():
        assert version[0] in "^~"
        assert version[1:] == tested[name], name
