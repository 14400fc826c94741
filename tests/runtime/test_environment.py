from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.engine import SECRET, VAULT
from yugen import values
from yugen.runtime.environment import Variables, fields, resealing, sealing, stored_keys
from yugen.storage.interface import Change
from yugen.vault import BadKey, Unreadable, Vault

KEY = stored_keys()[0]


def image(name: str, **more: object) -> bytes:
    return values.dumps({"_id": "id", "name": name, **more})


def test_what_was_in_the_clear_is_sealed_and_the_rest_left_alone() -> None:
    to = sealing(VAULT)
    sealed = to(image("A", value="é"))
    assert to(image("A", value="é")) == sealed  # of which there may be one after a change, and one before the next
    document = fields(sealed)
    assert document == {"_id": "id", "name": "A", "sealed": document["sealed"], "size": 2}
    assert VAULT.open("A", document["sealed"]) == "é"
    assert to(sealed) == sealed


def test_what_is_sealed_is_sealed_anew_and_what_cannot_be_opened_left_alone() -> None:
    keys = [SECRET]
    vault = Vault(lambda: keys)
    mine, others = (
        image("A", sealed=vault.seal("A", "1")),
        image("B", sealed=Vault(lambda: (b"x" * 32,)).seal("B", "2")),
    )
    keys.insert(0, bytes(range(32)))
    to = resealing(vault)
    keys_after = Vault(lambda: keys[:1])
    assert keys_after.open("A", fields(to(mine))["sealed"]) == "1"
    assert to(others) == others
    with pytest.raises(Unreadable):
        keys_after.open("A", fields(mine)["sealed"])


def test_built_in_variables_stay_whatever_is_stored() -> None:
    variables = Variables(VAULT, lambda: {"HERE": "built in"})
    environment = variables.after({}, Change(KEY, None, image("HERE", sealed=VAULT.seal("HERE", "stored"))))
    assert environment == {"HERE": "built in"}
    environment = variables.after(environment, Change(KEY, None, image("A", sealed=VAULT.seal("A", "1"))))
    assert environment == {"HERE": "built in", "A": "1"}
    assert variables.after(environment, Change(KEY, image("A", sealed=""), None)) == {"HERE": "built in"}


def test_keys_that_are_spoilt_leave_a_variable_unreadable_and_nothing_else() -> None:
    def spoilt() -> Sequence[bytes]:
        raise BadKey("no")

    variables = Variables(Vault(spoilt))
    sealed = image("A", sealed=VAULT.seal("A", "1"))
    assert variables.after({"B": "2"}, Change(KEY, None, sealed)) == {"B": "2"}
    assert variables.unreadable == {"A"}
    assert variables.after({"B": "2"}, Change(KEY, sealed, None)) == {"B": "2"}
    assert not variables.unreadable
