"""What an interval of the key space is to a person: a range of an index of a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from yugen import ids, keys
from yugen.catalog import BY_ID, CREATION_TIME, Catalog, IndexSpec
from yugen.guards import Guard, GuardedRead
from yugen.intervals import Interval
from yugen.values import ABSENT

_SHOWN: Final = 60


def shown(read: GuardedRead, catalog: Catalog) -> str:
    """A range that was read, in words: `messages.by_channel: channel == "general"`."""
    interval, guard = read
    number, slot = keys.table_of(interval[0]), keys.slot_of(interval[0])
    table = catalog.numbered(number)
    if table is None:
        return f"table number {number}"
    narrowed = _narrowed(guard)
    if slot == 0:
        return f"{table.name}{_documents(interval, number)}{narrowed}"
    index = next((index for index in table.indexes if index.slot == slot), None)
    if index is None:
        return f"{table.name}, an index that has gone"
    return f"{table.name}.{index.name}: {_conditions(interval, number, index)}{narrowed}"


def _documents(interval: Interval, number: int) -> str:
    start, end = interval
    if end == start + b"\x00" and len(start) == len(keys.document_key(number, bytes(keys.INTERNAL_SIZE))):
        return f" {ids.encode_id(number, keys.internal_of(start))}"
    prefix = keys.index_prefix(number, 0)
    return f".{BY_ID}: " + ("all" if interval == (prefix, keys.prefix_end(prefix)) else "some")


def _conditions(interval: Interval, number: int, index: IndexSpec) -> str:
    prefix = keys.index_prefix(number, index.slot)
    fields = (*index.fields, CREATION_TIME)
    low, above, _ = _bound(interval[0][len(prefix) :], len(fields))
    high, through, within = _bound(interval[1][len(prefix) :], len(fields))
    if interval[1] == keys.prefix_end(prefix):
        high, through = [], False
    if interval[0] == prefix + keys.encode_values(low) and interval[1] == keys.prefix_end(interval[0]):
        high, through = low, True
    equal = 0
    while equal < min(len(low), len(high)) and _same(low[equal], high[equal]):
        equal += 1
    if equal == len(low) == len(high) and equal and (above or not through):
        equal -= 1
    parts = [f"{field} == {_value(value)}" for field, value in zip(fields, low[:equal], strict=False)]
    if len(low) > equal:
        parts.append(_compared(fields[equal : len(low)], ">" if above else ">=", low[equal:]))
    if len(high) > equal:
        parts.append(_compared(fields[equal : len(high)], "<=" if through or within else "<", high[equal:]))
    return ", ".join(parts) or "all"


def _bound(encoded: bytes, most: int) -> tuple[list[Any], bool, bool]:
    """The values of a limit, whether it lies after all that begins with them, and whether it lies among that."""
    found, rest = keys.decode_values(encoded, most)
    if not encoded or not encoded[-1]:
        return found, False, bool(rest)
    # What follows all that begins with something ends in a byte that is one more; see `keys.prefix_end`.
    before, rest_before = keys.decode_values(encoded[:-1] + bytes((encoded[-1] - 1,)), most)
    if not rest_before and (rest or len(repr(before)) < len(repr(found))):
        return before, True, False
    return found, False, bool(rest)


def _same(left: Any, right: Any) -> bool:
    return keys.encode_values([left]) == keys.encode_values([right])


def _compared(fields: Sequence[str], sign: str, values: Sequence[Any]) -> str:
    if len(fields) == 1:
        return f"{fields[0]} {sign} {_value(values[0])}"
    return f"({', '.join(fields)}) {sign} ({', '.join(map(_value, values))})"


def _value(value: Any) -> str:
    text = (
        json.dumps(value, ensure_ascii=False) if isinstance(value, str) else "UNSET" if value is ABSENT else repr(value)
    )
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _narrowed(guard: Guard) -> str:
    fields = "" if guard.fields is None else f", only {', '.join(guard.fields) or 'which there are'}"
    return f"{', filtered' if guard.keep else ''}{fields}"
