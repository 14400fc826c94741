from __future__ import annotations

import stat
from pathlib import Path

import pytest

from yugen.errors import TokenRejected
from yugen.identity import Identity
from yugen.server.caller import (
    ADMIN,
    AdminKey,
    Admitted,
    BadAdminKey,
    Caller,
    Callers,
    NoAuthProvider,
    Verified,
)


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "data" / "admin_key"
    key = AdminKey(file)
    text = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert text.startswith("yugen|")
    assert len(text) > 40
    assert key.opens(text)
    assert AdminKey(file).opens(text)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("wrong", ["", "yugen|", "ключ", "\ud800", "\x00", "x" * 100_000])
def test_nothing_else_opens(tmp_path: Path, wrong: str) -> None:
    key = AdminKey(tmp_path / "admin_key")
    assert not key.opens(wrong)
    assert not key.opens(key.file.read_text())  # the line has an end, the key has none


def test_an_empty_file_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / "admin_key"
    file.write_text("\n")
    key = AdminKey(file)
    assert not key.opens("")
    assert key.opens(file.read_text().strip())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_a_crash_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "admin_key.new").write_text("half")
    key = AdminKey(tmp_path / "admin_key")
    assert not key.opens("half")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_key_of_the_owners_choice_stays(tmp_path: Path) -> None:
    file = tmp_path / "admin_key"
    file.write_text("prod|chosen\n")
    assert AdminKey(file).opens("prod|chosen")
    assert file.read_text() == "prod|chosen\n"


@pytest.mark.parametrize("kind", ["prod:", "dev:", "preview:team:project:", "self-hosted:", ":"])
def test_the_type_of_a_deployment_does_not_count(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "admin_key"
    file.write_text("happy-otter-1|secret:with|signs")
    key = AdminKey(file)
    assert key.opens(f"{kind}happy-otter-1|secret:with|signs")
    assert not key.opens(f"{kind}grim-otter-2|secret:with|signs")
    assert not key.opens(f"{kind}secret:with|signs")
    assert not key.opens(f"{kind}happy-otter-1")
    file.write_text(f"{kind}happy-otter-1|secret")
    assert AdminKey(file).opens("happy-otter-1|secret")


class Seven:
    """Takes "seven" for the token of a user."""

    closed = False

    async def verify(self, token: str) -> Verified:
        if token != "seven":
            raise TokenRejected("The token is not seven.")
        return Verified(ADA, 7.0)

    async def close(self) -> None:
        self.closed = True


ADA = Identity.of("https://id", "ada")


@pytest.fixture
def admin_key(tmp_path: Path) -> AdminKey:
    return AdminKey(tmp_path / "admin_key")


async def test_a_user_is_who_the_verifier_says(admin_key: AdminKey) -> None:
    verifier = Seven()
    callers = Callers(admin_key, verifier)
    assert await callers.user("seven") == Admitted(Caller(ADA), expires_at=7.0)
    with pytest.raises(TokenRejected, match="is not seven"):
        await callers.user("eight")
    await callers.close()
    assert verifier.closed


async def test_without_providers_nobody_has_a_token(admin_key: AdminKey) -> None:
    callers = Callers(admin_key)
    with pytest.raises(NoAuthProvider, match=r"has no auth providers; call it without a token\."):
        await callers.user("seven")
    await callers.close()


def test_an_administrator_may_act_as_a_user_and_stays_one(admin_key: AdminKey) -> None:
    callers = Callers(admin_key, Seven())
    key = admin_key.file.read_text().strip()
    assert callers.admin(key) == Admitted(ADMIN, expires_at=None)
    assert callers.admin(f"dev:{key}", {"tokenIdentifier": "https://id|ada"}) == Admitted(Caller(ADA, admin=True))
    with pytest.raises(TokenRejected, match="A user to act as has a tokenIdentifier"):
        callers.admin(key, {})
    for acting_as in (None, {}, {"tokenIdentifier": "https://id|ada"}):
        with pytest.raises(BadAdminKey, match="is not the one of this deployment"):
            callers.admin(f"{key}x", acting_as)
