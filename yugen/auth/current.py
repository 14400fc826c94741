"""Who is signed in, as a function asks: by the session in the database and not only by what a token says."""

from __future__ import annotations

from typing import Any

from yugen.auth.documents import Session
from yugen.auth.errors import not_fresh, not_signed_in
from yugen.functions.context import QueryCtx
from yugen.functions.extensions import extension_of
from yugen.identity import Identity


async def session(ctx: QueryCtx) -> Session | None:
    """The session of who calls; None for nobody, and for one that has ended.

    It is read, so that a query runs again when the session ends and a mutation of one that has ended does nothing.
    """
    identity = await ctx.auth.get_user_identity()
    if identity is None or identity.issuer != ctx.env["CONVEX_SITE_URL"]:
        return None
    claimed = identity.claims.get("sid")
    found = await ctx.db.unrestricted.get(claimed) if isinstance(claimed, str) else None
    return found if isinstance(found, Session) and found.stands and found.user == identity.subject else None


async def user(ctx: QueryCtx) -> Any:
    """The user who calls, of the app's own class of users, by a session or by a key; None for nobody."""
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    identity = await ctx.auth.get_user_identity()
    if identity is None or identity.issuer != ctx.env["CONVEX_SITE_URL"]:
        return None
    if "sid" in identity.claims and await session(ctx) is None:
        return None
    if "key" in identity.claims and not await _key_stands(ctx, identity):
        return None
    found = await ctx.db.unrestricted.get(identity.subject)
    if not isinstance(found, extension_of(ctx, Auth).user) or found.is_banned(ctx.now):
        return None
    return found


async def scopes(ctx: QueryCtx) -> frozenset[str] | None:
    """What who calls may do at most, if they do it by a key; None for those who are signed in, and for nobody."""
    identity = await ctx.auth.get_user_identity()
    return None if identity is None else identity.scopes


async def _key_stands(ctx: QueryCtx, identity: Identity) -> bool:
    """Whether a key is still there, so that a query runs again when it is revoked; see `yugen.auth.api_keys`."""
    key = await ctx.db.unrestricted.get(identity.claims["key"])
    return key is not None and getattr(key, "user", None) == identity.subject


async def signed_in(ctx: QueryCtx) -> tuple[Any, Session]:
    """The user who calls and their session.

    Raises:
        AuthError: nobody is signed in with a session.
    """
    found, of = await user(ctx), await session(ctx)
    if found is None or of is None:
        raise not_signed_in()
    return found, of


async def freshly_signed_in(ctx: QueryCtx) -> tuple[Any, Session]:
    """As `signed_in`, for what not even somebody at a screen that was left open may do.

    Raises:
        AuthError: nobody is, or it is too long ago that they have shown who they are.
    """
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    found, of = await signed_in(ctx)
    if not extension_of(ctx, Auth).lifetimes.is_fresh(of, ctx.now):
        raise not_fresh()
    return found, of
