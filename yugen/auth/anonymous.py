"""Users who have not said who they are, and may do so later without losing what is theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from yugen.auth import attempts, crypto, sessions, users
from yugen.auth.errors import AuthError
from yugen.auth.parts import Endpoint, Part
from yugen.auth.sessions import Device, SignedIn
from yugen.functions.context import MutationCtx
from yugen.functions.declare import Mutation, internal_mutation
from yugen.functions.extensions import extension_of

if TYPE_CHECKING:
    from yugen.auth.requests import AuthRequest
    from yugen.auth.users import User


class Anonymous(Part):
    """Lets people begin without an account.

    Once they sign up, in whichever way, they are the same user as before, with the same id. If they sign in to an
    account that they had already, `on_merge` is told, and the anonymous user is deleted after it.

    Args:
        on_merge: a mutation of the app with arguments `anonymous` and `user`, two ids; it moves over what is to be
            kept, in the transaction that signs in.
    """

    name = "anonymous"

    def __init__(self, *, on_merge: Mutation[..., Any] | str | None = None) -> None:
        self.on_merge = on_merge

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (Endpoint("POST", "/sign-in/anonymous", sign_in),)

    async def signed_in(self, ctx: MutationCtx, user: User, before: str) -> None:
        left = await ctx.db.get(before)
        if not isinstance(left, self.auth.user) or not left.anonymous:
            return
        await self.auth.tell(ctx, self.on_merge, anonymous=left.id, user=user.id)
        await users.delete(ctx, self.auth, left, into=user.id)


async def sign_in(request: AuthRequest) -> Mapping[str, Any]:
    """Makes a user who is nobody in particular, and signs them in; who is one already stays so."""
    user, session = await request.user(), await request.session()
    if user is not None and session is not None:
        if not user.anonymous:
            raise AuthError("SignedIn", "You are signed in already; sign out first.", 409)
        return {"user": user.id, "session": session.id}
    await attempts.anonymous(request)
    token = crypto.new_token()
    return request.has_signed_in(token, await request.ctx.run_mutation(begin, device=request.device(token)))


@internal_mutation
async def begin(ctx: MutationCtx, device: Device) -> SignedIn:
    """Makes an anonymous user, and signs them in."""
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    auth = extension_of(ctx, Auth)
    user = await users.create(
        ctx, auth, anonymous=True, method="anonymous", address=device["address"], agent=device["agent"]
    )
    return await sessions.begin(ctx, auth, user, device, "anonymous")
