"""Sign-in at providers that the tests run, and by saying one's name: for who is here already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yugen import ActionCtx, MutationCtx, action, internal_mutation
from yugen.auth import Auth, OAuth, User, apple, audit, documents, oidc, sessions, users
from yugen.auth.crypto import new_token
from yugen.auth.parts import Endpoint, Part
from yugen.auth.requests import AuthRequest
from yugen.auth.sessions import Device, SignedIn

NOWHERE = "http://127.0.0.1:1"


class ByName(Part):
    """Takes anybody for who they say they are. Those whose name begins with `un` have not verified their address."""

    name = "by-name"

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (Endpoint("POST", "/sign-in/name", sign_in),)

    async def second_factor(self, ctx: MutationCtx, user: User, device: str | None) -> bool:
        return user.name == "careful"

    async def forget(self, ctx: MutationCtx, user: User) -> None:
        await audit.note(ctx, "forgotten", user=user.id)


async def sign_in(request: AuthRequest) -> Mapping[str, Any]:
    token = new_token()
    signed_in = await request.ctx.run_mutation(begin, name=request.text("name"), device=request.device(token))
    return request.has_signed_in(token, signed_in)


@internal_mutation
async def begin(ctx: MutationCtx, name: str, device: Device) -> SignedIn:
    email = f"{name.removeprefix('un')}@example.com"
    user = await users.by_email(ctx, auth, email)
    if user is None:
        user = await users.create(
            ctx, auth, email=email, verified=not name.startswith("un"), name=name, method="by-name"
        )
        await ctx.db.insert(documents.Account(user=user.id, provider="by-name", subject=name, secret="a password"))
    return await sessions.begin(ctx, auth, user, device, "by-name")


@action
async def token_of(ctx: ActionCtx, user: str) -> str:
    return await auth.provider_token(ctx, user, "acme")


@action
async def token_elsewhere(ctx: ActionCtx, user: str, provider: str) -> str:
    return await auth.provider_token(ctx, user, provider)


formed = apple()
formed.issuer = NOWHERE

auth = Auth(
    ByName(),
    oidc("acme", issuer=NOWHERE, title="Acme <b>", trust_email=True, keep_tokens=True),
    oidc("other", issuer=NOWHERE),
    oidc("closed", issuer=NOWHERE, trust_email=True, sign_up=False),
    OAuth(
        "plain",
        authorize_url=f"{NOWHERE}/authorize",
        token_url=f"{NOWHERE}/token",
        userinfo_url=f"{NOWHERE}/userinfo",
        scopes=["profile", "email"],
        trust_email=True,
    ),
    formed,
    origins=["https://app.example.com"],
)
