"""Where a client's token comes from."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Auth: TypeAlias = str | Callable[[], str | Awaitable[str | None] | None] | None
"""A token, or a function that gives one, async or not; None means nobody.

A function is called before the first connection, and again whenever the server refuses what it gave.
"""


async def fetch_token(auth: Auth) -> str | None:
    """The token that `auth` gives now."""
    if auth is None or isinstance(auth, str):
        return auth
    token = auth()
    return await token if inspect.isawaitable(token) else token
