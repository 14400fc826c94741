"""The references of `api.js`, as the clients themselves read them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from reliability.serving import ROOT, serving
from tests.codegen.conftest import typed_app
from yugen.codegen.declarations import declarations
from yugen.codegen.files import write_files
from yugen.functions.registry import App

NODE = """
import {{ getFunctionName }} from "convex/server";
import {{ ConvexHttpClient, ConvexClient }} from "convex/browser";
import {{ YugenClient }} from "yugen";
import {{ api, internal }} from "./gen/api.js";
import WebSocket from "ws";
{program}
"""


def node(app: App, folder: Path, program: str) -> object:
    """What the program gives to `print`, with the generated files of the app in `gen`."""
    write_files(declarations(app), folder / "gen")
    (folder / "node_modules").symlink_to(ROOT / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    text = f"const print = (value) => console.log(JSON.stringify(value));\n{program}"
    (folder / "main.js").write_text(NODE.format(program=text))
    done = subprocess.run(["node", "main.js"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_reference_has_the_name_of_its_function(app: App, tmp_path: Path) -> None:
    program = """
        const all = [api.messages.list, api.admin.users.list, api.admin.users.default, internal.messages.clean];
        print([all.map(getFunctionName), all.map(String), Object.prototype.toString.call(api.messages.list)]);
    """
    names = ["messages:list", "admin/users:list", "admin/users", "messages:clean"]
    assert node(app, tmp_path, program) == [names, names, "[object FunctionReference]"]


@pytest.mark.parametrize("path", ["api", "api.messages"])
def test_what_is_no_function_says_how_to_write_one(app: App, tmp_path: Path, path: str) -> None:
    program = f"try {{ getFunctionName({path}); }} catch (error) {{ print(error.message); }}"
    assert "is no function; write api.module.name" in str(node(app, tmp_path, program))


async def test_the_clients_call_by_references(app: App, tmp_path: Path) -> None:
    async with serving(typed_app(tmp_path), tmp_path / "data") as server:
        program = f"""
            const http = new ConvexHttpClient("{server.url}");
            const live = new ConvexClient("{server.url}", {{ webSocketConstructor: WebSocket }});
            const ours = new YugenClient("{server.url}", {{ WebSocket }});
            const text = String;
            print([
              text(await http.query(api.messages.count)),
              await http.query(api.admin.users.default, {{}}),
              await live.query(api.messages.list, {{ limit: 1 }}),
              await ours.query(text(api.admin.users.list)),
            ]);
            await live.close();
            ours.close();
        """
        assert node(app, tmp_path, program) == ["7", 1, [], []]
