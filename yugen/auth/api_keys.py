"""Keys for programs: made by those who are signed in, shown once, and good for what they were made for.

A key is `yk_` and 43 random characters, and after those a checksum of six, so that whoever scans what was published can
tell one from chance without asking anybody (as GitHub's tokens are since 2021). The database has its digest.
"""

from __future__ import annotations

import secrets
import string
import zlib
from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import TypedDict  # of pydantic, which takes that of typing from Python 3.12 on

from yugen.auth import audit, crypto, current, sessions
from yugen.auth.errors import AuthError
from yugen.auth.parts import Endpoint, Part
from yugen.auth.sessions import milliseconds
from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.declare import Query, internal_mutation, internal_query, mutation, query
from yugen.functions.extensions import extension_of
from yugen.functions.providers import KeyKind
from yugen.schema import UNSET, Document, Index

if TYPE_CHECKING:
    from yugen.auth.requests import AuthRequest
    from yugen.auth.users import User

PREFIX: Final = "yk_"
RANDOM_LENGTH: Final = 43
"""Of 62 letters and digits: 256 bits."""

CHECKSUM_LENGTH: Final = 6
SHOWN_LENGTH: Final = len(PREFIX) + 5
"""How much of a key a list shows, for people to tell theirs apart."""

KEYS_MAX: Final = 100
"""How many a user may have."""

SCOPES_MAX: Final = 100
NAME_LENGTH_MAX: Final = 100
NOTED_SECONDS: Final = 60
"""How exactly it is told when a key was last used."""

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase


def new_key() -> str:
    """A key that nobody can guess; not for queries and mutations, which must come out the same again."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(RANDOM_LENGTH))
    return body + checksum(body)


def checksum(body: str) -> str:
    """What a key ends with: the CRC-32 of all before it, in base 62."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def is_key(text: str) -> bool:
    """Whether a text is a key, of whatever deployment, and not something else that begins as one."""
    body, end = text[:-CHECKSUM_LENGTH], text[-CHECKSUM_LENGTH:]
    fits = len(text) == len(PREFIX) + RANDOM_LENGTH + CHECKSUM_LENGTH and text.startswith(PREFIX)
    return fits and set(text[len(PREFIX) :]) <= set(_ALPHABET) and checksum(body) == end


class ApiKey(Document, table="auth_api_keys"):
    """A key.

    Attributes:
        user: whose it is.
        digest: of the key.
        name: what they call it.
        start: how it begins.
        scopes: what it was made for.
        expires: when it ends by itself, in milliseconds since the epoch.
    """

    user: str
    digest: str
    name: str
    start: str
    scopes: list[str]
    expires: float | UNSET = UNSET

    by_digest = Index("digest", unique=True)
    by_user = Index("user")


class ApiKeyUse(Document, table="auth_api_key_uses"):
    """When a key was last shown. It has a table of its own: nothing that depends on the key is to run again for it.

    Attributes:
        key: which.
        at: when, in milliseconds since the epoch.
    """

    key: str
    at: float

    by_key = Index("key", unique=True)


class ApiKeys(Part):
    """Lets users make keys with which programs act for them.

    Args:
        scopes: what keys may be made for, by names of the app's own: `("tasks:read", "tasks:write")`. A function of the
            app asks for one with `auth.require_scope`.
        may: a query of the app with the arguments `user`, an id, and `scope`, which tells whether this user may do what
            that names; without one, anybody may make a key for any of the scopes.
        lifetime_max: how long a key is good at most; None for ever.

    Raises:
        ValueError: a scope is no name.
    """

    name = "api-keys"
    keys = (KeyKind(PREFIX, "auth/api_keys:standing", "auth/api_keys:used"),)

    def __init__(
        self,
        *,
        scopes: Collection[str] = (),
        may: Query[..., bool] | str | None = None,
        lifetime_max: timedelta | None = None,
    ) -> None:
        if isinstance(scopes, str) or not all(map(_is_name, scopes)):
            raise ValueError('ApiKeys: scopes are names: `scopes=["tasks:read", "tasks:write"]`.')
        self.scopes = tuple(dict.fromkeys(scopes))
        self.may = may
        self.lifetime_max = lifetime_max

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (Endpoint("POST", "/api-keys", create),)

    def describe(self) -> dict[str, Any]:
        lifetime = None if self.lifetime_max is None else milliseconds(self.lifetime_max)
        return {"scopes": list(self.scopes), "lifetimeMax": lifetime}

    async def forget(self, ctx: MutationCtx, user: User) -> None:
        for key in await ctx.db.query(ApiKey).with_index(ApiKey.by_user, user=user.id).collect():
            await _delete(ctx, key)


