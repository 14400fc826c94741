"""Who calls: a key for caches, and claims for functions."""

from yugen.identity import Identity

ADA = Identity.of("https://id", "ada", {"email": "ada@id", "email_verified": True, "name": 5, "role": ["admin"]})


def test_equal_identities_are_one_key() -> None:
    assert len({Identity("a|b", "b", "a"), Identity("a|b", "b", "a"), Identity("a|c", "c", "a")}) == 2
    assert Identity.of("a", "b", {"x": 1, "y": 2}) == Identity.of("a", "b", {"y": 2, "x": 1})
    assert Identity.of("a", "b", {"x": 1}) != Identity.of("a", "b")


def test_standard_claims_have_their_types_and_others_are_in_claims() -> None:
    assert ADA.token_identifier == "https://id|ada"
    assert (ADA.email, ADA.email_verified) == ("ada@id", True)
    assert ADA.name is None  # not a string
    assert ADA.picture is None
    assert ADA.claims["role"] == ["admin"]


def test_claims_given_away_cannot_change_the_identity() -> None:
    ADA.claims["role"].append("owner")
    assert ADA.claims["role"] == ["admin"]


def test_what_a_key_was_made_for_limits_those_who_show_one() -> None:
    assert Identity.of("https://id", "ada").scopes is None
    assert Identity.of("https://id", "ada", {"scopes": ["a"]}).scopes is None
    assert Identity.of("https://id", "ada", {"key": "k", "scopes": "a"}).scopes is None
    assert Identity.of("https://id", "ada", {"name": '"key":', "scopes": ["a"]}).scopes is None
    assert Identity.of("https://id", "ada", {"key": "k", "scopes": ["a", "b", 1]}).scopes == frozenset({"a", "b"})
    assert Identity.of("https://id", "ada", {"key": "k", "scopes": []}).scopes == frozenset()
