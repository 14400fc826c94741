"""The tests of docs/testing.md, in a project of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from reliability.serving import ROOT

TOML = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_they_pass_in_a_folder_with_nothing_else(tmp_path: Path) -> None:
    [settings] = TOML.findall((ROOT / "docs/testing.md").read_text())
    (tmp_path / "pyproject.toml").write_text(settings)
    shutil.copytree(ROOT / "examples/guide/board", tmp_path / "board")
    shutil.copy(ROOT / "tests/docs/test_board.py", tmp_path)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    assert "warning" not in ran.stdout
