"""Tokens of other providers, which are kept for actions of the app: sealed, and renewed by one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from yugen.auth import crypto
from yugen.auth.errors import AuthError
from yugen.auth.provider_accounts import TURN, Held, end_turn, kept_tokens, take_turn
from yugen.functions.context import ActionCtx

if TYPE_CHECKING:
    from yugen.auth.oauth import OAuth

RENEWAL_SECONDS: Final = 60
"""How long before its end a token is renewed."""

WAIT_SECONDS: Final = 0.1
"""How long to wait until it is looked whether somebody else has renewed it."""

SECONDS_MAX: Final = 10 * 365 * 24 * 3600
"""After what time a token is renewed at the latest, whatever the provider says of it."""

_PURPOSE: Final = "provider tokens"


def sealed_tokens(part: OAuth, secret: str, now: float, subject: str, tokens: Mapping[str, Any]) -> str:
    """What a provider has given, as it is kept.

    Args:
        part: the provider.
        secret: of the deployment.
        now: what time it is, in milliseconds since the epoch.
        subject: what the provider calls the user.
        tokens: what it has given.
    """
    kept = {
        "access": tokens["access_token"],
        "refresh": tokens.get("refresh_token"),
        "expires": _end(now, tokens.get("expires_in")),
    }
    # Whoever could move it to another row could be somebody else there.
    return crypto.seal(secret, _PURPOSE, {"of": [part.name, subject], **kept})


def _opened(part: OAuth, secret: str, subject: str, sealed: str | None) -> dict[str, Any]:
    opened = None if sealed is None else crypto.unseal(secret, _PURPOSE, sealed)
    if opened is None or opened["of"] != [part.name, subject] or not isinstance(opened["access"], str):
        raise _gone(part)
    return dict(opened)


def _gone(part: OAuth) -> AuthError:
    return AuthError(
        "NoProviderToken", f"There is no access to {part.title} any more; sign in with {part.title} again.", 403
    )


def _end(now: float, seconds: object) -> float | None:
    """When a token ends; None for one of which it is not said, as of those that do not end."""
    try:
        return now + 1000 * min(float(str(seconds)), SECONDS_MAX)
    except ValueError:
        return None


async def token_for(part: OAuth, ctx: ActionCtx, user: str) -> str:
    """An access token of the provider for a user, which is good for a while; see `Auth.provider_token`.

    Raises:
        AuthError: there is none, or it cannot be renewed.
        ValueError: none are kept.
    """
    if not part.keep_tokens:
        raise ValueError(f"provider_token: no tokens are kept of {part.name}; write `keep_tokens=True` in auth.py.")
    secret, turn = ctx.env[crypto.SECRET_VARIABLE], crypto.new_token()
    waited = 0.0
    while True:
        held = await ctx.run_query(kept_tokens, user=user, provider=part.name)
        if held is None:
            raise _gone(part)
        token = _opened(part, secret, held["subject"], held["sealed"])
        if token["expires"] is None or token["expires"] - ctx.now > 1000 * RENEWAL_SECONDS:
            return str(token["access"])
        if not isinstance(token["refresh"], str):
            raise _gone(part)
        # A token to renew by may be good once: of two who renew at the same time, the provider ends both.
        if await ctx.run_mutation(take_turn, account=held["account"], turn=turn, sealed=held["sealed"]):
            return await _renew(part, ctx, held, token, turn)
        if waited > TURN.total_seconds():
            raise AuthError("ProviderUnavailable", f"{part.title} cannot be reached; try again in a moment.", 502)
        await asyncio.sleep(WAIT_SECONDS)
        waited += WAIT_SECONDS


async def _renew(part: OAuth, ctx: ActionCtx, held: Held, token: Mapping[str, Any], turn: str) -> str:
    """Has the provider give another token instead of one that ends, and keeps it."""
    from authlib.integrations.base_client import OAuthError  # noqa: PLC0415 -- takes 200 ms

    from yugen.auth.oauth import asking, read_tokens  # noqa: PLC0415 -- which takes in this module
    from yugen.fetch import failing  # noqa: PLC0415 -- as above

    sealed, is_good = None, True
    try:
        async with asking(part):
            endpoints = await part.find_endpoints()
            async with failing(endpoints.token), part.client(ctx, endpoints) as client:
                try:
                    given = await client.refresh_token(endpoints.token, refresh_token=token["refresh"])
                except OAuthError as error:
                    is_good = error.error != "invalid_grant"
                    raise
            tokens = {"refresh_token": token["refresh"], **read_tokens(given)}
            sealed = sealed_tokens(part, ctx.env[crypto.SECRET_VARIABLE], ctx.now, held["subject"], tokens)
    except AuthError:
        if is_good:
            raise
        raise _gone(part) from None
    finally:
        await ctx.run_mutation(
            end_turn,
            account=held["account"],
            turn=turn,
            before=held["sealed"],
            after=sealed,
            is_good=is_good,
        )
    return str(tokens["access_token"])
