"""Sign-in by a password that everybody has: for tests of the pages around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yugen import MutationCtx, internal_mutation
from yugen.auth import Auth, AuthError, Pages, oidc, sessions, users
from yugen.auth.api_keys import ApiKeys
from yugen.auth.crypto import new_token
from yugen.auth.parts import Endpoint, Part
from yugen.auth.passkeys import Passkeys
from yugen.auth.requests import AuthRequest
from yugen.auth.sessions import Device, SignedIn
from yugen.auth.totp import Totp


class Passwords(Part):
    """Takes `right` for everybody's password."""

    name = "password"

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("POST", "/sign-in/password", sign_in),
            Endpoint("POST", "/sign-up/password", sign_up),
            Endpoint("POST", "/forgot-password", nothing),
            Endpoint("POST", "/reset-password", reset),
            Endpoint("POST", "/reauthenticate", reauthenticate),
        )


async def sign_in(request: AuthRequest) -> Mapping[str, Any]:
    if request.text("password") != "right":
        raise AuthError("WrongPassword", "The address or the password is wrong.", 401, field="password")
    token = new_token()
    signed_in = await request.ctx.run_mutation(begin, email=request.text("email"), device=request.device(token))
    return request.has_signed_in(token, signed_in)


async def sign_up(request: AuthRequest) -> Mapping[str, Any]:
    users.checked_email(request.text("email"))
    if len(request.text("password")) < 8:
        raise AuthError("WeakPassword", "A password has 8 letters at least.", field="password")
    return {}


async def nothing(request: AuthRequest) -> Mapping[str, Any]:
    request.text("email")
    return {}


async def reset(request: AuthRequest) -> Mapping[str, Any]:
    if request.text("token") != "good-token":
        raise AuthError("BadToken", "This link is good no more; ask for another.")
    if len(request.text("password")) < 8:
        raise AuthError("WeakPassword", "A password has 8 letters at least.", field="password")
    return {}


async def reauthenticate(request: AuthRequest) -> Mapping[str, Any]:
    user, _ = await request.signed_in()
    if request.text("password") != "right":
        raise AuthError("WrongPassword", "The password is wrong.", 401, field="password")
    token = new_token()
    signed_in = await request.ctx.run_mutation(begin, email=str(user.email), device=request.device(token))
    return request.has_signed_in(token, signed_in)


@internal_mutation
async def begin(ctx: MutationCtx, email: str, device: Device) -> SignedIn:
    user = await users.by_email(ctx, auth, email)
    if user is None:
        user = await users.create(ctx, auth, email=email, name=email.partition("@")[0], verified=True, method="test")
    return await sessions.begin(ctx, auth, user, device, "password")


auth = Auth(
    Passwords(),
    Passkeys(),
    Totp(),
    ApiKeys(scopes=["tasks:read"]),
    oidc("acme", issuer="https://id.example"),
    origins=["https://app.example.com"],
    pages=Pages(name='Tasks & "more"', home="/tasks", accent="#0a7"),
)
