from __future__ import annotations

import io
import json
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from yugen.runtime.masking import MASK, SIZE_MIN, VALUES_MAX, Mask, MaskedStream

VALUES = st.text(st.characters(codec="utf-8"), min_size=SIZE_MIN).filter(lambda value: MASK not in value)


def mask_of(*values: str) -> Mask:
    mask = Mask()
    mask.add({f"V{number}": value for number, value in enumerate(values)})
    return mask


@given(VALUES, st.text(max_size=5), st.text(max_size=5))
def test_a_value_is_masked_wherever_and_however_it_is_written(value: str, before: str, after: str) -> None:
    mask = mask_of(value)
    for written in (value, repr(value), json.dumps(value), json.dumps({"a": [value]}, ensure_ascii=False)):
        masked = mask(f"{before}{written}{after}")
        assert MASK in masked
        assert value not in masked


def test_what_is_short_or_built_in_is_not_masked() -> None:
    mask = Mask()
    assert not mask
    mask.add({"A": "1234567", "CONVEX_CLOUD_URL": "http://127.0.0.1:3210"})
    assert not mask
    assert mask("1234567 at http://127.0.0.1:3210") == "1234567 at http://127.0.0.1:3210"


def test_a_value_that_is_a_part_of_another_uncovers_nothing_of_it() -> None:
    assert mask_of("password", "my password 1", "password 1")("my password 1, password 1, password") == "•••, •••, •••"


def test_each_line_of_a_value_counts() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nshort\n-----END KEY-----\n"
    assert mask_of(key)("MIIEvQIBADANBg") == MASK
    assert mask_of(key)(key) == MASK
    assert mask_of(key)("short") == "short"


def test_values_of_before_stay_masked_but_not_for_ever() -> None:
    mask = mask_of("the first one")
    mask.add({"V0": "the second one"})
    assert mask("the first one, the second one") == "•••, •••"
    for number in range(VALUES_MAX):
        mask._values[f"value {number:09}"] = None
    mask.add({"V0": "the last one"})
    assert mask("the first one, the last one, value 000004095") == "the first one, •••, •••"


def test_a_stream_masks_what_goes_through() -> None:
    out = io.StringIO()
    stream = MaskedStream(out)
    print("rosebud and more", file=cast("io.StringIO", stream))
    stream.mask = mask_of("rosebud and more")
    assert stream.write("it is rosebud and more\n") == 23
    stream.writelines(["rosebud ", "rosebud and more\n"])
    stream.flush()
    assert out.getvalue() == "rosebud and more\nit is •••\nrosebud •••\n"
