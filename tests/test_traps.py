"""Each trap of the protocol (protocol.md 9) has a test that carries its number."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent

TRAPS = range(1, 43)


def test_each_trap_has_a_test() -> None:
    names = [
        node.name
        for folder in ("tests", "client/python/tests")
        for file in (ROOT / folder).rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    tested = {int(found[1]) for name in names if (found := re.match(r"test_trap_(\d+)_", name))}
    assert tested == set(TRAPS)
