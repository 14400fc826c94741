"""Ranges select exactly the keys whose values are within their bounds, in the order of values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import strategies
from yugen import keys
from yugen.bounds import Bound, InvalidRange, Limit, between, gt, gte, interval, lt, lte
from yugen.values import ABSENT, compare_key

INTERNAL = bytes(16)
PREFIX = keys.index_prefix(10_001, 2)

fields = st.just(ABSENT) | strategies.values
limits = st.none() | st.builds(Limit, fields, inclusive=st.booleans())
bounds = st.none() | st.builds(Bound, limits, limits)


def within(value: Any, bound: Bound) -> bool:
    place = compare_key(value)
    above = bound.lower is None or (
        place > compare_key(bound.lower.value) or (bound.lower.inclusive and place == compare_key(bound.lower.value))
    )
    below = bound.upper is None or (
        place < compare_key(bound.upper.value) or (bound.upper.inclusive and place == compare_key(bound.upper.value))
    )
    return above and below


@given(st.data(), bounds)
def test_an_interval_holds_exactly_the_keys_within_its_bounds(data: st.DataObject, bound: Bound | None) -> None:
    equal = data.draw(st.lists(fields, max_size=2))
    # Rows near the bounds: their first fields often equal the fixed ones, their next one a limit.
    edges = [side.value for side in (bound and bound.lower, bound and bound.upper) if side]
    near = st.sampled_from(edges) | fields if edges else fields
    head = st.just(equal) | st.lists(fields, min_size=len(equal), max_size=len(equal))
    rows = data.draw(st.lists(st.tuples(head, near, fields), max_size=6))

    start, end = interval(PREFIX, equal, bound)

    assert start <= end
    for first, bounded, rest in rows:
        key = keys.entry_key(10_001, 2, [*first, bounded, rest], INTERNAL)
        same = [compare_key(each) for each in first] == [compare_key(each) for each in equal]
        assert (start <= key < end) == (same and (bound is None or within(bounded, bound)))


def test_other_tables_and_slots_are_never_inside() -> None:
    start, end = interval(PREFIX, [], None)
    assert start <= keys.entry_key(10_001, 2, [1.0], INTERNAL) < end
    assert not start <= keys.entry_key(10_001, 3, [1.0], INTERNAL) < end
    assert not start <= keys.entry_key(10_002, 2, [1.0], INTERNAL) < end


@pytest.mark.parametrize(
    ("bound", "inside"),
    [
        (gt(2), [3, 4]),
        (gte(2), [2, 3, 4]),
        (lt(3), [1, 2]),
        (lte(3), [1, 2, 3]),
        (between(2, 3), [2, 3]),
        (gte(2) & lt(3), [2]),
        (lt(3) & gte(2), [2]),
        (gt(3) & lt(2), []),
    ],
)
def test_what_the_names_mean(bound: Bound, inside: list[int]) -> None:
    start, end = interval(PREFIX, [], bound)
    numbers = [n for n in range(1, 5) if start <= keys.entry_key(10_001, 2, [float(n)], INTERNAL) < end]
    assert numbers == inside


@pytest.mark.parametrize("pair", [(gt(1), gte(2)), (lt(1), lte(2)), (between(1, 2), gt(0))])
def test_a_range_has_one_bound_on_each_side(pair: tuple[Bound, Bound]) -> None:
    with pytest.raises(InvalidRange, match="one lower and one upper bound"):
        pair[0] & pair[1]


def test_a_bound_joins_only_with_a_bound() -> None:
    with pytest.raises(TypeError):
        gt(1) & 3  # type: ignore[operator]


def test_with_values_changes_both_sides_and_keeps_the_rest() -> None:
    assert (gt(1) & lte(2)).with_values(str) == gt("1") & lte("2")
    assert gte(1).with_values(str) == gte("1")
