"""Which changes make a difference to a reader that does not want to know everything."""

from __future__ import annotations

from typing import Any

import pytest

from yugen import values
from yugen.guards import Guard, Image, compiled, matters

RANGE = (b"i1", b"i5")
SMALL = Guard(("<", ("item", "n"), ("value", 3)))
TITLE = Guard(None, ("title", "a.b"))
COUNT = Guard(None, (), places=False)


def change(guard: Guard, before: Any, after: Any) -> bool:
    """A change of a document from (place in the index, fields) to another, None where there is none."""
    old, new = (
        Image(None, []) if image is None else Image(values.dumps(image[1]), [b"d1", image[0].encode()])
        for image in (before, after)
    )
    return matters(guard, RANGE, old, new)


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        (("i2", {"n": 1}), ("i2", {"n": 2}), True),
        (("i2", {"n": 1}), ("i2", {"n": 9}), True),
        (("i2", {"n": 9}), ("i2", {"n": 1}), True),
        (("i2", {"n": 8}), ("i2", {"n": 9}), False),
        (None, ("i2", {"n": 9}), False),
        (None, ("i2", {"n": 1}), True),
        (("i2", {"n": 9}), None, False),
        (("i2", {"n": 1}), None, True),
        (("i7", {"n": 1}), ("i8", {"n": 2}), False),
        (("i7", {"n": 1}), ("i2", {"n": 9}), False),
        (("i7", {"n": 9}), ("i2", {"n": 1}), True),
        (("i2", {"n": 1}), ("i3", {"n": 1}), True),
        (("i2", {"n": "x"}), ("i2", {"n": "x"}), True),  # the condition fails, as it does in the function
        (("i2", {}), ("i2", {"n": 9}), True),
    ],
)
def test_of_documents_that_a_condition_rejects_nothing_matters(before: Any, after: Any, difference: bool) -> None:
    assert change(SMALL, before, after) == difference


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        (("i2", {"title": "x", "n": 1}), ("i2", {"title": "x", "n": 2}), False),
        (("i2", {"title": "x"}), ("i2", {"title": "y"}), True),
        (("i2", {"title": 1}), ("i2", {"title": True}), True),
        (("i2", {"title": 0.0}), ("i2", {"title": -0.0}), True),
        (("i2", {"title": None}), ("i2", {}), True),
        (("i2", {"a": {"b": 1, "c": 1}}), ("i2", {"a": {"b": 1, "c": 2}}), False),
        (("i2", {"a": {"b": 1}}), ("i2", {"a": 1}), True),
        (("i2", {}), ("i3", {}), True),
        (None, ("i2", {}), True),
        (("i2", {}), ("i7", {}), True),
    ],
)
def test_of_fields_that_are_not_selected_nothing_matters(before: Any, after: Any, difference: bool) -> None:
    assert change(TITLE, before, after) == difference


def test_for_a_count_only_presence_matters() -> None:
    assert not change(COUNT, ("i2", {"n": 1}), ("i2", {"n": 2}))
    assert not change(COUNT, ("i2", {}), ("i3", {}))
    assert change(COUNT, None, ("i2", {}))
    assert change(COUNT, ("i2", {}), ("i7", {}))


def test_for_a_selection_of_nothing_the_place_matters_too() -> None:
    assert not change(Guard(None, ()), ("i2", {"n": 1}), ("i2", {"n": 2}))
    assert change(Guard(None, ()), ("i2", {}), ("i3", {}))


def test_a_condition_and_a_selection_go_together() -> None:
    both = Guard(SMALL.keep, ("title",))
    assert not change(both, ("i2", {"n": 1, "title": "x"}), ("i2", {"n": 2, "title": "x"}))
    assert change(both, ("i2", {"n": 1, "title": "x"}), ("i2", {"n": 4, "title": "x"}))


@pytest.mark.parametrize("operator", ["+", "*", "%", "-"])
def test_arithmetic_is_for_numbers(operator: str) -> None:
    """`"a" * 10**9` and `"%1000000000d" % x` would take this process's memory."""
    for left, right in [("a", 3), ([1], 3), ("%d", 3)]:
        with pytest.raises(TypeError):
            compiled((operator, ("value", left), ("value", right)))({})


def test_equal_looking_conditions_are_told_apart() -> None:
    assert compiled(("is", ("value", True), ("item", "x")))({"x": True})
    assert not compiled(("is", ("value", 1), ("item", "x")))({"x": True})
