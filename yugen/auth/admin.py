"""What administrators of an app do: look at its users, ban them, end their sessions, see what they see."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from yugen.auth import audit, current, sessions, users
from yugen.auth.crypto import digest, new_token
from yugen.auth.documents import Account, AuditEvent, Session
from yugen.auth.errors import AuthError, not_fresh, not_signed_in
from yugen.auth.parts import Endpoint, Part
from yugen.auth.requests import AuthRequest
from yugen.auth.sessions import Device, SignedIn, milliseconds
from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.declare import internal_mutation, internal_query, mutation, query
from yugen.functions.extensions import extension_of
from yugen.functions.pagination import PaginationOptions, PaginationResult
from yugen.schema import UNSET

if TYPE_CHECKING:
    from yugen.auth.component import Auth

ADMIN: Final = "admin"

_IMPERSONATOR_COOKIE: Final = "yugen-impersonator"


class Admin(Part):
    """Functions and endpoints for administrators.

    The first is made by whoever has the admin key: `yugen run auth/admin:make_admin '{"email": "ada@example.com"}'`.

    Args:
        roles: who is one, by role.
        impersonation: how long one may be signed in as somebody else; None for never.
    """

    name = "admin"

    def __init__(
        self, *, roles: Collection[str] = (ADMIN,), impersonation: timedelta | None = timedelta(hours=1)
    ) -> None:
        self.roles = frozenset(roles)
        self.impersonation = impersonation

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("POST", "/admin/impersonate", impersonate),
            Endpoint("POST", "/admin/stop-impersonating", stop_impersonating),
        )

    def is_admin(self, user: users.User) -> bool:
        """Whether somebody is one."""
        return bool(self.roles & set(user.roles))


async def require_admin(ctx: QueryCtx, *, freshly: bool = False) -> tuple[users.User, Session]:
    """The administrator who calls, and their session.

    Raises:
        AuthError: nobody is signed in, or they are none, or are signed in as somebody else.
    """
    user, session = await (current.freshly_signed_in(ctx) if freshly else current.signed_in(ctx))
    if not _part(ctx).is_admin(user) or session.impersonator is not UNSET:
        raise AuthError("Forbidden", "This is for administrators.", 403)
    return user, session


@query
async def list_users(ctx: QueryCtx, page: PaginationOptions, email: str | None = None) -> PaginationResult[Any]:
    """Users, the newest first, a page at a time; with `email`, whoever has that address."""
    await require_admin(ctx)
    kind = extension_of(ctx, _auth()).user
    if email is not None:
        return await ctx.db.query(kind).with_index(kind.by_email, email=email.strip().lower()).paginate(page)
    return await ctx.db.query(kind).order("desc").paginate(page)


@query
async def get_user(ctx: QueryCtx, user: str) -> dict[str, Any]:
    """A user with their sessions and the ways by which they sign in: `{user, sessions, accounts}`."""
    await require_admin(ctx)
    found = await _user(ctx, user)
    own = await ctx.db.query(Session).with_index(Session.by_user, user=found.id).collect()
    ways = await ctx.db.query(Account).with_index(Account.by_user, user=found.id).collect()
    return {
        "user": found,
        "sessions": [{"id": each.id, "created": each.creation_time, "expires": each.expires} for each in own],
        "accounts": [{"id": each.id, "provider": each.provider} for each in ways],
    }


@query
async def events(ctx: QueryCtx, page: PaginationOptions, user: str | None = None) -> PaginationResult[AuditEvent]:
    """What was written down, the newest first; with `user`, of that one."""
    await require_admin(ctx)
    if user is not None:
        return await ctx.db.query(AuditEvent).with_index(AuditEvent.by_user, user=user).order("desc").paginate(page)
    return await ctx.db.query(AuditEvent).order("desc").paginate(page)


@mutation
async def ban(ctx: MutationCtx, user: str, reason: str = "", until: float | None = None) -> None:
    """Ends all sessions of a user and lets them begin none, for ever or until so many milliseconds since the epoch."""
    admin, _ = await require_admin(ctx)
    found = await _user(ctx, user)
    _check_other(ctx, admin, found)
    await ctx.db.patch(found.id, banned=until, ban_reason=reason)
    await sessions.end_all(ctx, found.id)
    await audit.note(ctx, "banned", user=found.id, actor=admin.id, reason=reason, until=until)


@mutation
async def unban(ctx: MutationCtx, user: str) -> None:
    """Lets a user sign in again."""
    admin, _ = await require_admin(ctx)
    found = await _user(ctx, user)
    await ctx.db.patch(found.id, banned=UNSET, ban_reason=UNSET)
    await audit.note(ctx, "unbanned", user=found.id, actor=admin.id)


@mutation
async def end_sessions(ctx: MutationCtx, user: str) -> int:
    """Signs a user out everywhere; returns how many sessions that were."""
    admin, _ = await require_admin(ctx)
    found = await _user(ctx, user)
    ended = await sessions.end_all(ctx, found.id)
    await audit.note(ctx, "sessions-revoked", user=found.id, actor=admin.id, count=ended)
    return ended


@mutation
async def set_roles(ctx: MutationCtx, user: str, roles: list[str]) -> None:
    """Gives a user other roles; of oneself, nobody takes away that they are an administrator."""
    admin, _ = await require_admin(ctx, freshly=True)
    found = await _user(ctx, user)
    if found.id == admin.id and not _part(ctx).roles & set(roles):
        raise AuthError("Forbidden", "Have another administrator take that role from you.", 403)
    await ctx.db.patch(found.id, roles=sorted(set(roles)))
    before, after = ", ".join(found.roles), ", ".join(sorted(set(roles)))
    await audit.note(ctx, "roles-changed", user=found.id, actor=admin.id, before=before, after=after)


@mutation
async def delete_user(ctx: MutationCtx, user: str) -> None:
    """Deletes a user and all by which they sign in."""
    admin, _ = await require_admin(ctx, freshly=True)
    found = await _user(ctx, user)
    _check_other(ctx, admin, found)
    await users.delete(ctx, extension_of(ctx, _auth()), found, actor=admin.id)


@internal_mutation
async def make_admin(ctx: MutationCtx, email: str) -> None:
    """Makes a user an administrator, for whoever has the admin key."""
    auth = extension_of(ctx, _auth())
    found = await users.by_email(ctx, auth, users.checked_email(email))
    if found is None or not found.email_verified:
        raise AuthError("NoSuchUser", "Nobody has this address and has verified it; let them sign up first.", 404)
    await ctx.db.patch(found.id, roles=sorted({*found.roles, *_part(ctx).roles}))
    await audit.note(ctx, "roles-changed", user=found.id, after=", ".join(sorted({*found.roles, *_part(ctx).roles})))


# Signed in as somebody else ------------------------------------------------------------------------------------------


async def impersonate(request: AuthRequest) -> Mapping[str, Any]:
    """Signs an administrator in as somebody else, for a while and with a trace: `{user}`."""
    await request.signed_in(freshly=True)
    token, own = new_token(), request.token
    assert own is not None
    device = request.device(token)
    signed_in = await request.ctx.run_mutation(
        begin_impersonation, admin=digest(own), user=request.text("user"), device=Device(**{**device, "replaces": None})
    )
    request.set_cookie(_IMPERSONATOR_COOKIE, own, signed_in["expires"])
    return request.has_signed_in(token, signed_in)


async def stop_impersonating(request: AuthRequest) -> Mapping[str, Any]:
    """Ends that, and goes back to the administrator's own session if it lasts."""
    before = request.cookie(_IMPERSONATOR_COOKIE)
    _, session = await request.signed_in()
    if session.impersonator is UNSET or request.token is None:
        raise AuthError("NotImpersonating", "You are signed in as yourself.")
    await request.ctx.run_mutation(sessions.end, token=digest(request.token), address=request.address)
    request.has_signed_out()
    request.set_cookie(_IMPERSONATOR_COOKIE, None)
    found = None if before is None else await request.ctx.run_query(own_session, token=digest(before))
    if found is None or before is None or found["user"] != session.impersonator:
        return {"user": None}
    return request.has_signed_in(before, found)


