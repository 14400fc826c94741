"""Sessions: rows of the database, by which everything else tells who is signed in.

What a device shows is a random token. The database has its digest, so that whoever reads that cannot be anybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict  # of pydantic, which takes that of typing from Python 3.12 on

from yugen.auth import audit, current
from yugen.auth.documents import Session, SigningKey
from yugen.auth.errors import AuthError, not_signed_in
from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.declare import internal_mutation, internal_query, mutation, query
from yugen.functions.extensions import extension_of
from yugen.schema import UNSET

if TYPE_CHECKING:
    from yugen.auth.component import Auth
    from yugen.auth.users import User

SESSIONS_MAX = 100
"""How many a user may have at once; more end the oldest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long sessions and what they are good for last.

    Args:
        session: how long one lasts of which nothing is heard.
        renewal: after how long its end is moved when something is heard of it.
        at_most: how long one lasts whatever is heard of it; None for ever (ASVS 5.0, 7.3.2).
        fresh: how long after signing in one may do what is sensitive.
        pending: how long one waits for a second factor.
        token: how long a token is good that was made for one.
        events: how long it is known who has signed in, or changed who may do what; None for ever.
    """

    session: timedelta = timedelta(days=7)
    renewal: timedelta = timedelta(days=1)
    at_most: timedelta | None = timedelta(days=90)
    fresh: timedelta = timedelta(minutes=15)
    pending: timedelta = timedelta(minutes=10)
    token: timedelta = timedelta(minutes=10)
    events: timedelta | None = timedelta(days=365)

    def is_fresh(self, session: Session, now: float) -> bool:
        """Whether somebody has shown a short while ago who they are."""
        return now - session.proven <= milliseconds(self.fresh)

    def end(self, began: float, now: float) -> float:
        """When a session ends of which something is heard now."""
        end = now + milliseconds(self.session)
        return end if self.at_most is None else min(end, began + milliseconds(self.at_most))


class Device(TypedDict):
    """What is known of who signs in.

    Attributes:
        token: the digest of the token for their session.
        replaces: the digest of that which they have shown, if they had one.
        trusted: the digest of what tells a trusted device, if they have shown that.
        address: from where they come.
        agent: what their browser calls itself.
    """

    token: str
    replaces: str | None
    trusted: str | None
    address: str | None
    agent: str | None


class SignedIn(TypedDict):
    """Who has signed in.

    Attributes:
        user: the user's id.
        session: the session's id.
        pending: whether a second factor is to be shown before it counts.
        expires: when it ends, in milliseconds since the epoch.
    """

    user: str
    session: str
    pending: bool
    expires: float


def milliseconds(duration: timedelta) -> float:
    """A duration as the clock of functions counts."""
    return duration / timedelta(milliseconds=1)


async def begin(
    ctx: MutationCtx, auth: Auth, user: User, device: Device, method: str, *, second: bool = True, **detail: Any
) -> SignedIn:
    """Signs somebody in who has shown who they are: a new session, whatever there was before (ASVS 5.0, 7.2.4).

    Args:
        ctx: the context of the transaction.
        auth: the app's.
        user: who.
        device: where.
        method: how they have shown it.
        second: whether a second factor is asked of those who have one; not where one was shown already.
        detail: more for the log of events.

    Raises:
        AuthError: they may not sign in.
    """
    if user.is_banned(ctx.now):
        raise AuthError("Banned", "This account may not sign in; ask who runs this site.", 403)
    before = await _left(ctx, device["replaces"])
    await end_token(ctx, device["replaces"])
    pending = False
    for part in auth.parts if second else ():
        pending = pending or await part.second_factor(ctx, user, device["trusted"])
    lifetimes = auth.lifetimes
    expires = ctx.now + milliseconds(lifetimes.pending) if pending else lifetimes.end(ctx.now, ctx.now)
    session = await ctx.db.insert(
        Session(
            user=user.id,
            token=device["token"],
            state="pending" if pending else "active",
            method=method,
            expires=expires,
            renewed=ctx.now,
            proven=ctx.now,
            address=UNSET if device["address"] is None else device["address"],
            agent=UNSET if device["agent"] is None else device["agent"][: audit.AGENT_LENGTH_MAX],
            leaves=UNSET if before in (None, user.id) or not pending else before,
        )
    )
    all_of_user = ctx.db.query(Session).with_index(Session.by_user, user=user.id).order("desc")
    for old in (await all_of_user.take(2 * SESSIONS_MAX))[SESSIONS_MAX:]:
        await ctx.db.delete(old.id)
    await audit.note(
        ctx,
        "sign-in-pending" if pending else "sign-in",
        user=user.id,
        address=device["address"],
        agent=device["agent"],
        method=method,
        **detail,
    )
    if not pending:
        if before not in (None, user.id):
            for part in auth.parts:
                await part.signed_in(ctx, user, before)
        await auth.tell(ctx, auth.on_sign_in, user=user.id)
    return SignedIn(user=user.id, session=session, pending=pending, expires=expires)


async def _left(ctx: MutationCtx, token: str | None) -> str | None:
    """Who was signed in with a token until now, also before a second factor was asked for; None for nobody."""
    if token is None:
        return None
    found = await ctx.db.query(Session).with_index(Session.by_token, token=token).unique()
    if found is None or found.expires <= ctx.now or found.impersonator is not UNSET:
        return None
    if found.stands:
        return found.user
    return None if found.leaves is UNSET else found.leaves


async def require(ctx: MutationCtx, session: str) -> Session:
    """The session with an id, which an endpoint has seen and which may have ended since.

    Raises:
        AuthError: it has.
    """
    found = await _found(ctx, session)
    if found is None or not found.stands or found.expires <= ctx.now:
        raise not_signed_in()
    return found


async def end_token(ctx: MutationCtx, token: str | None) -> None:
    """Ends the session with a token, if there is one."""
    if token is not None:
        found = await ctx.db.query(Session).with_index(Session.by_token, token=token).unique()
        if found is not None:
            await ctx.db.delete(found.id)


async def end_all(ctx: MutationCtx, user: str, *, but: str | None = None) -> int:
    """Ends all sessions of a user but one; returns how many those were."""
    ended = 0
    for session in await ctx.db.query(Session).with_index(Session.by_user, user=user).collect():
        if session.id != but:
            await ctx.db.delete(session.id)
            ended += 1
    return ended


# For clients --------------------------------------------------------------------------------------------------------


@query(name="list")
async def list_sessions(ctx: QueryCtx) -> list[dict[str, Any]]:
    """The sessions of who calls, the newest first: `{id, current, method, created, expires, address, agent}`."""
    user, own = await current.signed_in(ctx)
    found = await ctx.db.query(Session).with_index(Session.by_user, user=user.id).order("desc").collect()
    return [
        {
            "id": each.id,
            "current": each.id == own.id,
            "method": each.method,
            "created": each.creation_time,
            "expires": each.expires,
            "address": None if each.address is UNSET else each.address,
            "agent": None if each.agent is UNSET else each.agent,
            "impersonated": each.impersonator is not UNSET,
        }
        for each in found
        if each.stands and each.expires > ctx.now
    ]


@mutation
async def revoke(ctx: MutationCtx, session: str) -> None:
    """Ends one of the caller's own sessions."""
    user, _ = await current.signed_in(ctx)
    found = await _found(ctx, session)
    if found is None or found.user != user.id:
        raise AuthError("NoSuchSession", "There is no such session of yours; it may have ended already.", 404)
    await ctx.db.delete(found.id)
    await audit.note(ctx, "session-revoked", user=user.id)


