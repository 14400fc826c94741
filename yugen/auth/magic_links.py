"""Sign-in by a link that comes by mail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from yugen.auth import attempts, audit, crypto, letters, mail, sessions, users, verifications
from yugen.auth.errors import AuthError
from yugen.auth.origins import destination
from yugen.auth.parts import Endpoint, Part
from yugen.auth.sessions import Device, SignedIn
from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.declare import internal_mutation
from yugen.functions.extensions import extension_of

if TYPE_CHECKING:
    from yugen.auth.component import Auth
    from yugen.auth.requests import AuthRequest
    from yugen.auth.users import User

LINK_LASTS: Final = timedelta(minutes=15)

_PURPOSE: Final = "magic-link"


class MagicLink(Part):
    """Sign-in by a link that comes by mail, is good for 15 minutes, and once.

    Opening it does nothing yet: programs that look through mail open links too. The page behind it has a button.

    Args:
        sign_up: whether somebody who has no account gets one by it.
        link: the address of the app's own page where it leads, with `{token}` in it. That posts the token to
            `/auth/verify/magic-link`.

    Raises:
        ValueError: the address is not whole, or has no place for the token.
    """

    name = _PURPOSE

    def __init__(self, *, sign_up: bool = True, link: str | None = None) -> None:
        letters.check_link("MagicLink", "link", link)
        self.sign_up = sign_up
        self.link = link

    def check(self) -> None:
        if self.auth.pages is None and self.link is None:
            raise ValueError("MagicLink: without the ready-made pages, give link, where the link in the mail leads.")

    def describe(self) -> Mapping[str, Any]:
        return {"signUp": self.sign_up}

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("POST", "/sign-in/magic-link", ask),
            Endpoint("POST", "/verify/magic-link", verify),
        )

    async def ways(self, ctx: QueryCtx, user: User) -> int:
        return int(user.email_verified)


async def ask(request: AuthRequest) -> dict[str, Any]:
    """`{email, redirect}`: has a link sent; answers the same whether or not there is an account."""
    email = users.checked_email(request.text("email"))
    redirect = destination(request, "redirect")
    await attempts.mail(request, email)
    await request.ctx.run_mutation(
        send,
        email=email,
        token=crypto.new_token(),
        redirect=redirect,
        address=request.address,
        agent=request.agent,
    )
    return {"sent": True}


async def verify(request: AuthRequest) -> dict[str, Any]:
    """`{token}`: signs in whoever has opened the link."""
    token = crypto.new_token()
    signed_in = await request.ctx.run_mutation(
        enter, token=crypto.digest(request.text("token")), device=request.device(token)
    )
    if signed_in is None:
        raise AuthError("StaleLink", "This link is good no more, or was used already; ask for another.", 400)
    return request.has_signed_in(token, signed_in)


@internal_mutation
async def send(
    ctx: MutationCtx, email: str, token: str, redirect: str | None, address: str | None, agent: str | None
) -> None:
    """Sends a link to an address. The one before is good no more."""
    auth, part = _found(ctx)
    user = await users.by_email(ctx, auth, email)
    await verifications.issue(ctx, _PURPOSE, email, crypto.digest(token), LINK_LASTS)
    link = letters.link(ctx, part.link, "link", token)
    if redirect is not None and part.link is None:
        link += f"&redirect={quote(redirect, safe='')}"
    letter = auth.letters.magic_link(letters.name_of(auth, ctx), link).to(email)
    # Where it is for those who have an account, all but the sending is done for others too: the time does not tell.
    await mail.send(ctx, letter if user is not None or part.sign_up else None)
    await audit.note(
        ctx, "link-asked", user=None if user is None else user.id, address=address, agent=agent, method=_PURPOSE
    )


@internal_mutation
async def enter(ctx: MutationCtx, token: str, device: Device) -> SignedIn | None:
    """Signs in whoever has opened a link; None if it is good no more."""
    auth, _ = _found(ctx)
    used = await verifications.use(ctx, _PURPOSE, token)
    if used is None:
        return None
    user = await users.of_mailbox(ctx, auth, used.subject, device, method=_PURPOSE)
    return await sessions.begin(ctx, auth, user, device, _PURPOSE)


def _found(ctx: QueryCtx) -> tuple[Auth, MagicLink]:
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    auth = extension_of(ctx, Auth)
    part = auth.part(_PURPOSE)
    assert isinstance(part, MagicLink)
    return auth, part
