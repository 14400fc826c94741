"""Whatever Python the documentation shows is a part of a file that is tested."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

import pytest

from tests.serving import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

TESTED = [path.read_text() for folder in ("examples", "tests/docs") for path in (ROOT / folder).rglob("*.py")]
"""The examples, which tests run, and the tests that the guides show."""


def snippets() -> list[tuple[Path, str]]:
    return [(page, snippet) for page in PAGES for snippet in SNIPPET.findall(page.read_text())]


def is_part(snippet: str, text: str) -> bool:
    """Whether these lines stand in the text one after the other, at any depth."""
    return any(f"\n{indent(snippet, ' ' * depth)}" in f"\n{text}" for depth in (0, 4, 8, 12))


@pytest.mark.parametrize(
    ("page", "snippet"),
    [pytest.param(page, snippet, id=f"{page.name}:{snippet.strip()[:40]}") for page, snippet in snippets()],
)
def test_a_snippet_is_a_part_of_a_tested_file(page: Path, snippet: str) -> None:
    assert any(is_part(snippet, text) for text in TESTED), f"{page.name} shows what no example has:\n{snippet}"


def test_lines_are_found_at_any_depth_and_only_together() -> None:
    text = "class A:\n    x = 1\n\n    y = 2\n"
    assert is_part("x = 1\n\ny = 2\n", text)
    assert is_part("class A:\n    x = 1\n", text)
    assert not is_part("x = 1\ny = 2\n", text)
    assert not is_part("= 2\n", text)
