"""What of a file a request asks for, against what browsers, players and download managers send."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen.server.conditions import Selection, select

TAG = "ab" * 32
SIZE = 1000
WHOLE = Selection(200, 0, SIZE)


def chosen(method: str = "GET", size: int = SIZE, **headers: str) -> Selection:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return select(named, method=method, etag=TAG, size=size)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-", Selection(206, 0, 1000)),  # what Chromium asks first of audio and video
        ("bytes=0-0", Selection(206, 0, 1)),
        ("bytes=0-1", Selection(206, 0, 2)),  # what Safari asks first
        ("bytes=100-199", Selection(206, 100, 200)),
        ("bytes=999-", Selection(206, 999, 1000)),
        ("bytes=900-5000", Selection(206, 900, 1000)),
        ("bytes=-1", Selection(206, 999, 1000)),
        ("bytes=-5000", Selection(206, 0, 1000)),
        ("Bytes = 5-6", Selection(206, 5, 7)),
        ("bytes=1000-", Selection(416)),
        ("bytes=99999999999999999-", Selection(416)),
        ("bytes=-0", Selection(416)),
        ("bytes=0-1,5-6", Selection(416)),
        ("bytes=0-1, -1", Selection(416)),
        ("bytes=5-4", WHOLE),
        ("bytes=", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=a-b", WHOLE),
        ("bytes=0-1,x", WHOLE),
        ("bytes=1-2-3", WHOLE),
        ("bytes=+1-2", WHOLE),
        ("bytes=\u0661-", WHOLE),
        ("bytes=" + "1" * 25 + "-", WHOLE),
        ("items=0-1", WHOLE),
        ("0-1", WHOLE),
        ("", WHOLE),
    ],
)
def test_ranges(header: str, expected: Selection) -> None:
    assert chosen(range=header) == expected
    assert chosen(method="HEAD", range=header) == WHOLE
    assert chosen(size=0, range=header) == Selection(200)


def many_ranges(count: int) -> float:
    """Seconds of the processor that headers take with so many of everything."""

    def once() -> float:
        began = time.process_time()
        assert chosen(range="bytes=" + ",".join(["0-"] * count)) == Selection(416)
        assert chosen(range="bytes=" + "1" * (3 * count)) == WHOLE
        assert chosen(range="bytes=" + "-," * count) == WHOLE
        assert chosen(if_none_match='"x",' * count) == WHOLE
        assert chosen(if_none_match='"' * (3 * count + 1)) == WHOLE
        return time.process_time() - began

    return min(once() for _ in range(3))


def test_ten_times_as_many_ranges_take_about_ten_times_as_long() -> None:
    assert chosen(range="bytes=" + ",".join(["0-1"] * 1500)) == Selection(416)
    assert many_ranges(20_000) < 50 * many_ranges(2_000)  # and not a hundred times


@pytest.mark.parametrize(
    ("header", "known"),
    [
        (f'"{TAG}"', True),
        (f'W/"{TAG}"', True),
        (f'"other", "{TAG}"', True),
        ("*", True),
        ('"other"', False),
        (TAG, False),
        ("", False),
    ],
)
def test_what_is_known_is_not_sent_again(header: str, known: bool) -> None:
    expected = Selection(304) if known else WHOLE
    assert chosen(if_none_match=header) == expected
    assert chosen(method="HEAD", if_none_match=header) == expected
    assert chosen(if_none_match=header, range="bytes=0-1").status == (304 if known else 206)


@pytest.mark.parametrize(
    ("header", "holds"),
    [
        (f'"{TAG}"', True),
        (f'W/"{TAG}"', False),
        ('"other"', False),
        ("Thu, 01 Jan 2026 00:00:00 GMT", False),
        ("", False),
    ],
)
def test_a_range_of_what_has_changed_is_all_of_it(header: str, holds: bool) -> None:
    assert chosen(range="bytes=0-1", if_range=header) == (Selection(206, 0, 2) if holds else WHOLE)
    assert chosen(if_range=header) == WHOLE


def test_what_must_be_the_same() -> None:
    assert chosen(if_match=f'"{TAG}"') == WHOLE
    assert chosen(if_match="*") == WHOLE
    assert chosen(if_match='"other"') == Selection(412)
    assert chosen(if_match=f'W/"{TAG}"') == Selection(412)
    assert chosen(if_match='"other"', if_none_match="*", range="bytes=0-1") == Selection(412)


texts = st.text(st.sampled_from('bytes=0123456789-, W/"*x'), max_size=40)


@given(
    st.dictionaries(st.sampled_from(["range", "if-range", "if-match", "if-none-match"]), texts),
    st.sampled_from(["GET", "HEAD"]),
    st.integers(0, 30),
)
def test_whatever_is_asked_what_is_sent_lies_within_the_file(headers: dict[str, str], method: str, size: int) -> None:
    found = select(headers, method=method, etag=TAG, size=size)
    assert found.status in (200, 206, 304, 412, 416)
    if found.status == 200:
        assert (found.start, found.end) == (0, size)
    if found.status == 206:
        assert 0 <= found.start < found.end <= size


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 40))
def test_a_range_is_a_slice(first: int, last: int, size: int) -> None:
    content = bytes(range(size))
    found = select({"range": f"bytes={first}-{last}"}, method="GET", etag=TAG, size=size)
    if first > last:
        assert found == Selection(200, 0, size)
    elif first >= size:
        assert found == Selection(416)
    else:
        assert content[found.start : found.end] == content[first : last + 1]