@internal_query
async def own_session(ctx: QueryCtx, token: str) -> SignedIn | None:
    """The session with a token, of an administrator who comes back to it."""
    found = await ctx.db.query(Session).with_index(Session.by_token, token=token).unique()
    if found is None or not found.stands or found.expires <= ctx.now:
        return None
    return SignedIn(user=found.user, session=found.id, pending=False, expires=found.expires)


@internal_mutation
async def begin_impersonation(ctx: MutationCtx, admin: str, user: str, device: Device) -> SignedIn:
    """Begins a session of a user for the administrator whose session has a token."""
    part = _part(ctx)
    own = await ctx.db.query(Session).with_index(Session.by_token, token=admin).unique()
    acting = None if own is None else await ctx.db.get(own.user)
    if own is None or not own.stands or own.impersonator is not UNSET or not isinstance(acting, users.User):
        raise not_signed_in()
    if not extension_of(ctx, _auth()).lifetimes.is_fresh(own, ctx.now):
        raise not_fresh()
    if part.impersonation is None or not part.is_admin(acting):
        raise AuthError("Forbidden", "This is for administrators.", 403)
    found = await _user(ctx, user)
    _check_other(ctx, acting, found)
    expires = ctx.now + milliseconds(part.impersonation)
    session = await ctx.db.insert(
        Session(
            user=found.id,
            token=device["token"],
            method="impersonation",
            expires=expires,
            renewed=ctx.now,
            proven=0,  # so that nothing sensitive can be done with it
            impersonator=acting.id,
            address=UNSET if device["address"] is None else device["address"],
            agent=UNSET if device["agent"] is None else device["agent"],
        )
    )
    await audit.note(
        ctx, "impersonated", user=found.id, actor=acting.id, address=device["address"], agent=device["agent"]
    )
    return SignedIn(user=found.id, session=session, pending=False, expires=expires)


def _auth() -> type[Auth]:
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    return Auth


def _part(ctx: QueryCtx) -> Admin:
    part = extension_of(ctx, _auth()).part(Admin.name)
    assert isinstance(part, Admin)
    return part


async def _user(ctx: QueryCtx, user: str) -> users.User:
    kind = extension_of(ctx, _auth()).user
    known = await ctx.db.normalize_id(kind.__table__, user)
    found = None if known is None else await ctx.db.get(known)
    if not isinstance(found, users.User):
        raise AuthError("NoSuchUser", "There is no such user; they may have been deleted.", 404)
    return found


def _check_other(ctx: QueryCtx, admin: users.User, other: users.User) -> None:
    """Refuses to do to oneself, or to another administrator, what is for others."""
    if other.id == admin.id or _part(ctx).is_admin(other):
        raise AuthError("Forbidden", "Take the role of an administrator from them first.", 403)