async def create(request: AuthRequest) -> dict[str, Any]:
    """Makes a key for who is signed in: `{id, key, start, expires}`. It is shown here and never again.

    Fields: `name`; `scopes`, a list, or in a form text with spaces between them; `expiresIn`, milliseconds.
    """
    user, session = await request.signed_in(freshly=True)
    key = new_key()
    scopes = request.fields.get("scopes", [])
    if isinstance(scopes, str):
        scopes = scopes.split()
    if not isinstance(scopes, list) or len(scopes) > SCOPES_MAX or not all(isinstance(each, str) for each in scopes):
        raise AuthError("InvalidField", 'The field `scopes` is a list of names: ["tasks:read"].', field="scopes")
    made: NewKey = {
        "digest": crypto.digest(key),
        "name": _checked_name(request.text("name")),
        "start": key[:SHOWN_LENGTH],
        "scopes": list(dict.fromkeys(scopes)),
        "lifetime": _lifetime(request),
    }
    # The session says whose it is; nothing that the request says does (CVE-2025-61928).
    added = await request.ctx.run_mutation(
        add, user=user.id, session=session.id, key=made, address=request.address, agent=request.agent
    )
    return {"id": added["id"], "key": key, "start": made["start"], "expires": added["expires"]}


def _is_name(scope: object) -> bool:
    return isinstance(scope, str) and bool(scope) and scope == "".join(scope.split())


def _lifetime(request: AuthRequest) -> float | None:
    value = request.fields.get("expiresIn")
    if value is None or value == "":
        return None
    try:
        lifetime = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        lifetime = 0.0
    if not 0 < lifetime < 2**53:
        raise AuthError("InvalidField", "The field `expiresIn` is a number of milliseconds.", field="expiresIn")
    return lifetime


def _checked_name(text: str) -> str:
    name = " ".join(text.split())
    if not name or len(name) > NAME_LENGTH_MAX or not name.isprintable():
        raise AuthError("InvalidName", f"The name of a key has 1 to {NAME_LENGTH_MAX} letters.", field="name")
    return name


class NewKey(TypedDict):
    """A key that is to be.

    Attributes:
        digest, name, start, scopes: as of `ApiKey`.
        lifetime: how long it is to be good, in milliseconds; None for as long as may be.
    """

    digest: str
    name: str
    start: str
    scopes: list[str]
    lifetime: float | None


class AddedKey(TypedDict):
    """A key that is there.

    Attributes:
        id: its id.
        expires: when it ends by itself, in milliseconds since the epoch.
    """

    id: str
    expires: float | None


@internal_mutation
async def add(
    ctx: MutationCtx, user: str, session: str, key: NewKey, address: str | None, agent: str | None
) -> AddedKey:
    """Adds a key of a user, who is still signed in.

    Raises:
        AuthError: they are not, or may not have such a key.
    """
    part = _part(ctx)
    if (await sessions.require(ctx, session)).user != user:
        raise AuthError("NotSignedIn", "Sign in first.", 401)
    for scope in key["scopes"]:
        allowed = scope in part.scopes
        if allowed and part.may is not None:
            allowed = await ctx.run_query(part.may, user=user, scope=scope) is True
        if not allowed:
            raise AuthError("ScopeMissing", f"You cannot make a key for {scope[:100]!r}.", 403, scope=scope[:100])
    if len(await ctx.db.query(ApiKey).with_index(ApiKey.by_user, user=user).take(KEYS_MAX)) == KEYS_MAX:
        raise AuthError("TooManyKeys", f"You have {KEYS_MAX} keys, and there may be no more; revoke one first.", 409)
    most = None if part.lifetime_max is None else milliseconds(part.lifetime_max)
    lifetimes = [each for each in (key["lifetime"], most) if each is not None]
    expires = ctx.now + min(lifetimes) if lifetimes else None
    made = await ctx.db.insert(
        ApiKey(
            user=user,
            digest=key["digest"],
            name=key["name"],
            start=key["start"],
            scopes=key["scopes"],
            expires=UNSET if expires is None else expires,
        )
    )
    await audit.note(ctx, "api-key-made", user=user, address=address, agent=agent, key=made, name=key["name"])
    return AddedKey(id=made, expires=expires)


