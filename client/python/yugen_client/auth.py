"""Where a client's token comes from."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias, cast

from yugen_client.tokens import AdminAuth, Token


class TokenFetcher(Protocol):
    """A function that gives a token, async or not; None means nobody.

    It may answer from a cache, unless `force_refresh` is set: then the server refused what it gave last, or that is
    about to end.
    """

    def __call__(self, *, force_refresh: bool) -> str | Awaitable[str | None] | None: ...


Auth: TypeAlias = str | AdminAuth | TokenFetcher | Callable[[], str | Awaitable[str | None] | None] | None
"""A token, an admin key, or a function that gives a token; None means nobody.

A function is called before the first connection, shortly before a token ends, and whenever the server refuses one. One
that raises is asked again after a while.
"""


async def fetch_token(auth: Auth, *, force_refresh: bool) -> Token:
    """The token that `auth` gives now; a cache that is empty is passed by."""
    if auth is None or isinstance(auth, str | AdminAuth):
        return auth
    fetch = cast("Callable[..., Any]", auth)
    if not _takes_force_refresh(fetch):
        return await _checked(fetch())
    token = await _checked(fetch(force_refresh=force_refresh))
    return token if token is not None or force_refresh else await _checked(fetch(force_refresh=True))


async def _checked(token: object) -> str | None:
    result = await token if inspect.isawaitable(token) else token
    if result is None or isinstance(result, str):
        return result
    raise TypeError(f"the auth function gave {type(result).__name__}; it gives a token, which is a str, or None")


def _takes_force_refresh(fetch: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(fetch).parameters.values()
    except (TypeError, ValueError):  # of some builtins
        return False
    return any(each.name == "force_refresh" or each.kind is each.VAR_KEYWORD for each in parameters)
