"""Accounts at other providers, in the database: whose they are here, and who comes back from where they were sent.

These are the functions of the part `OAuth`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import TypedDict  # of pydantic, which takes that of typing from Python 3.12 on

from yugen.auth import audit, sessions, users, verifications
from yugen.auth.documents import Account, Session, Verification
from yugen.auth.errors import AuthError, not_signed_in
from yugen.auth.sessions import Device, SignedIn
from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.declare import internal_mutation, internal_query
from yugen.functions.extensions import extension_of
from yugen.functions.rate_limits import RateLimit
from yugen.networks import address_key
from yugen.schema import UNSET

if TYPE_CHECKING:
    from yugen.auth.component import Auth
    from yugen.auth.oauth import OAuth
    from yugen.auth.users import User

AWAY: Final = timedelta(minutes=10)
"""How long somebody may take at the provider."""

JOURNEYS: Final = RateLimit("auth: journeys to providers", rate=60, per=timedelta(minutes=1))
"""How often people at one address may start: anybody may, and a row is written each time."""

TURN: Final = timedelta(seconds=30)
"""How long somebody may take to renew a token, while others wait."""


class Person(TypedDict):
    """What a provider says of somebody, as far as it can be used.

    Attributes:
        subject: what it calls them, for ever and nobody else.
        email: their address, as addresses are stored.
        owned: whether the address is theirs: the provider says so, and the app trusts it in that.
        name: a name that can be shown.
        image: an address that a page can show.
    """

    subject: str
    email: str | None
    owned: bool
    name: str | None
    image: str | None


class Held(TypedDict):
    """What is kept of somebody's account at a provider.

    Attributes:
        account: the id of the account.
        subject: what the provider calls them.
        sealed: its tokens.
    """

    account: str
    subject: str
    sealed: str


@internal_mutation
async def leave(ctx: MutationCtx, provider: str, state: str, journey: str, address: str | None) -> None:
    """Notes that somebody is away at a provider.

    Args:
        ctx: the context.
        provider: its name.
        state: the digest of what they bring back.
        journey: what is to be known again then, sealed.
        address: from where they come.
    """
    allowance = await JOURNEYS.try_take(ctx, address_key(address or ""))
    if not allowance:
        message = "Somebody at this address starts too often; try again in a minute."
        raise AuthError("RateLimited", message, 429, retryAfter=allowance.retry_after)
    await verifications.issue(ctx, f"oauth {provider}", state, state, AWAY, journey)


@internal_mutation
async def come_back(ctx: MutationCtx, provider: str, state: str) -> str | None:
    """What `leave` has noted, once; None if there is nothing, or it is too long ago."""
    found = await verifications.use(ctx, f"oauth {provider}", state)
    return None if found is None else verifications.data_of(found)


@internal_mutation
async def sign_in(ctx: MutationCtx, provider: str, person: Person, tokens: str | None, device: Device) -> SignedIn:
    """Signs in whoever a provider says has come, into the account that is theirs."""
    auth, part = _found(ctx, provider)
    seen = {"address": device["address"], "agent": device["agent"]}
    account = await _account(ctx, provider, person["subject"])
    user = None if account is None else await ctx.db.get(account.user)
    if account is None or not isinstance(user, auth.user):
        upgrades = await users.anonymous_of(ctx, auth, device["replaces"])
        user = await _user_of(ctx, auth, part, person, upgrades, seen)
        await _add(ctx, user, provider, person, tokens)
    elif tokens is not None:
        await ctx.db.patch(account.id, secret=tokens, changed=ctx.now)
    return await sessions.begin(ctx, auth, user, device, provider)


@internal_mutation
async def link(
    ctx: MutationCtx,
    user: str,
    session: str,
    provider: str,
    person: Person,
    tokens: str | None,
    address: str | None,
    agent: str | None,
) -> None:
    """Adds an account at a provider to the ways by which somebody signs in who is signed in."""
    auth, part = _found(ctx, provider)
    own = await _signed_in(ctx, auth, user, session)
    account = await _account(ctx, provider, person["subject"])
    if account is not None and account.user != own.id:
        raise AuthError(
            "AccountTaken", f"That account at {part.title} belongs to somebody else here; sign in with it instead.", 409
        )
    if account is not None:
        await ctx.db.patch(account.id, secret=UNSET if tokens is None else tokens, changed=ctx.now)
        return
    if await _accounts(ctx, own.id, provider):
        raise AuthError("AlreadyLinked", f"You have another account at {part.title} here; remove that first.", 409)
    await _add(ctx, own, provider, person, tokens)
    if own.anonymous:
        await ctx.db.patch(own.id, anonymous=False)
        await auth.tell(ctx, auth.on_change, user=own.id)
    await audit.note(ctx, "account-linked", user=own.id, address=address, agent=agent, provider=provider)


@internal_mutation
async def unlink(
    ctx: MutationCtx, user: str, session: str, provider: str, address: str | None, agent: str | None
) -> None:
    """Takes an account at a provider from the ways by which somebody signs in."""
    auth, part = _found(ctx, provider)
    own = await _signed_in(ctx, auth, user, session)
    accounts = await _accounts(ctx, own.id, provider)
    if not accounts:
        raise AuthError("NotLinked", f"You do not sign in with {part.title} here.", 404)
    if await users.ways(ctx, auth, own) <= len(accounts):
        raise AuthError("LastWay", "That is your only way to sign in; add another one first.", 409)
    for account in accounts:
        await ctx.db.delete(account.id)
    await audit.note(ctx, "account-unlinked", user=own.id, address=address, agent=agent, provider=provider)


@internal_query
async def kept_tokens(ctx: QueryCtx, user: str, provider: str) -> Held | None:
    """What is kept of a user's account at a provider; None for nothing."""
    for account in await _accounts(ctx, user, provider):
        if account.secret is not UNSET:
            return Held(account=account.id, subject=account.subject, sealed=account.secret)
    return None


