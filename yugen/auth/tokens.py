"""Short-lived tokens for sockets and the API, made for a session: JSON Web Tokens, and the keys that verify them.

The clients of Convex send such a token and ask for the next one before it ends. Its keys and its issuer are published
as those of any OpenID Connect provider (OpenID Connect Discovery 1.0), so that other services can take it too.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from yugen.auth import crypto
from yugen.auth.documents import Session, SigningKey
from yugen.auth.sessions import milliseconds, renew
from yugen.auth.users import User
from yugen.functions.context import ActionCtx, MutationCtx, QueryCtx
from yugen.functions.declare import internal_mutation, internal_query
from yugen.schema import UNSET

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from yugen.auth.requests import AuthRequest

ALGORITHM: Final = "RS256"
"""The one that every verifier knows (OpenID Connect Core 1.0, 15.1)."""

AUDIENCE: Final = "yugen"

KEY_BITS: Final = 2048
KEY_LIFETIME: Final = timedelta(days=90)
"""After how long a key signs no more."""

KEY_OVERLAP: Final = timedelta(days=1)
"""How long it is published after that."""

_PURPOSE: Final = "signing key"


async def token(request: AuthRequest) -> dict[str, Any]:
    """A token for who is signed in: `{token, expires}`, the end in milliseconds since the epoch."""
    user, session = await request.signed_in()
    ctx = request.ctx
    expires = await ctx.run_mutation(renew, session=session.id) if _is_due(request, session) else session.expires
    if expires is None:
        request.has_signed_out()
        return {"token": None}
    if expires != session.expires and request.token is not None:
        request.keep_signed_in(request.token, expires)
    end = min(ctx.now + milliseconds(request.auth.lifetimes.token), expires)
    return {"token": await mint(ctx, request.secret, user, session, end), "expires": end}


async def mint(ctx: ActionCtx, secret: str, user: User, session: Session, expires: float) -> str:
    """Makes a token.

    Args:
        ctx: the context of an action.
        secret: of the deployment.
        user: whose it is.
        session: what it stands for: it ends with it.
        expires: when it ends by itself, in milliseconds since the epoch.
    """
    kid, private = await _signing_key(ctx, secret)
    claims: dict[str, Any] = {
        "iss": ctx.env["CONVEX_SITE_URL"],
        "aud": AUDIENCE,
        "sub": user.id,
        "sid": session.id,
        "iat": int(ctx.now / 1000),
        "exp": int(expires / 1000),
        "jti": secrets.token_hex(8),
        "email_verified": user.email_verified,
    }
    told = {"name": user.name, "email": user.email, "picture": user.image}
    claims |= {claim: value for claim, value in told.items() if value is not UNSET}
    if session.impersonator is not UNSET:
        claims["act"] = {"sub": session.impersonator}  # RFC 8693, 4.1
    return await asyncio.to_thread(_signed, kid, private, json.dumps(claims))


def _is_due(request: AuthRequest, session: Session) -> bool:
    return request.ctx.now - session.renewed >= milliseconds(request.auth.lifetimes.renewal)


async def _signing_key(ctx: ActionCtx, secret: str) -> tuple[str, str]:
    """The name of the key that signs now, and the key as JSON text. It is made where there is none."""
    newest = await ctx.run_query(newest_key)
    if newest is not None and ctx.now - newest.creation_time < milliseconds(KEY_LIFETIME):
        opened = crypto.unseal(secret, _PURPOSE, newest.private)
        if opened is not None:  # else it is of data that came from another deployment, whose secret is not here
            return newest.kid, opened
    kid, public, private = await asyncio.to_thread(_new_key)
    sealed = crypto.seal(secret, _PURPOSE, private)
    instead = None if newest is None else newest.id
    found = await ctx.run_mutation(add_key, kid=kid, public=public, private=sealed, instead=instead)
    return found.kid, crypto.unseal(secret, _PURPOSE, found.private)


@internal_query
async def newest_key(ctx: QueryCtx) -> SigningKey | None:
    """The key that was made last."""
    return await ctx.db.query(SigningKey).order("desc").first()


@internal_query
async def key_set(ctx: QueryCtx) -> str:
    """The public keys of tokens that may still be good, as the JSON text of a key set."""
    keys = await ctx.db.query(SigningKey).order("desc").collect()
    return json.dumps({"keys": [json.loads(key.public) for key in keys]})


@internal_mutation
async def add_key(ctx: MutationCtx, kid: str, public: str, private: str, instead: str | None) -> SigningKey:
    """Adds a key to sign with; returns the one to use, which somebody else may have added meanwhile.

    Args:
        ctx: the context.
        kid: its name.
        public: its public part, a JSON Web Key as JSON text.
        private: the whole, sealed.
        instead: the newest key before.
    """
    keys = await ctx.db.query(SigningKey).order("desc").collect()
    if keys and keys[0].id != instead:
        return keys[0]
    for key in keys:
        if ctx.now - key.creation_time > milliseconds(KEY_LIFETIME + KEY_OVERLAP):
            await ctx.db.delete(key.id)
    added = await ctx.db.get(await ctx.db.insert(SigningKey(kid=kid, public=public, private=private)))
    assert added is not None
    return added


@internal_mutation
async def rotate_keys(ctx: MutationCtx) -> int:
    """Forgets all keys, so that tokens that were signed with them are good no more and the next one gets a new key.

    `yugen run auth/tokens:rotate_keys` does it, when a key may be in the wrong hands. Sockets that came with a token of
    one are nobody's at once, and nobody is signed out: clients ask for another token. Returns how many keys there were.
    """
    keys = await ctx.db.query(SigningKey).collect()
    for key in keys:
        await ctx.db.delete(key.id)
    return len(keys)


# What is published ------------------------------------------------------------------------------------------------


async def jwks(ctx: ActionCtx, http: Request) -> Response:
    """The public keys (RFC 7517, 5)."""
    return _published(await ctx.run_query(key_set))


async def discovery(ctx: ActionCtx, http: Request) -> Response:
    """What there is to know of the issuer (OpenID Connect Discovery 1.0, 3), as far as it is one."""
    issuer = ctx.env["CONVEX_SITE_URL"]
    document = {
        "issuer": issuer,
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "authorization_endpoint": f"{ctx.env['CONVEX_CLOUD_URL']}/auth/sign-in",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
    }
    return _published(json.dumps(document))


def _published(text: str) -> Response:
    from starlette.responses import Response  # noqa: PLC0415 -- of those who have routes

    headers = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}
    return Response(text, media_type="application/json", headers={**headers, "X-Content-Type-Options": "nosniff"})


def _new_key() -> tuple[str, str, str]:
    from joserfc.jwk import RSAKey  # noqa: PLC0415 -- for those who make one

    kid = secrets.token_hex(8)
    key = RSAKey.generate_key(KEY_BITS, {"kid": kid, "use": "sig", "alg": ALGORITHM}, private=True)
    return kid, json.dumps(key.as_dict(private=False)), json.dumps(key.as_dict(private=True))


def _signed(kid: str, private: str, claims: str) -> str:
    from joserfc import jws  # noqa: PLC0415 -- for those who sign

    return jws.serialize_compact({"alg": ALGORITHM, "kid": kid, "typ": "JWT"}, claims, _key(private))


@lru_cache(maxsize=4)
def _key(private: str) -> Any:
    from joserfc.jwk import RSAKey  # noqa: PLC0415 -- for those who sign

    return RSAKey.import_key(json.loads(private))
