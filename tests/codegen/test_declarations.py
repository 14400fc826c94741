"""What the generated files say, and how they look."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from reliability.serving import ROOT
from tests.apps import write_app
from tests.tsc import faults
from yugen.catalog import READABLE
from yugen.codegen.declarations import declarations
from yugen.codegen.files import write_files
from yugen.functions.registry import App, load


def generated(folder: Path, **modules: str) -> dict[str, str]:
    return declarations(load(write_app(folder, **modules)))


def shows(text: str, part: str) -> bool:
    """Whether these lines stand in the text at some depth."""
    lines, wanted = (
        [line.strip() for line in text.splitlines()],
        [line.strip() for line in dedent(part).strip().splitlines()],
    )
    return any(lines[place : place + len(wanted)] == wanted for place in range(len(lines)))


def test_documentation_is_carried_over(app: App) -> None:
    files = declarations(app)
    assert shows(
        files["api.d.ts"],
        """
        /**
         * The newest messages.
         *
         * Args:
         *     author: only those of this user.
         */
        list: FunctionReference<
        """,
    )
    assert shows(files["dataModel.d.ts"], "/** Somebody with an account. */\nusers: {")
    assert shows(files["dataModel.d.ts"], "/** What others see. */\nname: string;")
    assert shows(
        files["dataModel.d.ts"], "/** Where somebody lives. Comments end in *\\/ there. */\nexport type Address = {"
    )
    assert "Point(x:" not in files["dataModel.d.ts"]  # what Python writes about a dataclass by itself


def test_internal_functions_are_apart(app: App) -> None:
    api, internal = declarations(app)["api.d.ts"].split("export declare const internal")
    assert "clean" not in api
    assert '"public"' not in internal
    assert shows(internal, "clean: FunctionReference<")


def test_workflows_are_passed_over(tmp_path: Path) -> None:
    flows = """
        from yugen import WorkflowCtx, workflow

        @workflow
        async def follow(ctx: WorkflowCtx, times: int) -> int:
            return times
    """
    assert "follow" not in "".join(generated(tmp_path, flows=flows).values())


def test_modules_in_folders_and_names_that_are_none(app: App) -> None:
    files = declarations(app)
    assert shows(
        files["api.d.ts"],
        'admin: {\nusers: {\ndefault: FunctionReference<"query", "public", Record<string, never>, number>;',
    )
    assert shows(files["dataModel.d.ts"], '"user settings": { [key: string]: boolean };')


def test_a_function_with_the_name_of_a_module(tmp_path: Path) -> None:
    one = """
        from yugen import QueryCtx, query

        @query
        async def users(ctx: QueryCtx) -> int:
            return 1
    """
    # Of a name of its own: another app's `admin` without an `__init__.py` would be taken for this one.
    folder = write_app(tmp_path / "py", admin__users=one).rename(tmp_path / "py/named")
    (folder / "admin/__init__.py").write_text(dedent(one))
    write_files(declarations(load(folder)), tmp_path / "ts/gen")
    program = """
        import { api } from "./gen/api";
        const both: [number, number] = [api.admin.users._returnType, api.admin.users.users._returnType];
    """
    (tmp_path / "ts/main.ts").write_text(program)
    assert faults(tmp_path / "ts") == []


def test_an_app_without_anything(tmp_path: Path) -> None:
    files = generated(tmp_path / "py", empty="")
    assert "export declare const api: {};" in files["api.d.ts"]
    assert "export type Documents = {};" in files["dataModel.d.ts"]
    assert "import" not in files["api.d.ts"]


def test_all_system_tables_that_an_app_may_read_have_ids(app: App) -> None:
    text = declarations(app)["dataModel.d.ts"]
    [names] = re.findall(r"export type SystemTableNames =([^;]*);", text)
    assert re.findall(r'"(\w+)"', names) == list(READABLE)


def test_tables_without_a_class_are_known_by_their_ids(tmp_path: Path) -> None:
    notes = """
        from typing import Literal
        from yugen import Id, MutationCtx, mutation

        @mutation
        async def drop(ctx: MutationCtx, notes: list[Id[Literal["notes"]]], file: Id[Literal["_storage"]]) -> None:
            pass
    """
    assert shows(generated(tmp_path, notes=notes)["dataModel.d.ts"], "export type Documents = {\nnotes: any;\n};")


SAME_NAME = """
    from pydantic import BaseModel
    from yugen import QueryCtx, query

    class Record(BaseModel):
        {field}: int

    class Range(BaseModel):
        {field}: int = 1

    @query
    async def get(ctx: QueryCtx, range: Range) -> Record:
        return Record({field}=1)
