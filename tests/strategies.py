"""Hypothesis strategies for the values of the wire, shared by all tests."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import strategies as st

from yugen.ids import INTERNAL_SIZE, TABLES_MAX
from yugen.values import ABSENT, EXACT_INT_MAX, INT64_MAX, INT64_MIN, Absent, Int64, Value

floats: st.SearchStrategy[float] = (
    st.binary(min_size=8, max_size=8).map(lambda raw: float(struct.unpack("<d", raw)[0])) | st.floats()
)
"""Any bit pattern (NaNs of both signs among them), and often the special ones."""

ints = st.integers(-EXACT_INT_MAX, EXACT_INT_MAX)
int64s = st.integers(INT64_MIN, INT64_MAX).map(Int64)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.text("\x00\x01a\xff", max_size=4)
blobs = st.binary(max_size=8) | st.lists(st.sampled_from([0, 1, 254, 255]), max_size=4).map(bytes)

names = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=6).filter(lambda s: not s.startswith("$"))
"""Field names."""

scalars: st.SearchStrategy[Value] = st.none() | st.booleans() | floats | int64s | texts | blobs


def _containers(inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inside, max_size=4) | st.dictionaries(names, inside, max_size=4)


values: st.SearchStrategy[Value] = st.recursive(scalars, _containers, max_leaves=8)
"""Values as `decode` gives them: their numbers are floats."""

mixed_values: st.SearchStrategy[Value] = st.recursive(scalars | ints, _containers, max_leaves=8)
"""Values as an app may give them: their numbers are floats or ints."""

documents: st.SearchStrategy[dict[str, Value]] = st.dictionaries(
    names.filter(lambda name: not name.startswith("_")), values, max_size=6
)

index_values: st.SearchStrategy[list[Value | Absent]] = st.lists(st.just(ABSENT) | mixed_values, max_size=4)
"""The fields of an index entry."""

tables = st.integers(0, TABLES_MAX - 1) | st.sampled_from([0, 127, 128, 10_001, 16_383, 16_384, 1 << 21])
internals = st.binary(min_size=INTERNAL_SIZE, max_size=INTERNAL_SIZE)
