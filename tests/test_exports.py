"""Every public name is there, from its own module, and nothing is imported before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import yugen


@pytest.mark.parametrize("name", yugen.__all__)
def test_public_names_can_be_imported(name: str) -> None:
    assert getattr(yugen, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(yugen.__file__).read_text())
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(yugen.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'yugen' has no attribute 'nope'"):
        _ = yugen.nope


@pytest.mark.parametrize(
    "module", ["yugen", "yugen.values", "yugen.functions.info", "yugen.runtime.runtime", "yugen.server.yugen"]
)
def test_processes_that_run_no_app_do_not_load_pydantic(module: str) -> None:
    program = f"import {module}, sys; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
