"""What everybody who is signed in does with their own account: name and picture, address, ways to sign in, deletion."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from yugen.auth import attempts, audit, crypto, current, letters, mail, sessions, users, verifications
from yugen.auth.documents import Account
from yugen.auth.errors import AuthError, not_fresh, not_signed_in
from yugen.auth.parts import Endpoint, Part
from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.declare import internal_mutation, query
from yugen.functions.extensions import extension_of
from yugen.schema import UNSET

if TYPE_CHECKING:
    from yugen.auth.component import Auth
    from yugen.auth.requests import AuthRequest

CHANGE_LASTS: Final = timedelta(hours=1)
IMAGE_LENGTH_MAX: Final = 2048

_PURPOSE: Final = "change-email"


class OwnAccount(Part):
    """The part by which people look after their accounts; it is always there."""

    name = "account"
    is_way = False

    async def forget(self, ctx: MutationCtx, user: users.User) -> None:
        # Somebody who held the account before might have asked for another address, and wait.
        await verifications.withdraw(ctx, _PURPOSE, user.id)

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("POST", "/profile", change_profile),
            Endpoint("POST", "/change-email", change_email),
            Endpoint("POST", "/confirm-email", confirm_email),
            Endpoint("POST", "/ways/remove", remove_way),
            Endpoint("POST", "/delete-account", delete_account),
        )


@query
async def ways(ctx: QueryCtx) -> list[dict[str, Any]]:
    """The caller's accounts by which they sign in: `{id, provider, subject, created}`; a password has no subject."""
    user, _ = await current.signed_in(ctx)
    found = await ctx.db.query(Account).with_index(Account.by_user, user=user.id).collect()
    return [
        {
            "id": each.id,
            "provider": each.provider,
            "subject": None if each.subject == user.id else each.subject,
            "created": each.creation_time,
        }
        for each in found
    ]


# Over HTTP ----------------------------------------------------------------------------------------------------------


async def change_profile(request: AuthRequest) -> dict[str, Any]:
    """`{name, image}`: changes those of them that are there; an empty one is taken away."""
    _, session = await request.signed_in()
    name, image = request.optional("name"), request.optional("image", length_max=IMAGE_LENGTH_MAX)
    await request.ctx.run_mutation(
        rename,
        session=session.id,
        name=None if name is None else users.checked_name(name) or "",
        image=None if image is None else _checked_image(image),
    )
    return {}


async def change_email(request: AuthRequest) -> dict[str, Any]:
    """`{email}`: has a link sent to another address, which makes that the user's; the session has to be fresh.

    It answers the same whether or not somebody else has that address.
    """
    user, session = await request.signed_in(freshly=True)
    email = users.checked_email(request.text("email"))
    if email == user.email and user.email_verified:
        raise AuthError("SameEmail", "This is your address already.", field="email")
    await attempts.mail(request, email)
    await request.ctx.run_mutation(
        send_change,
        session=session.id,
        email=email,
        token=crypto.new_token(),
        address=request.address,
        agent=request.agent,
    )
    return {"sent": True}


async def confirm_email(request: AuthRequest) -> dict[str, Any]:
    """`{token}`: changes the address, for whoever has opened the link where they are signed in.

    Not for others: somebody might have asked for it so that the owner of an address gives it to their account.
    """
    _, session = await request.signed_in()
    done = await request.ctx.run_mutation(
        change_address,
        session=session.id,
        token=crypto.digest(request.text("token")),
        address=request.address,
        agent=request.agent,
    )
    if not done:
        raise AuthError("StaleLink", "This link is good no more; have the address changed once more.", 400)
    return {}


async def remove_way(request: AuthRequest) -> dict[str, Any]:
    """`{way}`: takes one of the ways to sign in away, but never the last; the session has to be fresh."""
    _, session = await request.signed_in(freshly=True)
    await request.ctx.run_mutation(
        remove, session=session.id, way=request.text("way"), address=request.address, agent=request.agent
    )
    return {}


async def delete_account(request: AuthRequest) -> dict[str, Any]:
    """Deletes the account. The session has to be fresh: they have just shown a password, or that mail reaches them."""
    _, session = await request.signed_in(freshly=True)
    await request.ctx.run_mutation(delete, session=session.id, address=request.address, agent=request.agent)
    request.has_signed_out()
    return {}


def _checked_image(image: str) -> str:
    parts = urlsplit(image) if image.isascii() and image.isprintable() else None
    if image and (parts is None or parts.scheme != "https" or not parts.hostname):
        raise AuthError("InvalidImage", "A picture is an address that begins with https://.", field="image")
    return image


