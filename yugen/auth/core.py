"""What every app with sign-in answers: who is signed in, a token for them, and signing out."""

from __future__ import annotations

from typing import Any

from yugen.auth import audit, crypto, sessions, tokens, verifications
from yugen.auth.parts import Endpoint, Part
from yugen.auth.requests import AuthRequest
from yugen.functions.context import ActionCtx
from yugen.functions.declare import internal_action
from yugen.functions.extensions import extension_of
from yugen.schema import UNSET


class Core(Part):
    """The part that is always there."""

    name = "core"
    is_way = False

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("GET", "/session", session),
            Endpoint("GET", "/token", tokens.token),
            Endpoint("POST", "/token", tokens.token),
            Endpoint("POST", "/sign-out", sign_out),
            Endpoint("GET", "/methods", methods),
        )


async def session(request: AuthRequest) -> dict[str, Any]:
    """Who is signed in: `{user, session}`, both null for nobody; `secondFactor` where that is still to be shown."""
    pending = await request.pending()
    if pending is not None:
        return {"user": None, "session": None, "secondFactor": request.auth.second_factors}
    own, user = await request.session(), await request.user()
    if own is None or user is None:
        return {"user": None, "session": None}
    return {
        "user": {
            "id": user.id,
            "name": None if user.name is UNSET else user.name,
            "email": None if user.email is UNSET else user.email,
            "emailVerified": user.email_verified,
            "image": None if user.image is UNSET else user.image,
            "anonymous": user.anonymous,
        },
        "session": {
            "id": own.id,
            "expires": own.expires,
            "fresh": request.auth.lifetimes.is_fresh(own, request.ctx.now),
            "impersonated": own.impersonator is not UNSET,
        },
    }


async def methods(request: AuthRequest) -> dict[str, Any]:
    """By which ways one can sign in here, by name, for pages that show them."""
    return {"methods": {part.name: dict(part.describe()) for part in request.auth.parts if part.is_way}}


async def sign_out(request: AuthRequest) -> dict[str, Any]:
    """Ends the session, if there is one."""
    if request.token is not None:
        await request.ctx.run_mutation(
            sessions.end, token=crypto.digest(request.token), address=request.address, agent=request.agent
        )
    request.has_signed_out()
    return {}


@internal_action
async def sweep(ctx: ActionCtx) -> None:
    """Deletes sessions that are over, what was sent and is good no more, and events of long ago."""
    while await ctx.run_mutation(sessions.sweep):
        pass
    while await ctx.run_mutation(verifications.sweep):
        pass
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    kept = extension_of(ctx, Auth).lifetimes.events
    while kept is not None and await ctx.run_mutation(audit.sweep, older=sessions.milliseconds(kept)):
        pass
