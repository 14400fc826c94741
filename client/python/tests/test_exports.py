from __future__ import annotations

import pytest

import yugen_client


def test_each_name_is_where_it_is_said_to_be() -> None:
    assert sorted(yugen_client.__all__, key=lambda name: (not name[0].isupper(), name)) == yugen_client.__all__
    for name in yugen_client.__all__:
        assert getattr(yugen_client, name) is not None
    assert dir(yugen_client) == yugen_client.__all__


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = yugen_client.Nothing
