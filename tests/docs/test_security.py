"""The page on security: every test that it names is there, and every item of the standard has its line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from reliability.serving import ROOT

PAGE = (ROOT / "docs/security.md").read_text()

ITEMS = {
    (4, 1): 5,
    (4, 2): 5,
    (4, 3): 2,
    (4, 4): 4,
    (6, 1): 3,
    (6, 2): 12,
    (6, 3): 8,
    (6, 4): 6,
    (6, 5): 8,
    (6, 6): 4,
    (6, 7): 2,
    (6, 8): 3,
    (7, 1): 3,
    (7, 2): 4,
    (7, 3): 2,
    (7, 4): 5,
    (7, 5): 3,
    (7, 6): 2,
    (8, 1): 4,
    (8, 2): 4,
    (8, 3): 3,
    (8, 4): 2,
    (9, 1): 3,
    (9, 2): 4,
    (10, 1): 2,
    (10, 2): 3,
    (10, 3): 5,
    (10, 4): 16,
    (10, 5): 5,
    (10, 6): 2,
    (10, 7): 3,
}
"""How many items each section of ASVS 5.0 has, of the chapters that the page goes through."""


def rows() -> Iterator[list[str]]:
    """The cells of each line on items of the standard."""
    for line in PAGE.splitlines():
        if re.match(r"\| \d+\.\d+\.\d+", line):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def items_of(cell: str) -> Iterator[str]:
    """The items that a line is about: `4.2.3, 4.2.4` or `10.4.1 to 10.4.16`."""
    for part in cell.split(", "):
        first, _, last = part.partition(" to ")
        section, _, number = first.rpartition(".")
        for each in range(int(number), int(last.rpartition(".")[2] or number) + 1):
            yield f"{section}.{each}"


def test_every_test_that_it_names_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 100
    missing = []
    for file, test in named:
        path = ROOT / "tests" / file
        if not path.is_file() or not re.search(rf"^(?:async )?def {test}\(", path.read_text(), re.MULTILINE):
            missing.append(f"{file}::{test}")
    assert missing == []


def test_every_attack_has_a_test() -> None:
    start, end = PAGE.index("## Attacks"), PAGE.index("## OWASP")
    attacks = [line for line in PAGE[start:end].splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(attacks) > 40
    assert [line for line in attacks if "::test_" not in line] == []


def test_every_item_of_the_standard_has_one_line() -> None:
    lines = [(items, state) for items, state, _ in rows()]
    said = [item for items, _ in lines for item in items_of(items)]
    assert said == [
        f"{chapter}.{section}.{number}" for (chapter, section), count in ITEMS.items() for number in range(1, count + 1)
    ]
    assert {state for _, state in lines} == {"met", "open", "not applicable"}


def test_what_is_open_or_met_says_where_or_why() -> None:
    assert [items for items, _, where in rows() if not where] == []
