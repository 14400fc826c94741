from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.apps import write_app
from tests.server.peers import NOTES
from yugen.cli.main import main


def codegen(capsys: pytest.CaptureFixture[str], *arguments: str | Path, status: int = 0) -> str:
    """What the command prints, on either stream."""
    with pytest.raises(SystemExit) if status else nullcontext() as ended:
        main(["codegen", *map(str, arguments)])
    assert ended is None or ended.value.code == status
    return "".join(capsys.readouterr())


def test_it_writes_beside_the_modules_of_the_app(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = write_app(tmp_path, notes=NOTES)
    printed = codegen(capsys, app).splitlines()
    names = ("api.d.ts", "api.js", "dataModel.d.ts")
    assert printed == [f"Wrote {app / '_generated' / name}." for name in names]
    assert "notes: {" in (app / "_generated/api.d.ts").read_text()
    assert codegen(capsys, app) == f"{app / '_generated'} is up to date.\n"


def test_a_change_of_the_app_changes_what_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app, out = write_app(tmp_path, notes=NOTES), tmp_path / "web/api"
    codegen(capsys, app, "--out", out, "--openapi")
    write_app(tmp_path, more="from yugen import query\n@query\nasync def one(ctx) -> int:\n    return 1\n")
    assert codegen(capsys, app, "--out", out, "--openapi", "--json", "--check", status=1) == (
        json.dumps({"changed": [f"{out}/api.d.ts", f"{out}/openapi.json"], "written": False}) + "\n"
    )
    assert codegen(capsys, app, "--out", out, "--openapi", "--json") == (
        json.dumps({"changed": [f"{out}/api.d.ts", f"{out}/openapi.json"], "written": True}) + "\n"
    )
    assert "/api/run/more/one" in json.loads((out / "openapi.json").read_text())["paths"]


def test_checking_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = write_app(tmp_path, notes=NOTES)
    printed = codegen(capsys, app, "--check", status=1)
    assert f"{app / '_generated/api.d.ts'} is out of date; run `yugen codegen` again." in printed
    assert not (app / "_generated").exists()
    codegen(capsys, app)
    assert codegen(capsys, app, "--check") == ""


def test_an_app_that_does_not_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = write_app(tmp_path, broken="x = 1\ny = (\n")
    assert "broken.py:2" in codegen(capsys, app, status=1)
    assert "There is no app at" in codegen(capsys, tmp_path / "none", status=1)
    assert not (app / "_generated").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = write_app(tmp_path, notes=NOTES)
    (tmp_path / "file").touch()
    printed = codegen(capsys, app, "--out", tmp_path / "file/out", status=1)
    assert printed.startswith(f"Cannot write to {tmp_path / 'file/out'}")
    assert "name another folder with --out" in printed