@mutation
async def revoke_others(ctx: MutationCtx) -> int:
    """Ends all sessions of the caller but the one that calls; returns how many those were."""
    user, own = await current.signed_in(ctx)
    ended = await end_all(ctx, user.id, but=own.id)
    await audit.note(ctx, "sessions-revoked", user=user.id, count=ended)
    return ended


@mutation
async def revoke_all(ctx: MutationCtx) -> int:
    """Ends all sessions of the caller; returns how many those were."""
    user, _ = await current.signed_in(ctx)
    ended = await end_all(ctx, user.id)
    await audit.note(ctx, "sessions-revoked", user=user.id, count=ended)
    return ended


# For the server and for endpoints -----------------------------------------------------------------------------------


@internal_query
async def standing(ctx: QueryCtx, session: str, user: str | None = None, kid: str | None = None) -> bool:
    """Whether tokens that were made for a session still count.

    Args:
        ctx: the context.
        session: the session.
        user: whose the tokens say that it is.
        kid: the key that they are signed with, which `rotate_keys` may have taken away.
    """
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    found = await _found(ctx, session)
    if found is None or not found.stands or user not in (None, found.user):
        return False
    if kid is not None and await ctx.db.query(SigningKey).with_index(SigningKey.by_kid, kid=kid).first() is None:
        return False
    return isinstance(await ctx.db.get(found.user), extension_of(ctx, Auth).user)


@internal_query
async def of_token(ctx: QueryCtx, token: str) -> dict[str, Any] | None:
    """The session with a token and its user, `{session, user}`; also one that is pending, or over.

    Whether it is over is for those to say who run after this: the answer is kept, and time passes.
    """
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    found = await ctx.db.query(Session).with_index(Session.by_token, token=token).unique()
    user = None if found is None else await ctx.db.get(found.user)
    if found is None or not isinstance(user, extension_of(ctx, Auth).user):
        return None
    return {"session": found, "user": user}


@internal_mutation
async def renew(ctx: MutationCtx, session: str) -> float | None:
    """Moves the end of a session that is in use; returns when it ends, or None if it has."""
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    found = await _found(ctx, session)
    if found is None or found.expires <= ctx.now:
        return None
    lifetimes = extension_of(ctx, Auth).lifetimes
    if found.stands and found.impersonator is UNSET and ctx.now - found.renewed >= milliseconds(lifetimes.renewal):
        expires = lifetimes.end(found.creation_time, ctx.now)
        await ctx.db.patch(found.id, expires=expires, renewed=ctx.now)
        return expires
    return found.expires


@internal_mutation
async def end(ctx: MutationCtx, token: str, address: str | None = None, agent: str | None = None) -> None:
    """Ends the session with a token: its device has signed out."""
    found = await ctx.db.query(Session).with_index(Session.by_token, token=token).unique()
    if found is not None:
        await ctx.db.delete(found.id)
        await audit.note(ctx, "sign-out", user=found.user, address=address, agent=agent)


@internal_mutation
async def sweep(ctx: MutationCtx) -> bool:
    """Deletes sessions that are over; returns whether there may be more."""
    over = await ctx.db.query(Session).with_index(Session.by_expiry).take(256)
    for each in over:
        if each.expires > ctx.now:
            return False
        await ctx.db.delete(each.id)
    return bool(over)


async def _found(ctx: QueryCtx, session: str) -> Session | None:
    """The session with an id that somebody has given us."""
    own = await ctx.db.normalize_id("auth_sessions", session)
    found = None if own is None else await ctx.db.get(own)
    return found if isinstance(found, Session) else None