# For clients --------------------------------------------------------------------------------------------------------


@query(name="list")
async def list_keys(ctx: QueryCtx) -> list[dict[str, Any]]:
    """The keys of who calls, the newest first: `{id, name, start, scopes, created, expires, lastUsed}`."""
    user, _ = await current.signed_in(ctx)
    found = await ctx.db.query(ApiKey).with_index(ApiKey.by_user, user=user.id).order("desc").collect()
    shown = []
    for key in found:
        use = await ctx.db.query(ApiKeyUse).with_index(ApiKeyUse.by_key, key=key.id).unique()
        shown.append(
            {
                "id": key.id,
                "name": key.name,
                "start": key.start,
                "scopes": key.scopes,
                "created": key.creation_time,
                "expires": None if key.expires is UNSET else key.expires,
                "lastUsed": None if use is None else use.at,
            }
        )
    return shown


@mutation
async def rename(ctx: MutationCtx, key: str, name: str) -> None:
    """Gives one of the caller's own keys another name."""
    found = await _own(ctx, key)
    await ctx.db.patch(found.id, name=_checked_name(name))


@mutation
async def revoke(ctx: MutationCtx, key: str) -> None:
    """Ends one of the caller's own keys, and at once what is connected with it."""
    found = await _own(ctx, key)
    await _delete(ctx, found)
    await audit.note(ctx, "api-key-revoked", user=found.user, key=found.id, name=found.name)


# For the server -----------------------------------------------------------------------------------------------------


@internal_query
async def standing(ctx: QueryCtx, hash: str) -> dict[str, Any] | None:
    """Whose key has a digest, as `KeyKind` says; None if there is none, or they may never sign in."""
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    found = await ctx.db.query(ApiKey).with_index(ApiKey.by_digest, digest=hash).unique()
    user = None if found is None else await ctx.db.get(found.user)
    if found is None or not isinstance(user, extension_of(ctx, Auth).user) or user.banned is None:
        return None
    return {
        "subject": user.id,
        "claims": {"key": found.id, "scopes": found.scopes},
        "since": None if user.banned is UNSET else user.banned,
        "expires": None if found.expires is UNSET else found.expires,
    }


@internal_mutation
async def used(ctx: MutationCtx, hash: str) -> None:
    """Writes down that a key is in use, unless that was done a moment ago, maybe by another process."""
    key = await ctx.db.query(ApiKey).with_index(ApiKey.by_digest, digest=hash).unique()
    if key is None:
        return
    use = await ctx.db.query(ApiKeyUse).with_index(ApiKeyUse.by_key, key=key.id).unique()
    if use is None:
        await ctx.db.insert(ApiKeyUse(key=key.id, at=ctx.now))
    elif ctx.now - use.at >= NOTED_SECONDS * 1000:
        await ctx.db.patch(use.id, at=ctx.now)


def _part(ctx: QueryCtx) -> ApiKeys:
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    part = extension_of(ctx, Auth).part(ApiKeys.name)
    assert isinstance(part, ApiKeys)
    return part


async def _own(ctx: MutationCtx, key: str) -> ApiKey:
    """A key of who calls, by an id that they give.

    Raises:
        AuthError: nobody is signed in, or they have no such key.
    """
    user, _ = await current.signed_in(ctx)
    own = await ctx.db.normalize_id("auth_api_keys", key)
    found = None if own is None else await ctx.db.get(own)
    if not isinstance(found, ApiKey) or found.user != user.id:
        raise AuthError("NoSuchKey", "There is no such key of yours; it may have been revoked already.", 404)
    return found


async def _delete(ctx: MutationCtx, key: ApiKey) -> None:
    use = await ctx.db.query(ApiKeyUse).with_index(ApiKeyUse.by_key, key=key.id).unique()
    if use is not None:
        await ctx.db.delete(use.id)
    await ctx.db.delete(key.id)
