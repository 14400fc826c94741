"""What of a file a request asks for: all of it, a range, or nothing as it is there already (RFC 9110, 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

_RANGE: Final = re.compile(r"[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*")
_ETAG: Final = re.compile(r'(W/)?"([^"]*)"')


class Selection(NamedTuple):
    """What to answer: the status, and of statuses 200 and 206 the bytes from `start` on and before `end`."""

    status: int
    start: int = 0
    end: int = 0


def select(headers: Mapping[str, str], *, method: str, etag: str, size: int) -> Selection:
    """What a GET or HEAD of a file asks for.

    Args:
        headers: of the request.
        method: of the request; ranges are of GET only.
        etag: the entity tag of the file, without quotes. It is a strong one.
        size: the bytes of the file.
    """
    wanted, known = headers.get("if-match"), headers.get("if-none-match")
    if wanted is not None and not _names(wanted, etag, weak=False):
        return Selection(412)
    if known is not None and _names(known, etag, weak=True):
        return Selection(304)
    whole = Selection(200, 0, size)
    ranges = headers.get("range")
    if ranges is None or method != "GET" or size == 0:
        return whole
    condition = headers.get("if-range")
    if condition is not None and not _names(condition, etag, weak=False):
        return whole  # also for a date, as files have none
    return _of_range(ranges, size) or whole


def _of_range(header: str, size: int) -> Selection | None:
    """What a Range header selects; None for one that is malformed, which does not count."""
    unit, equals, text = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    found = [_RANGE.fullmatch(each) for each in text.split(",")]
    bounds = [(each[1], each[2]) for each in found if each and (each[1] or each[2])]
    if len(bounds) < len(found) or any(first and last and int(first) > int(last) for first, last in bounds):
        return None
    if len(bounds) > 1:
        return Selection(416)
    first, last = bounds[0]
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    return Selection(206, start, end) if start < end else Selection(416)


def _names(header: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags has this one, or is `*`. Weak ones count only where a weak comparison does."""
    if header.strip() == "*":
        return True
    return any(found[2] == etag and (weak or not found[1]) for found in _ETAG.finditer(header))
