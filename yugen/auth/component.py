"""`Auth`: what an app has in its `auth.py` so that people can sign in to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from yugen.auth import acting, audit, crypto, current, dispatch, documents, mail, sessions, tokens, users, verifications
from yugen.auth.account import OwnAccount
from yugen.auth.core import Core, sweep
from yugen.auth.errors import AuthError, not_signed_in
from yugen.auth.letters import Letters, check_link
from yugen.auth.pages import Pages
from yugen.auth.parts import Endpoint, Part
from yugen.functions.context import ActionCtx, MutationCtx
from yugen.functions.crons import Crons
from yugen.functions.declare import Mutation
from yugen.functions.extensions import Extension, documents_in, functions_in
from yugen.functions.http import HttpRouter
from yugen.functions.providers import OwnProvider
from yugen.origins import Origins
from yugen.schema import UNSET

if TYPE_CHECKING:
    from yugen.functions.context import QueryCtx

_CORE: Final[tuple[ModuleType, ...]] = (acting, audit, documents, mail, sessions, tokens, users, verifications)
"""The modules that every app with sign-in has."""

Event = Mutation[..., Any] | str | None


class Users(users.User, table="users"):
    """The users of an app that has no class of its own for them."""


@dataclass(kw_only=True, init=False)
class Auth(Extension):
    """Sign-in of an app's own: `auth = Auth(EmailPassword(), Google(...))` in `auth.py`.

    Args:
        parts: the ways to sign in, and what else there is to be.
        user: the app's own class of users, a subclass of `yugen.auth.User` with a table.
        name: what the app is called, in mail and on pages; the host of its address, without one.
        sender: sends mail; prints it in development and refuses in production, if none is given.
        letters: what the mail says, if it is to say it in other words.
        email_link: the address of the app's own page where one confirms another address, with `{token}` in it; the page
            posts that to `/auth/confirm-email`.
        lifetimes: how long sessions last.
        origins: other origins whose pages may sign people in: `https://app.example.com`.
        pages: the ready-made pages below `/auth/`, `Pages(...)` to have them look otherwise, or None for none.
        on_sign_up: a mutation of the app with an argument `user`, an id; it runs in the transaction that makes a user.
        on_sign_in: one that runs in that which signs somebody in.
        on_change: one that runs in that which changes the name or the address of somebody.
        on_delete: one that runs in that which deletes a user, before they are.

    Raises:
        ValueError: the parts do not go together.
        BadOrigin: one of `origins` is none.
    """

    def __init__(
        self,
        *parts: Part,
        user: type[users.User] = Users,
        name: str | None = None,
        sender: mail.Sender | None = None,
        letters: Letters | None = None,
        email_link: str | None = None,
        lifetimes: sessions.Lifetimes | None = None,
        origins: Sequence[str] = (),
        pages: Pages | UNSET | None = UNSET,
        on_sign_up: Event = None,
        on_sign_in: Event = None,
        on_change: Event = None,
        on_delete: Event = None,
    ) -> None:
        if not user.__table__:
            raise ValueError('Auth: the class of users has a table: `class User(yugen.auth.User, table="users")`.')
        self.user = user
        check_link("Auth", "email_link", email_link)
        self.name = name
        self.sender = sender
        self.letters = letters or Letters()
        self.email_link = email_link
        self.lifetimes = lifetimes or sessions.Lifetimes()
        self.origins = tuple(origins)
        Origins(self.origins)  # which says what is none
        self.pages = Pages() if pages is UNSET else pages
        self.on_sign_up = on_sign_up
        self.on_sign_in = on_sign_in
        self.on_change = on_change
        self.on_delete = on_delete
        self.parts: tuple[Part, ...] = (Core(), OwnAccount(), *parts, *(() if self.pages is None else (self.pages,)))
        names = [part.name for part in self.parts]
        for each in names:
            if names.count(each) > 1:
                raise ValueError(f"Auth: {each} is there twice; an app has one.")
        for part in self.parts:
            part.auth = self
        for part in self.parts:
            if any(find_spec(package) is None for package in part.needs):
                raise ValueError(f"{type(part).__name__} needs packages that are not here: pip install 'yugen[auth]'.")
            part.check()
        self._endpoints: dict[tuple[str, str], Endpoint] = {}
        for part in self.parts:
            for endpoint in part.endpoints():
                self._endpoints[endpoint.method, endpoint.path] = endpoint
        modules = list(dict.fromkeys([*_CORE, *(part.module for part in self.parts)]))
        super().__init__(
            functions={
                f"auth/{module.__name__.rpartition('.')[2]}:{function.name}": function
                for module in modules
                for function in functions_in(module)
            },
            documents=(*(each for module in modules for each in documents_in(module)), user),
            http=_routes(),
            providers=(
                OwnProvider(
                    audience=tokens.AUDIENCE,
                    key_set="auth/tokens:key_set",
                    standing="auth/sessions:standing",
                    keys=tuple(key for part in self.parts for key in part.keys),
                ),
            ),
            secrets=(crypto.SECRET_VARIABLE,),
            crons=_crons(),
        )

    def part(self, name: str) -> Part | None:
        """The part of a name, if there is one."""
        return next((part for part in self.parts if part.name == name), None)

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """What answers a request."""
        return self._endpoints.get(("GET" if method == "HEAD" else method, path))

    @property
    def second_factors(self) -> list[str]:
        """The names of the parts by which somebody can show more than one thing."""
        return [part.name for part in self.parts if type(part).second_factor is not Part.second_factor]

    async def tell(self, ctx: MutationCtx, event: Event, **what: Any) -> None:
        """Runs the app's own function for something that has happened, in the same transaction."""
        if event is not None:
            await ctx.run_mutation(event, **what)

    async def get_user(self, ctx: QueryCtx) -> Any:
        """The user who calls, of the app's own class; None for nobody. Of an action, ask in a query of its own."""
        return await current.user(ctx)

    async def require_user(self, ctx: QueryCtx) -> Any:
        """As `get_user`.

        Raises:
            AuthError: nobody is signed in.
        """
        found = await current.user(ctx)
        if found is None:
            raise not_signed_in()
        return found

    async def allows_scope(self, ctx: QueryCtx, scope: str) -> bool:
        """Whether who calls may do what a scope names, as far as a key limits it.

        Those who are signed in are not limited by scopes, those who show a key by what it was made for. Nobody may.
        """
        if await current.user(ctx) is None:
            return False
        scopes = await current.scopes(ctx)
        return scopes is None or scope in scopes

    async def require_scope(self, ctx: QueryCtx, scope: str) -> Any:
        """As `require_user`, for what a key may do only if it was made for it.

        Raises:
            AuthError: nobody calls, or a key that was not made for this.
        """
        found = await self.require_user(ctx)
        if not await self.allows_scope(ctx, scope):
            raise AuthError("ScopeMissing", f"This key was not made for {scope}.", 403, scope=scope)
        return found

    async def require_fresh(self, ctx: QueryCtx) -> Any:
        """As `require_user`, for what only somebody may do who has shown a short while ago who they are.

        Raises:
            AuthError: nobody is signed in, or it is too long ago.
        """
        return (await current.freshly_signed_in(ctx))[0]

    async def provider_token(self, ctx: ActionCtx, user: users.User | str, provider: str) -> str:
        """An access token of a provider at which a user signs in, for an action that asks the provider something.

        It is good for a minute at least; one that ends is renewed, once even if several ask at the same time.

        Args:
            ctx: the context of an action.
            user: the user, or their id.
            provider: the name of a part that was made with `keep_tokens=True`.

        Raises:
            AuthError: the user has none there, or has to sign in there again.
            ValueError: there is no such part, or it keeps none.
        """
        from yugen.auth import provider_tokens  # noqa: PLC0415 -- of apps that have providers
        from yugen.auth.oauth import OAuth  # noqa: PLC0415 -- as above

        part = self.part(provider)
        if not isinstance(part, OAuth):
            raise ValueError(f"provider_token: there is no provider {provider!r} in auth.py.")
        return await provider_tokens.token_for(part, ctx, user if isinstance(user, str) else user.id)


def _routes() -> Mapping[Any, Any]:
    router = HttpRouter()
    router.route(path_prefix=dispatch.PREFIX, methods=["GET", "POST", "OPTIONS"])(dispatch.answer)
    router.route("/.well-known/jwks.json")(tokens.jwks)
    router.route("/.well-known/openid-configuration")(tokens.discovery)
    return router.actions


def _crons() -> Mapping[str, Any]:
    crons = Crons()
    crons.hourly("auth: what is over", sweep, minute=17)
    return crons.all
