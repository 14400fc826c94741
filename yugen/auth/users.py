"""Users: the table of an app's own, and the queries that say who is signed in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from yugen.auth import audit, current, sessions
from yugen.auth.documents import Account, Session
from yugen.auth.errors import AuthError
from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.declare import query
from yugen.schema import UNSET, Document, Index

if TYPE_CHECKING:
    from yugen.auth.component import Auth
    from yugen.auth.sessions import Device

EMAIL_LENGTH_MAX: Final = 254
NAME_LENGTH_MAX: Final = 100

_EMAIL: Final = re.compile(
    r"[^@\s\x00-\x1f\x7f<>()\[\],;:\\\"]{1,64}@(?:[^@\s.\x00-\x2c/:-@\[-`{-\x7f]{1,63}\.)+[^@\s.\x00-\x2c/:-@\[-`{-\x7f]{2,63}"
)


class User(Document):
    """Somebody who can sign in. An app may add fields: `class User(yugen.auth.User, table="users")` in `schema.py`.

    Attributes:
        name: how they want to be called.
        email: their address, in small letters. It is theirs only if `email_verified`.
        email_verified: whether mail to it has reached them, or a provider that is trusted for it says so.
        image: the address of a picture.
        anonymous: whether they have not told yet who they are.
        roles: what they may do in the app, by name. Nobody changes it but administrators and functions of the app.
        banned: until when they may not sign in, in milliseconds since the epoch; null for ever.
        ban_reason: why, for administrators.
    """

    name: str | UNSET = UNSET
    email: str | UNSET = UNSET
    email_verified: bool = False
    image: str | UNSET = UNSET
    anonymous: bool = False
    roles: list[str] = Field(default_factory=list)
    banned: float | UNSET | None = UNSET
    ban_reason: str | UNSET = UNSET

    by_email = Index("email", unique=True)

    def is_banned(self, now: float) -> bool:
        """Whether they may not be signed in at a time, in milliseconds since the epoch."""
        return self.banned is not UNSET and (self.banned is None or self.banned > now)


@query
async def me(ctx: QueryCtx) -> dict[str, Any] | None:
    """Who is signed in, with their own fields; None for nobody. It changes as they do."""
    user = await current.user(ctx)
    if user is None:
        return None
    return {"id": user.id, **user.model_dump(exclude_unset=True, exclude={"id", "creation_time", "ban_reason"})}


# For the parts of sign-in -------------------------------------------------------------------------------------------


def checked_email(text: str) -> str:
    """An address as it is stored and compared: in small letters, without spaces around it.

    Raises:
        AuthError: mail cannot be sent to such an address.
    """
    email = text.strip().lower()
    if len(email) > EMAIL_LENGTH_MAX or not _EMAIL.fullmatch(email):
        raise AuthError("InvalidEmail", "This is no address for mail; write it like ada@example.com.", field="email")
    return email


def checked_name(text: str | None) -> str | None:
    """A name as it is stored; None for none.

    Raises:
        AuthError: it is too long, or not to be shown.
    """
    name = " ".join((text or "").split())
    if len(name) > NAME_LENGTH_MAX or not name.isprintable():
        raise AuthError("InvalidName", f"A name has at most {NAME_LENGTH_MAX} letters.", field="name")
    return name or None


async def by_email(ctx: QueryCtx, auth: Auth, email: str) -> User | None:
    """The user with an address, whether or not it was verified."""
    return await ctx.db.query(auth.user).with_index(auth.user.by_email, email=email).unique()


async def create(
    ctx: MutationCtx,
    auth: Auth,
    *,
    email: str | None = None,
    verified: bool = False,
    name: str | None = None,
    image: str | None = None,
    anonymous: bool = False,
    upgrades: User | None = None,
    method: str,
    **seen: Any,
) -> User:
    """Makes a user, and tells the app, in the transaction of whatever they sign up by.

    Somebody who was anonymous until now stays who they are, with all that is theirs: the app hears of a change.

    Args:
        ctx: the context of the transaction.
        auth: the app's.
        email: their address, as `checked_email` gives it; the caller has seen that nobody has it.
        verified: whether it is known to be theirs.
        name: how they want to be called.
        image: the address of a picture.
        anonymous: whether they have not said who they are.
        upgrades: the anonymous user who they were until now, as `anonymous_of` gives it.
        method: how they sign up.
        seen: `address` and `agent` of who signs up.
    """
    if upgrades is not None:
        given = {"name": name, "email": email, "image": image}
        known = {field: value for field, value in given.items() if value is not None}
        # Whoever else holds one of its sessions does not come along.
        await sessions.end_all(ctx, upgrades.id)
        await ctx.db.patch(upgrades.id, anonymous=False, email_verified=verified, **known)
        upgraded = await ctx.db.get(upgrades.id)
        assert isinstance(upgraded, User)
        await audit.note(ctx, "sign-up", user=upgraded.id, method=method, anonymous=True, **seen)
        await auth.tell(ctx, auth.on_change, user=upgraded.id)
        return upgraded
    user = auth.user(
        name=UNSET if name is None else name,
        email=UNSET if email is None else email,
        email_verified=verified,
        image=UNSET if image is None else image,
        anonymous=anonymous,
    )
    made = await ctx.db.get(await ctx.db.insert(user))
    assert made is not None
    await audit.note(ctx, "sign-up", user=made.id, method=method, **seen)
    await auth.tell(ctx, auth.on_sign_up, user=made.id)
    return made


async def anonymous_of(ctx: QueryCtx, auth: Auth, token: str | None) -> User | None:
    """The anonymous user whose session has a token, for `create`; None if there is none.

    Args:
        ctx: the context of the transaction.
        auth: the app's.
        token: the digest of the token, as `Device` has it in `replaces`.
    """
    if token is None:
        return None
    found = await ctx.db.query(Session).with_index(Session.by_token, token=token).unique()
    user = None if found is None or not found.stands or found.expires <= ctx.now else await ctx.db.get(found.user)
    return user if isinstance(user, auth.user) and user.anonymous else None


async def of_mailbox(ctx: MutationCtx, auth: Auth, email: str, device: Device, *, method: str) -> User:
    """Whoever has an address, for somebody whom mail to it has just reached; a new user if nobody has it.

    Args:
        ctx: the context of the transaction.
        auth: the app's.
        email: the address, as `checked_email` gives it.
        device: where they are.
        method: how they have come.
    """
    seen: dict[str, Any] = {"address": device["address"], "agent": device["agent"]}
    known = await by_email(ctx, auth, email)
    if known is None:
        upgrades = await anonymous_of(ctx, auth, device["replaces"])
        return await create(ctx, auth, email=email, verified=True, upgrades=upgrades, method=method, **seen)
    return known if known.email_verified else await claim_email(ctx, auth, known, **seen)


async def claim_email(ctx: MutationCtx, auth: Auth, user: User, **seen: Any) -> User:
    """Gives an account that was made with an address to whom the address belongs, as it is known just now.

    Whoever has made it and could not show that, may have done so in order to be there already when the owner comes
    (account pre-hijacking; CVE-2026-44166 of PocketBase). So all they have left to come back by is taken away: ways to
    sign in, sessions, second factors, keys, and what they have called themselves.

    Args:
        ctx: the context of the transaction.
        auth: the app's.
        user: the account, whose address was not verified.
        seen: `address` and `agent` of the owner.

    Returns:
        The account as it is then; the caller adds the way by which the owner has come.
    """
    assert user.email is not UNSET
    assert not user.email_verified
    await sessions.end_all(ctx, user.id)
    for account in await ctx.db.query(Account).with_index(Account.by_user, user=user.id).collect():
        await ctx.db.delete(account.id)
    for part in auth.parts:
        await part.forget(ctx, user)
    await ctx.db.patch(user.id, email_verified=True, name=UNSET, image=UNSET)
    await audit.note(ctx, "email-claimed", user=user.id, **seen)
    claimed = await ctx.db.get(user.id)
    assert isinstance(claimed, User)
    return claimed


async def lose_email(ctx: MutationCtx, auth: Auth, user: User, **seen: Any) -> None:
    """Takes an address from somebody who has not shown that it is theirs, since somebody else has."""
    await sessions.end_all(ctx, user.id)
    await ctx.db.patch(user.id, email=UNSET)
    await audit.note(ctx, "email-lost", user=user.id, **seen)
    await auth.tell(ctx, auth.on_change, user=user.id)


async def ways(ctx: MutationCtx, auth: Auth, user: User) -> int:
    """By how many ways a user can sign in. Whoever takes one away sees first that it is not the last."""
    return sum([await part.ways(ctx, user) for part in auth.parts])


async def check_not_last_way(ctx: MutationCtx, auth: Auth, user: User) -> None:
    """Has somebody keep one way to sign in, before another is taken away.

    Raises:
        AuthError: it is the last one.
    """
    if await ways(ctx, auth, user) <= 1:
        raise AuthError("LastWay", "This is the only way for you to sign in; add another one first.", 409)


async def delete(ctx: MutationCtx, auth: Auth, user: User, **seen: Any) -> None:
    """Deletes a user and all that is stored of how they sign in, after the app was told.

    Args:
        ctx: the context of the transaction.
        auth: the app's.
        user: who.
        seen: `actor`, `address` and `agent` of who has it done.
    """
    await auth.tell(ctx, auth.on_delete, user=user.id)
    await sessions.end_all(ctx, user.id)
    for account in await ctx.db.query(Account).with_index(Account.by_user, user=user.id).collect():
        await ctx.db.delete(account.id)
    for part in auth.parts:
        await part.forget(ctx, user)
    await ctx.db.delete(user.id)
    await audit.note(ctx, "account-deleted", user=user.id, **seen)
