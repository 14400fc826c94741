"""An identity can be part of a cache key."""

from yugen.identity import Identity


def test_equal_identities_are_one_key() -> None:
    assert len({Identity("a|b", "b", "a"), Identity("a|b", "b", "a"), Identity("a|c", "c", "a")}) == 2