@internal_mutation
async def take_turn(ctx: MutationCtx, account: str, turn: str, sealed: str) -> bool:
    """Whether the caller may renew the tokens of an account, which are these still: one at a time may.

    Args:
        ctx: the context.
        account: the id of the account.
        turn: a text that nobody else has, to end the turn with.
        sealed: the tokens as they were read.
    """
    found = await ctx.db.get(account)
    if not isinstance(found, Account) or found.secret != sealed:
        return False
    under_way = ctx.db.query(Verification).with_index(Verification.by_subject, purpose="oauth turn", subject=account)
    if any(each.expires > ctx.now for each in await under_way.collect()):
        return False
    await verifications.issue(ctx, "oauth turn", account, turn, TURN)
    return True


@internal_mutation
async def end_turn(ctx: MutationCtx, account: str, turn: str, before: str, after: str | None, is_good: bool) -> None:
    """Keeps renewed tokens, and lets others have their turn.

    Args:
        ctx: the context.
        account: the id of the account.
        turn: as it was taken.
        before: the tokens as they were.
        after: those that came instead, if any did.
        is_good: whether the old ones may still be renewed, if none did.
    """
    await verifications.use(ctx, "oauth turn", turn)
    found = await ctx.db.get(account)
    if isinstance(found, Account) and found.secret == before and (after is not None or not is_good):
        await ctx.db.patch(found.id, secret=UNSET if after is None else after, changed=ctx.now)


def _found(ctx: QueryCtx, provider: str) -> tuple[Auth, OAuth]:
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module
    from yugen.auth.oauth import OAuth  # noqa: PLC0415 -- as above

    auth = extension_of(ctx, Auth)
    part = auth.part(provider)
    assert isinstance(part, OAuth)
    return auth, part


async def _account(ctx: QueryCtx, provider: str, subject: str) -> Account | None:
    found = ctx.db.query(Account).with_index(Account.by_subject, provider=provider, subject=subject)
    return await found.unique()


async def _accounts(ctx: QueryCtx, user: str, provider: str) -> list[Account]:
    return await ctx.db.query(Account).with_index(Account.by_user, user=user, provider=provider).collect()


async def _add(ctx: MutationCtx, user: User, provider: str, person: Person, tokens: str | None) -> None:
    left = await _account(ctx, provider, person["subject"])
    if left is not None:
        await ctx.db.delete(left.id)  # of a user whom the app has deleted by itself
    secret = UNSET if tokens is None else tokens
    await ctx.db.insert(
        Account(user=user.id, provider=provider, subject=person["subject"], secret=secret, changed=ctx.now)
    )


async def _user_of(
    ctx: MutationCtx, auth: Auth, part: OAuth, person: Person, upgrades: User | None, seen: dict[str, Any]
) -> User:
    """The user whom somebody is who comes by an account that nobody here has yet.

    Only an address leads to somebody who is there already, and only one that is known to be theirs on both sides.
    Another is not even written down: it would keep its owner from signing up, or wait for them (account pre-hijacking).
    """
    email, owned = person["email"], person["owned"]
    known = None if email is None else await users.by_email(ctx, auth, email)
    if known is not None and known.email_verified:
        if not owned or await _accounts(ctx, known.id, part.name):
            # An address may have gone from one to another at the provider, who calls them otherwise then.
            raise AuthError(
                "AccountExists",
                f"There is an account with this address. Sign in to it as you did before, then add {part.title} to it.",
                409,
            )
        await audit.note(ctx, "account-linked", user=known.id, provider=part.name, **seen)
        return known
    if known is not None and owned:
        claimed = await users.claim_email(ctx, auth, known, **seen)
        given = {name: value for name in ("name", "image") if (value := person[name]) is not None}
        await ctx.db.patch(claimed.id, **given)
        return claimed
    if not part.sign_up:
        raise AuthError("NoSuchAccount", f"There is no account here for this one at {part.title}; sign up first.", 403)
    return await users.create(
        ctx,
        auth,
        email=email if owned else None,
        verified=owned,
        name=person["name"],
        image=person["image"],
        upgrades=upgrades,
        method=part.name,
        **seen,
    )


async def _signed_in(ctx: QueryCtx, auth: Auth, user: str, session: str) -> User:
    """A user whose session has stood when the request came, if it does now.

    Raises:
        AuthError: it does not.
    """
    found, own = await ctx.db.get(session), await ctx.db.get(user)
    if not isinstance(found, Session) or not found.stands or found.expires <= ctx.now or found.user != user:
        raise not_signed_in()
    if not isinstance(own, auth.user) or found.impersonator is not UNSET:
        raise not_signed_in()  # an administrator who looks at things as a user leaves no way in behind
    return own