# In the database ----------------------------------------------------------------------------------------------------


@internal_mutation
async def rename(ctx: MutationCtx, session: str, name: str | None, image: str | None) -> None:
    """Changes name and picture; an empty text takes one away."""
    auth, user = await _own(ctx, session)
    given = {"name": name, "image": image}
    await ctx.db.patch(user.id, **{field: text or UNSET for field, text in given.items() if text is not None})
    await auth.tell(ctx, auth.on_change, user=user.id)


@internal_mutation
async def send_change(
    ctx: MutationCtx, session: str, email: str, token: str, address: str | None, agent: str | None
) -> None:
    """Sends the link that changes an address, or tells who has it already that somebody else wants it."""
    auth, user = await _own(ctx, session, freshly=True)
    app = letters.name_of(auth, ctx)
    other = await users.by_email(ctx, auth, email)
    if other is not None and other.id != user.id and other.email_verified:
        letter = auth.letters.address_taken(app, letters.page(ctx, "sign-in"), letters.page(ctx, "forgot"))
    else:
        await verifications.issue(ctx, _PURPOSE, user.id, crypto.digest(token), CHANGE_LASTS, email)
        link = letters.link(ctx, auth.email_link, "verify?code=change", token)
        letter = auth.letters.change_email(app, link)
    await mail.send(ctx, letter.to(email))
    await audit.note(ctx, "email-change-asked", user=user.id, address=address, agent=agent)


@internal_mutation
async def change_address(ctx: MutationCtx, session: str, token: str, address: str | None, agent: str | None) -> bool:
    """Gives a user the address that the link was sent to; false if it is good no more, or not theirs."""
    auth, user = await _own(ctx, session)
    found = await verifications.look(ctx, _PURPOSE, token)
    if found is None or found.subject != user.id or await verifications.use(ctx, _PURPOSE, token) is None:
        return False
    email = str(verifications.data_of(found))
    other = await users.by_email(ctx, auth, email)
    if other is not None and other.id != user.id:
        if other.email_verified:
            return False
        await users.lose_email(ctx, auth, other, address=address, agent=agent)
    before = user.email
    await ctx.db.patch(user.id, email=email, email_verified=True, anonymous=False)
    if before is not UNSET and before != email and user.email_verified:
        await mail.send(ctx, auth.letters.email_changed(letters.name_of(auth, ctx), email).to(before))
    await audit.note(ctx, "email-changed", user=user.id, address=address, agent=agent)
    await auth.tell(ctx, auth.on_change, user=user.id)
    return True


@internal_mutation
async def remove(ctx: MutationCtx, session: str, way: str, address: str | None, agent: str | None) -> None:
    """Takes away one of the ways by which somebody signs in."""
    auth, user = await _own(ctx, session, freshly=True)
    known = await ctx.db.normalize_id("auth_accounts", way)
    found = None if known is None else await ctx.db.get(known)
    if not isinstance(found, Account) or found.user != user.id:
        raise AuthError("NoSuchWay", "You do not sign in that way; it may have been removed already.", 404)
    await users.check_not_last_way(ctx, auth, user)
    await ctx.db.delete(found.id)
    if user.email is not UNSET and user.email_verified:
        await mail.send(ctx, auth.letters.way_removed(letters.name_of(auth, ctx), found.provider).to(user.email))
    await audit.note(ctx, "way-removed", user=user.id, address=address, agent=agent, method=found.provider)


@internal_mutation
async def delete(ctx: MutationCtx, session: str, address: str | None, agent: str | None) -> None:
    """Deletes the user of a session."""
    auth, user = await _own(ctx, session, freshly=True)
    if user.email is not UNSET and user.email_verified:
        await mail.send(ctx, auth.letters.account_deleted(letters.name_of(auth, ctx)).to(user.email))
    await users.delete(ctx, auth, user, address=address, agent=agent)


async def _own(ctx: MutationCtx, session: str, *, freshly: bool = False) -> tuple[Auth, users.User]:
    """Whose session it is that an endpoint has seen, and that may have ended since."""
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    auth = extension_of(ctx, Auth)
    own = await sessions.require(ctx, session)
    user = await ctx.db.get(own.user)
    if not isinstance(user, auth.user):
        raise not_signed_in()
    if freshly and not auth.lifetimes.is_fresh(own, ctx.now):
        raise not_fresh()
    return auth, user
