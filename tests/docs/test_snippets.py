"""Whatever Python the documentation shows is a part of a file that is tested."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

import pytest

from reliability.serving import ROOT
from yugen.functions.registry import load

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

TESTED_FOLDERS = ("examples", "tests/docs", "yugen/templates")
TESTED = [path.read_text() for folder in TESTED_FOLDERS for path in (ROOT / folder).rglob("*.py")]
"""The examples and templates, which tests run, and the tests that the guides show."""


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


SCRIPT_PAGES = [
    ROOT / "README.md",
    ROOT / "docs/browser-client.md",
    ROOT / "docs/files.md",
    ROOT / "docs/second-factors.md",
    ROOT / "docs/oauth.md",
    ROOT / "docs/sign-in-react.md",
    ROOT / "client/browser/README.md",
]
SCRIPT_SNIPPET = re.compile(r"^```(?:html|js|jsx|ts|tsx)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", SCRIPT_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_script_is_a_part_of_an_example_that_a_test_runs(page: Path) -> None:
    kinds = (".html", ".js", ".mjs", ".ts", ".tsx")
    folders = (ROOT / "examples", ROOT / "yugen/templates")
    tested = [path.read_text() for folder in folders for path in folder.rglob("*") if path.suffix in kinds]
    shown = SCRIPT_SNIPPET.findall(page.read_text())
    assert shown
    for snippet in shown:
        parts = [f"\n{indent(snippet, ' ' * depth)}" for depth in (0, 2, 4)]
        assert any(part in f"\n{text}" for part in parts for text in tested), snippet


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_function_of_the_guides_is_called_by_a_test() -> None:
    called = "".join(path.read_text() for path in (ROOT / "tests/docs").glob("*.py"))
    for each in load(ROOT / "examples/guide/board", fresh=False).functions.values():
        name = f"{each.path.partition(':')[0]}.{each.function.__name__}"
        if each.function.public:
            assert re.search(rf"\b({name}|{each.path})\b", called), each.path


def test_lines_are_found_at_any_depth_and_only_together() -> None:
    text = "class A:\n    x = 1\n\n    y = 2\n"
    assert is_part("x = 1\n\ny = 2\n", text)
    assert is_part("class A:\n    x = 1\n", text)
    assert not is_part("x = 1\ny = 2\n", text)
    assert not is_part("= 2\n", text)