"""


def test_classes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    app = load(write_app(tmp_path / "py", one=SAME_NAME.format(field="a"), sub__two=SAME_NAME.format(field="b")))
    model = declarations(app)["dataModel.d.ts"]
    assert shows(model, "export type OneRecord = {\na: number;\n};")
    assert shows(model, "export type SubTwoRecord = {\nb: number;\n};")
    assert shows(model, "export type OneRangeInput = {\na?: number;\n};")
    write_files(declarations(app), tmp_path / "ts")
    assert faults(tmp_path / "ts") == []


def test_a_class_may_have_a_name_that_typescript_needs(tmp_path: Path) -> None:
    model = generated(tmp_path, one=SAME_NAME.format(field="a"))["dataModel.d.ts"]
    assert shows(model, "export type Record2 = {\na: number;\n};")


WORDS = (
    "abstract accessor any asserts bigint boolean constructor declare defer function get infer interface "
    "intrinsic keyof let module namespace never null number object of out override package private protected public "
    "readonly require satisfies set static string symbol type typeof undefined unique unknown using var void"
)
"""What means something in TypeScript and can name a class in Python."""


def test_a_class_may_have_a_name_that_means_something_in_typescript(tmp_path: Path) -> None:
    classes = "".join(
        f"class {word}(BaseModel):\n    a: int\n\nclass Of_{word}(RootModel[{word}]):\n    pass\n\n"
        for word in WORDS.split()
    )
    places = ", ".join(f"{word}, list[{word}], {word} | None, Of_{word}" for word in WORDS.split())
    (tmp_path / "py").mkdir()
    (tmp_path / "py/one.py").write_text(
        "from pydantic import BaseModel, RootModel\nfrom yugen import QueryCtx, query\n\n"
        f"{classes}@query(name='all')\nasync def everything(ctx: QueryCtx) -> tuple[{places}]: ...\n"
    )
    write_files(declarations(load(tmp_path / "py")), tmp_path / "ts")
    assert faults(tmp_path / "ts") == []


def test_the_text_does_not_depend_on_the_process(app: App) -> None:
    program = (
        "import sys, json; from pathlib import Path; from yugen.functions.registry import load;"
        "from yugen.codegen.declarations import declarations; print(json.dumps(declarations(load(Path(sys.argv[1])))))"
    )
    here = declarations(app)
    for seed in ("1", "2"):
        command = [str(ROOT / ".venv/bin/python"), "-c", program, str(app.folder)]
        printed = subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
        assert json.loads(printed.stdout) == here


def test_it_is_formatted_as_prettier_would(app: App, tmp_path: Path) -> None:
    paths = write_files(declarations(app), tmp_path / "typed")
    for example in ("chat/app", "guide/board"):
        paths += write_files(declarations(load(ROOT / "examples" / example, fresh=False)), tmp_path / example)
    command = [str(ROOT / "node_modules/.bin/prettier"), "--check", "--print-width", "100", *map(str, paths)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


STRICT = {
    "exactOptionalPropertyTypes": True,
    "noUncheckedIndexedAccess": True,
    "noUnusedLocals": True,
    "verbatimModuleSyntax": True,
    "isolatedModules": True,
    "module": "nodenext",
    "moduleResolution": "nodenext",
    "allowJs": True,
    "checkJs": True,
    "noImplicitAny": False,
    "lib": ["es2022"],
}


@pytest.mark.parametrize("options", [{}, STRICT], ids=["usual", "strictest"])
def test_typescript_takes_the_files_alone(app: App, tmp_path: Path, options: dict[str, object]) -> None:
    write_files(declarations(app), tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    assert faults(tmp_path, **options) == []
