"""What `Auth` is put together from: parts that each add endpoints, functions and tables of their own."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from yugen.auth.documents import Account
from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.providers import KeyKind

if TYPE_CHECKING:
    from starlette.responses import Response

    from yugen.auth.component import Auth
    from yugen.auth.requests import AuthRequest
    from yugen.auth.users import User


class Endpoint(NamedTuple):
    """Something that is asked for over HTTP, below `/auth`.

    Attributes:
        method: `GET`, or `POST` for what changes anything.
        path: below `/auth`: `/sign-in/password`.
        handler: answers. What it gives is sent as JSON; a response of its own goes as it is.
        cross_site: whether pages of anybody may send it; such a handler goes by no cookie.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Callable[[AuthRequest], Awaitable[Mapping[str, Any] | Response | None]]
    cross_site: bool = False


class Part:
    """A way to sign in, or something else that an app may want and another not.

    The functions and the classes of tables in the module of a part become those of the app: `yugen/auth/passwords.py`
    has `auth/passwords:...`.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    """The packages that it imports when it is used, which come with `yugen[auth]`."""

    name: str
    """What clients call it."""

    is_way: ClassVar[bool] = True
    """Whether clients are told of it, as a way to sign in or something else that they show."""

    keys: ClassVar[tuple[KeyKind, ...]] = ()
    """What callers may show instead of a token."""

    auth: Auth
    """What it is a part of; there once that has been made."""

    def endpoints(self) -> tuple[Endpoint, ...]:
        """What it answers over HTTP."""
        return ()

    def describe(self) -> Mapping[str, Any]:
        """What clients and pages need to know of it, beside that it is there."""
        return {}

    def check(self) -> None:
        """Refuses to go with other parts that are there or missing.

        Raises:
            ValueError: it does not go together; the text says what to write instead.
        """

    async def second_factor(self, ctx: MutationCtx, user: User, device: str | None) -> bool:
        """Whether this user has to show something more before a session counts.

        Args:
            ctx: a context in the transaction that signs in.
            user: who signs in.
            device: the digest of what tells a device that is trusted, if it sends one.
        """
        return False

    async def signed_in(self, ctx: MutationCtx, user: User, before: str) -> None:
        """Hears that somebody has signed in who was signed in as somebody else, in the transaction that does it.

        Args:
            ctx: a context in that transaction.
            user: who they are now.
            before: the id of who they were.
        """

    async def ways(self, ctx: QueryCtx, user: User) -> int:
        """By how many ways of this part a user can sign in: as many as they have accounts of its name.

        Nobody loses the last one that they have; see `users.ways`.
        """
        accounts = ctx.db.query(Account).with_index(Account.by_user, user=user.id, provider=self.name)
        return len(await accounts.collect())

    async def forget(self, ctx: MutationCtx, user: User) -> None:
        """Deletes what it stores of a user, in the transaction that deletes them."""

    @property
    def module(self) -> Any:
        """The module of its class."""
        return sys.modules[type(self).__module__]
