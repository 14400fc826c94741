"""The bugs can be put into the product as it is. Holding them against the machines takes longer, and is on demand."""

from __future__ import annotations

import ast

import pytest

from reliability.__main__ import MACHINES
from reliability.mutants import ROOT, is_test, mutated
from reliability.mutants.bugs import BUGS, Bug


def test_there_are_thirty_bugs_and_each_has_a_name_of_its_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 30


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_bug_changes_what_the_code_does_and_is_held_against_something(bug: Bug) -> None:
    before, after = ast.parse((ROOT / bug.file).read_text()), ast.parse(mutated(bug, ROOT))
    assert ast.dump(before) != ast.dump(after)
    assert bug.held
    assert all((ROOT / each).exists() if is_test(each) else each.split()[0] in MACHINES for each in bug.held)
